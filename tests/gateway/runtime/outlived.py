"""Errors that a writer outlives: its login, its items, and what is said of the errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway import metrics
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.runtime.database import Pool, Troubles, create_pool
from schema.topics import Kind
from tests.gateway.material import NOW_MS, admitted, counts, frames, make_writer, settings

Act = Callable[[], Awaitable[Any]]

GRANTS = """
grant select, insert, update, delete on all tables in schema public to {0};
grant usage on all sequences in schema public to {0}"""


@pytest.fixture
async def role(database: asyncpg.Connection, pool: Pool) -> AsyncIterator[str]:
    """A login that is no superuser, with the rights that the gateway needs."""
    name = f"gateway_{os.urandom(4).hex()}"
    await database.execute(f"create role {name} login password 'right'")
    await database.execute(GRANTS.format(name))
    yield name
    await database.execute(f"drop owned by {name}; drop role {name}")


@pytest.fixture
async def own(role: str, database_url: str) -> AsyncIterator[Pool]:
    """A pool under that login."""
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{role}:right@{parts.netloc.rpartition('@')[2]}").geturl()
    async with create_pool(settings(url)) as pool:
        yield pool


@pytest.fixture
async def items(registry: Registry) -> list[Item]:
    made: list[Item] = [*await frames(registry, "r1", *((NOW_MS + n, {"ph": 7.0}) for n in range(20)))]
    return made + await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS})


async def outlives(
    pool: Pool, registry: Registry, items: list[Item], state: str, begin: Act, end: Act, failures: int = 1
) -> list[Any]:
    """Write while it is so; the log. Nothing may be lost, split into the quarantine, or counted twice."""
    troubles: Troubles = {}
    failed = metrics.WRITE_FAILURES.labels(state)
    before = failed._value.get()
    await begin()
    with capture_logs() as log:
        writing = asyncio.create_task(make_writer(pool, registry, troubles).write(items))
        async with asyncio.timeout(30):
            while failed._value.get() < before + failures:
                await asyncio.sleep(0.01)
                assert not writing.done(), await writing
        assert state in troubles["write"]
        await end()
        outcome = await asyncio.wait_for(writing, 30)
    assert counts(outcome) == (20, 0, 0, 0)
    assert counts(outcome, "status") == (1, 0, 0, 0)
    assert not troubles
    return log


def told(log: list[Any]) -> list[str]:
    """What was said of it as an error, for people."""
    return [entry["event"] for entry in log if entry["log_level"] == "error"]
