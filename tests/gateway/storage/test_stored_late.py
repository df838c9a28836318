"""Frames that are stored long after their receipt are noted, and the hours of an import are marked, over or not."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from gateway.intake.accounting import ItemCounts
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.runtime.database import Pool, PoolConnection
from gateway.storage import stored_late
from gateway.storage.transaction import store
from gateway.storage.write import Writer
from tests.gateway.material import NOW_MS, frames

NOTED = """
select (extract(epoch from time) * 1000)::float8 as t from stored_late join frames using (device_id, time, layout_id)"""


async def test_a_frame_that_was_received_long_before_is_noted_once(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    made = await frames(registry, "r1", *((NOW_MS - n, {"ph": 7.0}) for n in range(3)))
    now_ms = 1000.0 * float(await database.fetchval("select extract(epoch from now())"))
    fresh, held, old = (
        msgspec.structs.replace(frame, received_ms=now_ms - ago)
        for frame, ago in zip(made, (0, stored_late.SOON_MS + 1, 10 * stored_late.SOON_MS), strict=True)
    )
    await writer.write([fresh, held])
    assert [row["t"] for row in await database.fetch(NOTED)] == [held.t]
    noted_at = await database.fetchval("select stored_at from stored_late")

    again = msgspec.structs.replace(fresh, received_ms=old.received_ms)
    await writer.write([again, held, old])  # two are duplicates, one of a frame that was stored in time
    assert {row["t"] for row in await database.fetch(NOTED)} == {held.t, old.t}
    assert await database.fetchval("select min(stored_at) from stored_late") == noted_at


async def test_all_hours_of_an_import_are_marked_and_none_of_its_frames_is_noted(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    async def account(connection: PoolConnection, items: Sequence[Item], outcome: ItemCounts) -> None:
        """Nothing is counted: there is no import's row."""

    now_ms = 1000.0 * float(await database.fetchval("select extract(epoch from now())"))
    made = await frames(registry, "r1", (now_ms, {"ph": 7.0}))
    await store(
        pool, registry, "main", [msgspec.structs.replace(made[0], received_ms=0.0)], conflicting=False, imported=account
    )
    assert await database.fetchval("select count(*) from seals_stale") == 1
    assert await database.fetchval("select count(*) from stored_late") == 0
