"""All settings of the API, from the environment; checked before any connection is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _is_postgresql(url: str) -> str:
    if urlsplit(url).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must be an address like postgresql://user@host:5432/database")
    return url


LEAST_TOKEN = 32
"""Characters of a secret: nobody shall find one by trying."""


def token_file(path: Path) -> Path:
    """The path, if there is a token in it that is kept from others."""
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"must be a file with a token: {path} cannot be read") from error
    if mode & 0o007:
        raise ValueError(f"must be kept from others: chmod o= {path}")
    if len(text) < LEAST_TOKEN or not text.isprintable() or " " in text:
        raise ValueError(f"must be a file with one word of {LEAST_TOKEN} characters or more")
    return path


class Settings(BaseSettings):
    """`BIOGATE_DATABASE_URL` is required, everything else has a default."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_is_postgresql)] = Field(
        repr=False, description="the database, as postgresql://user:password@host:port/name"
    )
    api_host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    api_port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_pool_size: int = Field(10, ge=2, le=1000, description="most connections to the database at a time")
    api_statement_timeout: float = Field(
        30, gt=0, le=3600, description="seconds after which the database gives up on one statement"
    )
    api_acquire_timeout: float = Field(
        5, gt=0, le=60, description="seconds a request waits for a connection before it is answered with 503"
    )
    api_secret_file: Annotated[Path, AfterValidator(token_file)] | None = Field(
        None,
        description="file with the secret that access tokens are signed with; without it one is made at each start, "
        "and who has logged in before has to refresh",
    )
    api_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
