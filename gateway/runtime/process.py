"""Functions that gateway processes share: set-up, exit status, login at the broker, restart of a failed part."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from gateway.errors import GatewayError, SessionTakenOver, words_of
from gateway.runtime.database import FAILURES, Pool
from gateway.runtime.triage import needed, sqlstate
from gateway.settings import Settings
from schema.reachability import answer_within

if TYPE_CHECKING:
    from gateway.secrets import BrokerPasswords

log = structlog.get_logger()

Known = TypeVar("Known")

AGAIN_S = 5.0
PROBE_TIMEOUT_S = 1.5


def exit_status(work: Coroutine[None, None, None], done: str) -> int:
    """Run `work`, log `done` or why it failed; return the exit status: 0 done, 1 failed, 3 session taken over."""
    status = 0
    try:
        asyncio.run(work)
    except* SessionTakenOver as group:
        errors = [str(error) for error in group.exceptions]
        log.error("stopped: another client took over the session at the broker", errors=errors)
        status = 3
    except* (GatewayError, OSError) as group:
        log.error("stopped", errors=[str(error) for error in group.exceptions])
        status = 1
    else:
        log.info(done)
    return status


async def restart_on_defect(
    what: str, work: Callable[[], Awaitable[None]], defects: Counter, stop: asyncio.Event | None = None
) -> None:
    """Run `work`, and again AGAIN_S after it ended or raised, until `stop`. Exceptions are counted in `defects`."""
    while True:
        try:
            await work()
        except Exception:  # a defect, of whatever kind, is counted and told; the work goes on
            defects.labels(what).inc()
            log.exception(f"{what} failed: a defect; it begins anew", again_s=AGAIN_S)
        if stop is not None and stop.is_set():
            return
        await asyncio.sleep(AGAIN_S)


def broker_login(settings: Settings, secrets: BrokerPasswords | None, own: str) -> tuple[str | None, str | None]:
    """User name and password at the broker: from the settings, else the program's `own` login from the secrets, else
    none."""
    if settings.mqtt_username is None and secrets is not None:
        return own, secrets.password(own)
    return settings.mqtt_username, settings.mqtt_password.get_secret_value() if settings.mqtt_password else None


async def database_troubles(pool: Pool) -> list[str]:
    """The reason, for /ready, why the database cannot be used; empty if a statement works within PROBE_TIMEOUT_S."""
    try:
        await answer_within(PROBE_TIMEOUT_S, pool.fetchval("select 1"))
    except FAILURES as error:
        return [f"database: {needed(error) or 'no answer'} ({sqlstate(error)}: {words_of(error)})"]
    return []


def load_passwords(directory: Path) -> BrokerPasswords:
    """The passwords alone: no claim key and no authority need be there. Raises SecretsError."""
    from gateway.secrets import BrokerPasswords  # noqa: PLC0415  # 12 MB that a process without secrets saves

    return BrokerPasswords.load(directory)


def set_up(program: str, load: Callable[[Path], Known]) -> tuple[Settings, Known | None] | None:
    """Load settings and, by `load`, secrets. If they are wrong, print why and return None."""
    try:
        settings = Settings()
        return settings, None if settings.secrets_dir is None else load(settings.secrets_dir)
    except ValidationError as error:
        say_wrong(program, error)
    except GatewayError as error:
        print(f"{program}: BIOGATE_SECRETS_DIR: {error}", file=sys.stderr)
    return None


def say_wrong(program: str, error: ValidationError) -> None:
    """Print which settings are wrong, each on a line of standard error."""
    for problem in error.errors():
        name = "BIOGATE_" + "_".join(str(part) for part in problem["loc"]).upper()
        print(f"{program}: {name if problem['loc'] else 'settings'}: {problem['msg']}", file=sys.stderr)
