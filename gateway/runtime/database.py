"""Connections to PostgreSQL: pools, listeners, the check of the schema, and retries while the database is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeAlias, TypeVar

import asyncpg
import structlog

from gateway.errors import SchemaBehind, words_of
from gateway.runtime.triage import needed, sqlstate
from gateway.settings import Settings
from schema.migrate import pending

log = structlog.get_logger()

Returned = TypeVar("Returned")
P = ParamSpec("P")
Troubles: TypeAlias = dict[str, str]
"""The work that fails just now, and why: /ready tells it."""
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

BACKOFF_S = (0.1, 5.0)
SLOWLY_S = 30.0
"""The longest wait after a failure that a person has to end, and how often such a failure is logged."""
COMMAND_TIMEOUT_S = 30.0
FAST_LOSS = {
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "6000",
}
"""Parameters with which the server ends a silent connection, and frees its locks, within 6 s."""

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Exceptions of statements and connections; the last one, when the server ends a connection at a bad moment."""


def backoff_s(failures: int, most: float = BACKOFF_S[1], first: float = BACKOFF_S[0]) -> float:
    """Seconds to wait after so many failures in a row: `first`, doubled each time up to `most`, with jitter."""
    return min(most, first * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)


class Trouble:
    """Tells of work that fails repeatedly: why it fails stands in `troubles[what]` until `reset`, and in the log."""

    def __init__(self, troubles: Troubles, what: str) -> None:
        self.failures = 0
        self._troubles = troubles
        self._what = what
        self._told = float("-inf")

    def failed(self, error: Exception) -> float:
        """Count and tell one more failure; return how long to wait before the next try, in seconds."""
        self.failures += 1
        state, words = sqlstate(error), needed(error)
        wait = backoff_s(self.failures) if words is None else backoff_s(self.failures, SLOWLY_S)
        facts = {"sqlstate": state, "error": words_of(error), "wait_s": round(wait, 2)}
        if words is None:
            self._troubles[self._what] = f"cannot {self._what}: {state}: {words_of(error)}"
            log.warning(f"cannot {self._what}: try again", **facts)
        else:
            self._troubles[self._what] = f"cannot {self._what}: {words} ({state}: {words_of(error)})"
            if time.monotonic() - self._told >= SLOWLY_S:
                self._told = time.monotonic()
                log.error(f"cannot {self._what}: {words}", **facts)
        return wait

    def reset(self) -> None:
        """The work has succeeded: forget its failures."""
        self.failures = 0
        self._troubles.pop(self._what, None)


async def retry_until_it_works(
    troubles: Troubles, what: str, attempt: Callable[P, Awaitable[Returned]], *args: P.args, **kwargs: P.kwargs
) -> Returned:
    """Call `attempt` until it works; meanwhile `troubles[what]` says why it does not, and what a person has to do.

    It serves reads and idempotent statements, whose errors are all the database's.
    """
    trouble = Trouble(troubles, what)
    while True:
        try:
            answer = await attempt(*args, **kwargs)
        except (*FAILURES, SchemaBehind) as error:
            wait = trouble.failed(error)
        else:
            trouble.reset()
            return answer
        await asyncio.sleep(wait)


def create_pool(settings: Settings, most: int = 4, purpose: str = "gateway", **parameters: str) -> Pool:
    """A pool of at most `most` connections, not yet connected, with `parameters` among their settings."""

    async def keep(connection: PoolConnection) -> None:
        """Do not reset a connection between uses: no user changes its state, and a reset costs a round trip a batch."""

    return asyncpg.create_pool(
        str(settings.database_url),
        min_size=0,
        max_size=most,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=10,
        reset=keep,
        server_settings={
            "application_name": f"biogate-{purpose} {settings.cell} {settings.process}",
            # the conflict path's time bounds must be constants to the planner, or it looks into every chunk
            "plan_cache_mode": "force_custom_plan",
            "timezone": "UTC",
            # a gateway that was cut off in the middle of a batch must not keep its locks from the one that takes over
            **FAST_LOSS,
            **parameters,
        },
    )


async def connect(settings: Settings, purpose: str, **parameters: str) -> asyncpg.Connection:
    """A connection of its own, outside any pool, with `purpose` and `parameters` among its settings."""
    named = {"application_name": f"biogate-{purpose} {settings.process}", **parameters}
    return await asyncpg.connect(str(settings.database_url), timeout=10, server_settings=named)


@asynccontextmanager
async def listening(
    settings: Settings, purpose: str, channel: str, told: asyncio.Event | Callable[[str], None]
) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sets `told`, or calls it with the payload, at each notification on `channel`. Its user has to
    check whether it is closed."""
    tell = told if callable(told) else lambda _: told.set()
    connection = await connect(settings, f"{purpose} {settings.cell}")
    try:
        named = await connection.fetchval("select notice_channel($1)", channel)
        await connection.add_listener(named, lambda *notification: tell(str(notification[-1])))
        yield connection
    finally:
        connection.terminate()


async def check_schema(pool: Pool) -> None:
    """Raise SchemaBehind if the database lacks migrations."""
    async with pool.acquire() as connection:
        missing = await pending(connection)
    if missing:
        raise SchemaBehind(f"the database lacks {', '.join(missing)}: run `biogate migrate`")
