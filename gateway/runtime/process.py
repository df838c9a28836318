"""What the processes of the gateway have in common: how they are set up, their login, and how a part begins anew."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from gateway.errors import GatewayError
from gateway.runtime.database import FAILURES, Pool
from gateway.runtime.triage import needed, sqlstate
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.secrets import Secrets

log = structlog.get_logger()

AGAIN_S = 5.0
PROBE_TIMEOUT_S = 2.0


async def restart_on_defect(
    what: str, work: Callable[[], Awaitable[None]], defects: Counter, stop: asyncio.Event | None = None
) -> None:
    """Work that has a defect begins anew, and does not end the others. It may end after `stop`."""
    while True:
        try:
            await work()
        except Exception:
            defects.labels(what).inc()
            log.exception(f"{what} failed: a defect; it begins anew", again_s=AGAIN_S)
        if stop is not None and stop.is_set():
            return
        await asyncio.sleep(AGAIN_S)


def broker_login(settings: Settings, secrets: Secrets | None) -> tuple[str | None, str | None]:
    """User name and password at the broker: as the settings say, else those among the secrets, else none."""
    if settings.mqtt_username is None and secrets is not None:
        return "gateway", secrets.password("gateway")
    return settings.mqtt_username, settings.mqtt_password.get_secret_value() if settings.mqtt_password else None


async def database_troubles(pool: Pool) -> list[str]:
    """Why the database cannot be used just now: what readiness tells."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await pool.fetchval("select 1")
    except FAILURES as error:
        return [f"database: {needed(error) or 'no answer'} ({sqlstate(error)}: {error})"]
    return []


def set_up(program: str) -> tuple[Settings, Secrets | None] | None:
    """Settings and secrets; None if they are wrong, which is said."""
    try:
        settings = Settings()
        return settings, _load(settings.secrets_dir) if settings.secrets_dir else None
    except ValidationError as error:
        say_wrong(program, error)
    except GatewayError as error:
        print(f"{program}: BIOGATE_SECRETS_DIR: {error}", file=sys.stderr)
    return None


def _load(directory: Path) -> Secrets:
    from gateway.secrets import Secrets  # noqa: PLC0415  # 12 MB that a process without secrets saves

    return Secrets.load(directory)


def say_wrong(program: str, error: ValidationError) -> None:
    """Which settings are wrong, each in a line."""
    for problem in error.errors():
        name = "BIOGATE_" + "_".join(str(part) for part in problem["loc"]).upper()
        print(f"{program}: {name if problem['loc'] else 'settings'}: {problem['msg']}", file=sys.stderr)
