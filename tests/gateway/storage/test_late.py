"""Which frames are noted for the evaluator of alarms: those that it cannot find by their time."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from gateway.intake.registry import Registry
from gateway.items import Frame, TopicRoute
from gateway.runtime.database import Pool
from gateway.storage.write import Writer
from schema.topics import Kind
from tests.gateway.material import NOW_MS, REFUSED_AT_COMMIT, admitted, frames, make_writer

S = 1000.0
Note = tuple[float, float]


async def sent(registry: Registry, *times: float, kind: Kind = Kind.TELEMETRY) -> list[Frame]:
    """Frames of r1, of these seconds before or after NOW_MS."""
    made = await frames(registry, "r1", *((NOW_MS + S * at, {"ph": at}) for at in times))
    route = TopicRoute(f"bioreactors/r1/{kind}", kind, made[0].route.device)
    return [msgspec.structs.replace(frame, route=route) for frame in made]


async def noted(database: asyncpg.Connection) -> list[Note]:
    """The times of the notes, (begin, end) in s after NOW_MS; and forget them."""
    rows = await database.fetch(
        """with gone as (delete from late_arrivals returning *)
           select 1000 * extract(epoch from begins)::float8 as begins, 1000 * extract(epoch from ends)::float8 as ends
             from gone order by late_id"""
    )
    return [(round(row["begins"] - NOW_MS) / S, round(row["ends"] - NOW_MS) / S) for row in rows]


async def test_what_is_older_than_the_newest_stored_frame_is_noted(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    steps: list[tuple[list[float], list[Note]]] = [
        ([0, 1], [(0, 1)]),  # the first of all
        ([2, 3], []),
        ([3.5, 3, 4], [(3, 3)]),
        ([-3600, -3599, -3598], [(-3600, -3598)]),
        ([-7200, 5, -3500, -3501], [(-7200, -7200), (-3501, -3500)]),
        ([6], []),
    ]
    for times, expected in steps:
        await writer.write(await sent(registry, *times))
        assert await noted(database) == expected, times


async def test_what_is_stored_already_is_read_after_a_restart(
    writer: Writer, registry: Registry, database: asyncpg.Connection, pool: Pool
) -> None:
    await writer.write(await sent(registry, 0, 10))
    await noted(database)
    registry = Registry(pool, max_channels=256, max_layouts=64)
    await registry.load()
    writer = make_writer(pool, registry)
    await writer.write(await sent(registry, 11, 5))
    assert await noted(database) == [(5, 5)]


async def test_what_another_gateway_stored_meanwhile_counts_after_a_connect(
    writer: Writer, registry: Registry, database: asyncpg.Connection, pool: Pool
) -> None:
    await writer.write(await sent(registry, 0))
    other = Registry(pool, max_channels=256, max_layouts=64)
    await other.load()
    await make_writer(pool, other).write(await sent(other, 100))
    await noted(database)
    registry.forget_newest()
    await writer.write(await sent(registry, 50))
    assert await noted(database) == [(50, 50)]


@pytest.mark.parametrize("kind", [Kind.TELEMETRY, Kind.HISTORY])
async def test_history_is_not_noted_but_for_the_first_frames(
    writer: Writer, registry: Registry, database: asyncpg.Connection, kind: Kind
) -> None:
    await writer.write(await sent(registry, 0, kind=kind))
    assert await noted(database) == [(0, 0)]
    await writer.write(await sent(registry, -20, -10, 1, kind=kind))
    assert await noted(database) == ([(-20, -10)] if kind is Kind.TELEMETRY else [])


async def test_what_failed_is_not_taken_for_stored(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    """The first frames of a device and duplicates in a batch: the first try of it fails."""
    await writer.write(await sent(registry, 0))
    await noted(database)
    await writer.write([*await sent(registry, 100, 0), *await sent(registry, 50)])
    assert await noted(database) == [(0, 50)]
    await writer.write(await sent(registry, 99))
    assert await noted(database) == [(99, 99)]


async def test_what_the_database_did_not_commit_is_not_taken_for_stored(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    """The first frames of a device are noted, also on history, though a try of their batch has failed at its COMMIT."""
    await database.execute(REFUSED_AT_COMMIT)
    bad = await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS, "firmware": "bad"})
    await writer.write([*await sent(registry, 0, 1, kind=Kind.HISTORY), *bad])
    assert await database.fetchval("select count(*) from frames") == 2
    assert await noted(database) == [(0, 0)]  # alone, as the batch was split; the second is newer
