"""What a look for old data tells, and what it does where something is in the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.runtime.database import Pool
from gateway.upkeep.retention import Retention
from tests.gateway.material import settings, until
from tests.gateway.upkeep.test_retention import DAY, FILLED, HELD, days, pool

__all__ = ["pool"]


async def test_a_look_that_fails_counts_as_none(pool: Pool) -> None:
    def looked_at() -> float | None:
        return REGISTRY.get_sample_value("biogate_retention_timestamp_seconds")

    looking, now = Retention(settings(retention_statuses_days=30), pool, asyncio.Event()), datetime.now(UTC)
    metrics.RETENTION_AT.forget()
    await pool.execute("alter function retention_drop_statuses rename to away")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await looking.look(now)
    assert looked_at() is None
    await pool.execute("alter function away rename to retention_drop_statuses")
    await looking.look(now)
    assert looked_at() == now.timestamp()


async def test_only_the_gateway_that_leads_tells_of_retention(pool: Pool) -> None:
    def told() -> list[float | None]:
        names = ("biogate_retention_timestamp_seconds", "biogate_retention_held_chunks")
        return [REGISTRY.get_sample_value(names[0]), REGISTRY.get_sample_value(names[1], {"kind": "frame"})]

    await pool.execute(FILLED["frames"], datetime.now(UTC) - 60 * DAY)
    await pool.execute(HELD, None, None)
    for figure in (metrics.RETENTION_AT, metrics.RETENTION_HELD):
        figure.forget()
    leading = asyncio.Event()
    leading.set()
    running = asyncio.create_task(Retention(settings(retention_frames_days=30), pool, leading).run())
    try:
        await until(lambda: told()[0] is not None and told()[1] == 1)
        leading.clear()
        await until(lambda: told() == [None, None])
    finally:
        running.cancel()
        await asyncio.wait([running])


OLDEST = "select * from timescaledb_information.chunks order by range_start limit 1"


async def test_a_chunk_that_is_in_use_keeps_no_other_one(pool: Pool, database: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    for age in (60, 50):
        await pool.execute(FILLED["frames"], now - age * DAY)
    looking = Retention(settings(retention_frames_days=30), pool, asyncio.Event())
    async with database.transaction():
        oldest = await database.fetchval(f"select format('%I.%I', chunk_schema, chunk_name) from ({OLDEST}) c")
        await database.execute(f"lock table only {oldest} in row exclusive mode")  # as who writes into it
        await looking.look(now)
    assert REGISTRY.get_sample_value("biogate_retention_held_chunks", {"kind": "frame"}) == 0  # it goes by itself
    assert await days(database, now) == {60}
    await looking.look(now)
    assert await days(database, now) == set()
