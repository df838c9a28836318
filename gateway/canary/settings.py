"""Settings of the canary, from environment variables `BIOGATE_…`, checked before any I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AnyUrl, Field, UrlConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

HttpUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["http", "https"], host_required=True)]


class CanarySettings(BaseSettings):
    """All settings of the canary."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore")

    canary_login: Path = Field(
        description="login.json of the canary's device, as `biogate devices login` writes it; the device is "
        "best in an organization of its own, where nobody sees it"
    )
    canary_api_url: HttpUrl = Field(HttpUrl("http://127.0.0.1:8000"), description="address of the API")
    canary_key_file: Path = Field(description="file with an API key of that organization, scope telemetry:read")
    canary_interval_s: float = Field(10, ge=0.1, le=3600, description="seconds from one value to the next")
    canary_deadline_s: float = Field(60, ge=0.1, le=3600, description="seconds until an unread value counts as lost")
    canary_http_host: str = Field("127.0.0.1", description="host on which /health, /ready and /metrics listen")
    canary_http_port: int = Field(8003, ge=0, le=65535, description="port on which /health, /ready and /metrics listen")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level logged")
