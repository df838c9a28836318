"""What the processes of the gateway have in common: their login, and how a part of them begins anew."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.secrets import Secrets

log = structlog.get_logger()

AGAIN_S = 5.0


async def again_and_again(
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


def load_secrets(directory: Path) -> Secrets:
    from gateway.secrets import Secrets  # noqa: PLC0415  # 12 MB that a process without secrets saves

    return Secrets.load(directory)


def say_wrong(program: str, error: ValidationError) -> None:
    """Which settings are wrong, each in a line."""
    for problem in error.errors():
        name = "BIOGATE_" + "_".join(str(part) for part in problem["loc"]).upper()
        print(f"{program}: {name if problem['loc'] else 'settings'}: {problem['msg']}", file=sys.stderr)
