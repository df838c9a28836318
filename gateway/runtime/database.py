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

from gateway.errors import SchemaBehind
from gateway.runtime.triage import needed, sqlstate
from gateway.settings import Settings
from schema.migrate import pending

log = structlog.get_logger()

Answer = TypeVar("Answer")
P = ParamSpec("P")
Troubles: TypeAlias = dict[str, str]
"""What cannot be done just now, and why: what readiness tells."""
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Transaction: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

BACKOFF_S = (0.1, 5.0)
SLOWLY_S = 30.0
"""The longest wait, and how often it is told, where nothing passes by itself."""
COMMAND_TIMEOUT_S = 30.0

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a statement or a connection may fail with; the last, when the server ends a connection at a bad moment."""


def backoff_s(failures: int, most: float = BACKOFF_S[1], first: float = BACKOFF_S[0]) -> float:
    """How long to wait after so many failures in a row: doubled each time, with jitter."""
    return min(most, first * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)


class Trouble:
    """Something that fails for now: told in `troubles` and in the log."""

    def __init__(self, troubles: Troubles, what: str) -> None:
        self.failures = 0
        self._troubles = troubles
        self._what = what
        self._told = float("-inf")

    def failed(self, error: Exception) -> float:
        """Once more: how long to wait before the next try, in seconds."""
        self.failures += 1
        state, words = sqlstate(error), needed(error)
        wait = backoff_s(self.failures) if words is None else backoff_s(self.failures, SLOWLY_S)
        facts = {"sqlstate": state, "error": str(error), "wait_s": round(wait, 2)}
        if words is None:
            self._troubles[self._what] = f"cannot {self._what}: {state}: {error}"
            log.warning(f"cannot {self._what}: try again", **facts)
        else:
            self._troubles[self._what] = f"cannot {self._what}: {words} ({state}: {error})"
            if time.monotonic() - self._told >= SLOWLY_S:
                self._told = time.monotonic()
                log.error(f"cannot {self._what}: {words}", **facts)
        return wait

    def over(self) -> None:
        """The work has succeeded: forget its failures."""
        self.failures = 0
        self._troubles.pop(self._what, None)


async def retry_until_it_works(
    troubles: Troubles, what: str, attempt: Callable[P, Awaitable[Answer]], *args: P.args, **kwargs: P.kwargs
) -> Answer:
    """Call `attempt` until it works; meanwhile `troubles[what]` says why it does not, and what a person has to do.

    For reads and idempotent statements, whose errors are all the database's.
    """
    trouble = Trouble(troubles, what)
    while True:
        try:
            answer = await attempt(*args, **kwargs)
        except (*FAILURES, SchemaBehind) as error:
            wait = trouble.failed(error)
        else:
            trouble.over()
            return answer
        await asyncio.sleep(wait)


def create_pool(settings: Settings, most: int = 4, purpose: str = "gateway", **parameters: str) -> Pool:
    """A pool of a few connections, not yet connected. Connections keep no state between uses but their settings, to
    which `parameters` add."""

    async def keep(connection: Transaction) -> None:
        """No reset between uses: nobody changes anything, and it would cost a round trip a batch."""

    return asyncpg.create_pool(
        str(settings.database_url),
        min_size=0,
        max_size=most,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=10,
        reset=keep,
        server_settings={
            "application_name": f"biogate-{purpose} {settings.cell}",
            # the conflict path's time bounds must be constants to the planner, or it looks into every chunk
            "plan_cache_mode": "force_custom_plan",
            "timezone": "UTC",
            # a gateway that was cut off in the middle of a batch must not keep its locks from the one that takes over
            "tcp_keepalives_idle": "3",
            "tcp_keepalives_interval": "1",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "6000",
            **parameters,
        },
    )


@asynccontextmanager
async def listening(
    settings: Settings, purpose: str, channel: str, told: asyncio.Event
) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sets `told` at a notification. Whoever uses it looks now and then whether it is closed."""
    connection = await asyncpg.connect(
        str(settings.database_url),
        timeout=10,
        server_settings={"application_name": f"biogate-{purpose} {settings.cell}"},
    )
    try:
        await connection.add_listener(channel, lambda *_: told.set())
        yield connection
    finally:
        connection.terminate()


async def check_schema(pool: Pool) -> None:
    """Raises SchemaBehind."""
    async with pool.acquire() as connection:
        missing = await pending(connection)
    if missing:
        raise SchemaBehind(f"the database lacks {', '.join(missing)}: run `biogate migrate`")
