"""Whether the database answers: a question every two seconds, on a connection that nothing else uses.

The metric of it fires the alert BiogateDatabaseAway before anything that follows from the absence fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

EVERY_S = 2.0
ANSWER_S = 2.0
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


Answer = TypeVar("Answer")


async def answer_within(seconds: float, asking: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what `asking` returns. Raise TimeoutError after so many seconds, also if it takes longer to be cancelled:
    a pool waits for the end of a cancelled statement, which does not come over a connection that hangs."""
    task = asyncio.ensure_future(asking)
    await asyncio.wait({task}, timeout=seconds)
    if task.done():
        return task.result()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    task.cancel()
    raise TimeoutError(f"no answer within {seconds:g} s")


@asynccontextmanager
async def watched_database(url: str, tell: Callable[[float], None]) -> AsyncIterator[None]:
    """While the context is open, tell 1 after each answer of the database, and 0 when none came within ANSWER_S."""
    task = asyncio.create_task(_watch(url, tell), name="database reachability")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _watch(url: str, tell: Callable[[float], None]) -> None:
    connection: asyncpg.Connection | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    if connection is None:
                        connection = await asyncpg.connect(url, server_settings={"application_name": "biogate-watch"})
                    await connection.fetchval("select 1")
                tell(1)
            except FAILURES:
                tell(0)
                if connection is not None:
                    connection.terminate()
                    connection = None
            await asyncio.sleep(EVERY_S)
    finally:
        if connection is not None:
            connection.terminate()
