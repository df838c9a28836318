"""All settings of the API, from the environment; checked before any connection is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema.alarms.rules import Priority


def _is_postgresql(url: str) -> str:
    if urlsplit(url).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must be an address like postgresql://user@host:5432/database")
    return url


def _are_origins(text: str) -> str:
    for origin in filter(None, text.split(",")):
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?", origin):
            raise ValueError("must be origins like https://plant.example, with commas between and no spaces")
    return text


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


PasswordRounds = Annotated[
    int,
    Field(
        ge=10,
        le=16,
        description="work that a password's hash takes (bcrypt), doubled by each step: 12 are 0.2 s of a core for each "
        "log-in; it applies to new passwords, and to others from their next log-in on",
    ),
]


ShelvingHours = Annotated[float, Field(gt=0, le=720)]


class ApiSettings(BaseSettings):
    """`BIOGATE_DATABASE_URL` is required, everything else has a default."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_is_postgresql)] = Field(
        repr=False, description="the database, as postgresql://user:password@host:port/name"
    )
    api_database_url: Annotated[str, AfterValidator(_is_postgresql)] | None = Field(
        None,
        repr=False,
        description="the same database with a login of the API's own, which `biogate migrate` makes; without "
        "it the API uses BIOGATE_DATABASE_URL and confines itself to the role biogate_api",
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
        description="file with the secret that access tokens are signed with; without it the API makes one at each "
        "start, and people who logged in before have to refresh",
    )
    api_registration: Literal["auto", "open", "invitation", "closed"] = Field(
        "auto",
        description="who may make an account: open, everybody who reaches the API (an account alone sees nothing); "
        "invitation, people with a code; closed, nobody but `biogate accounts user`; auto, everybody until the "
        "organization that runs the installation has an admin, then people with a code",
    )
    api_access_token_minutes: float = Field(
        15, gt=0, le=1440, description="how long an access token is valid; the end of its session ends it at once"
    )
    api_session_days: float = Field(
        30, gt=0, le=366, description="how long a browser, or a program that does not refresh, stays logged in"
    )
    api_password_rounds: PasswordRounds = 12
    api_insecure_cookie: bool = Field(
        False,
        description="true if browsers use plain HTTP: the session cookie is named `biogate`, without `Secure`",
    )
    api_body_limit: int = Field(
        65536, ge=1024, le=2**30, description="most bytes of a request's body (the import of serials has its own limit)"
    )
    api_import_bytes: int = Field(
        256 * 2**20, ge=1024, le=2**34, description="most bytes of a file whose history is imported"
    )
    api_rate: float = Field(
        5000,
        ge=0,
        le=1e6,
        description="requests a second of one caller (an API key, an account) before 429; those of five seconds "
        "may come at once; 0: no limit",
    )
    api_anonymous_rate: float = Field(
        50,
        ge=0,
        le=1e6,
        description="requests a second of one address, without a valid key, token or session, before 429",
    )
    api_connections: int = Field(1000, ge=1, le=65536, description="most connections of clients at a time")
    api_live_feeds: int = Field(
        50,
        ge=1,
        le=65536,
        description="most live feeds of one caller at a time; all callers together get 3/4 of the connections, one "
        "organization as many as are left for all others",
    )
    api_streams: int = Field(
        10,
        ge=1,
        le=65536,
        description="most tables (CSV, Arrow, Parquet) of one caller that are streamed at a time; all callers together "
        "get 1/8 of the connections, one organization as many as are left for all others",
    )
    api_slow: float = Field(
        1, gt=0, le=3600, description="seconds from which on a request is logged as slow, with its times by part"
    )
    api_act_patience: float = Field(
        5,
        ge=0,
        le=60,
        description="seconds that a request to acknowledge or shelve an alarm, and the like, waits for the alarms "
        "process before the answer is 202",
    )
    api_shelving_hours_critical: ShelvingHours = Field(
        8, description="longest shelving of a critical alarm, in hours from its begin on, however often it is prolonged"
    )
    api_shelving_hours_high: ShelvingHours = Field(
        24, description="longest shelving of an alarm of the priority high, in hours, counted as above"
    )
    api_shelving_hours_medium: ShelvingHours = Field(
        168, description="longest shelving of an alarm of the priority medium, in hours, counted as above"
    )
    api_shelving_hours_low: ShelvingHours = Field(
        720, description="longest shelving of an alarm of the priority low, in hours, counted as above"
    )
    api_trial_seconds: float = Field(
        20, gt=0, le=600, description="seconds after which a trial of a rule over stored history stops"
    )
    api_tls: bool = Field(
        False,
        description="true if clients use TLS, which a proxy ends: the API tells browsers to use nothing else (HSTS)",
    )
    api_cors_origins: Annotated[str, AfterValidator(_are_origins)] = Field(
        "",
        description="origins whose pages may call the API, also with session cookies: https://host, separated by "
        "commas; without it only the API's own pages",
    )
    api_trusted_proxies: str = Field(
        "127.0.0.1",
        description="addresses or networks, separated by commas, whose X-Forwarded-For and -Proto the API trusts",
    )
    jobs_dir: Path | None = Field(
        None,
        description="directory of the files of jobs, the same as the worker's; without it no export is made as a file",
    )
    notify_schemes: str | None = Field(
        None,
        description="kinds of apprise URLs that routes may have, as for the alarms process; separated by commas",
    )
    api_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged, as JSON lines on standard error"
    )

    @property
    def longest_shelving_s(self) -> dict[Priority, float]:
        """The seconds for which an alarm can be shelved, by its priority."""
        hours: dict[Priority, float] = {
            "low": self.api_shelving_hours_low,
            "medium": self.api_shelving_hours_medium,
            "high": self.api_shelving_hours_high,
            "critical": self.api_shelving_hours_critical,
        }
        return {priority: 3600 * length for priority, length in hours.items()}
