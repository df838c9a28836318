"""Frames that are stored already, or nearly: counted exactly, in a real database."""

from __future__ import annotations

import random
from typing import Any

import asyncpg
import msgpack
import pytest

from gateway.intake.registry import Registry
from gateway.items import Frame
from gateway.runtime.database import Pool
from gateway.storage.write import Writer
from schema.topics import Kind
from tests.gateway.material import NOW_MS, admitted, counts, frames, make_writer, totals

WHOLE: dict[str, float | None] = {"ph": 7.0, "foam": 1.0, "level": 2.0}


async def rows(database: asyncpg.Connection) -> list[tuple[object, ...]]:
    """Everything stored, as readers see it, and which frames it came in."""
    samples = await database.fetch("select time, device, channel, value, quality from telemetry order by 1, 2, 3")
    stored = await database.fetch(
        "select time, device_id, boot, seq, received_at from frames order by 1, 2, 4, layout_id"
    )
    return [tuple(row) for row in (*samples, *stored)]


async def quarantined(database: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """(reason, message) in the order of arrival."""
    records = await database.fetch("select reason, payload from quarantine order by quarantine_id")
    return [(record["reason"], msgpack.unpackb(record["payload"])) for record in records]


def message(frame: Frame) -> dict[str, object]:
    values = dict(zip(frame.mapping.channels, frame.values, strict=True))
    return {"t": frame.t, "v": values, "boot": frame.boot, "seq": frame.seq}


async def test_duplicates_are_counted_and_change_nothing(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": float(n), "foam": None}) for n in range(50)))
    assert counts(await writer.write(sent)) == (50, 0, 0, 0)
    before = await rows(database)
    assert counts(await writer.write(sent[::2])) == (0, 25, 0, 0)
    more = await frames(registry, "r1", (NOW_MS + 100, {"ph": 1.0, "foam": 2.0}))
    assert counts(await writer.write([*sent[:3], *more, *sent[:2]])) == (1, 5, 0, 0)
    assert [row for row in await rows(database) if row in before] == before
    assert await totals(database) == (51, 30, 0, 0)


async def test_duplicates_inside_one_batch_are_counted(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    sent = await frames(registry, "r1", (NOW_MS, WHOLE), (NOW_MS + 1, WHOLE), seq=5)
    assert counts(await writer.write([sent[0], sent[1], sent[0], sent[0], sent[1]])) == (2, 3, 0, 0)
    assert await database.fetchval("select count(*) from frames") == 2
    assert await totals(database) == (2, 3, 0, 0)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        {"values": [7.5, 1.0, 2.0]},
        {"values": [None, 1.0, 2.0]},
        {"values": [7.0, 1.0, float("nan")]},
        {"quality": [0, 2, 0]},
        {"boot": 2},
        {"boot": None},
        {"seq": 9},
        {"seq": None},
    ],
    ids=str,
)
async def test_the_same_instant_and_channels_with_other_content_is_a_conflict_and_the_first_stays(
    writer: Writer, registry: Registry, database: asyncpg.Connection, change: dict[str, object], together: bool
) -> None:
    (first,) = await frames(registry, "r1", (NOW_MS, WHOLE))
    (other,) = await frames(registry, "r1", (NOW_MS, WHOLE))
    for name, value in change.items():
        setattr(other, name, value)
    (neighbour,) = await frames(registry, "r1", (NOW_MS + 1, WHOLE))
    if together:
        assert counts(await writer.write([first, other, neighbour, other])) == (2, 1, 1, 0)
    else:
        assert counts(await writer.write([first])) == (1, 0, 0, 0)
        assert counts(await writer.write([other, neighbour, other])) == (1, 1, 1, 0)
    assert counts(await writer.write([other])) == (0, 1, 0, 0)
    stored = await database.fetchrow(
        "select values, quality, boot, seq from frames where time = to_timestamp($1)", NOW_MS / 1000
    )
    assert sorted(stored["values"]) == [1.0, 2.0, 7.0]
    assert tuple(stored)[1:] == (None, 1, 0)
    ((reason, payload),) = await quarantined(database)
    expected = {name: value for name, value in message(other).items() if value is not None}
    if other.quality:
        expected["q"] = {"foam": 2}
    assert (reason, repr(payload)) == ("conflict", repr({name: payload[name] for name in payload} | expected))
    assert payload.keys() == expected.keys()
    assert await totals(database) == (2, 2, 1, 0)


PARTS: list[dict[str, float | None]] = [
    {"ph": 1.0},
    {"foam": 2.0, "level": None},
    {"level": 3.0},
    {"agitation": 4.0, "foam": 2.0},
]


@pytest.mark.parametrize("together", [True, False])
async def test_parts_of_a_frame_with_one_time_are_all_stored_and_redelivered_in_any_order_change_nothing(
    writer: Writer, registry: Registry, pool: Pool, database: asyncpg.Connection, together: bool
) -> None:
    whole = await frames(registry, "r1", (NOW_MS - 1, WHOLE), (NOW_MS - 2, {**WHOLE, "agitation": 1.0}))
    parts = await frames(registry, "r1", *((NOW_MS, part) for part in PARTS))
    await writer.write(whole)
    for batch in [parts] if together else [[part] for part in parts]:
        assert counts(await writer.write(batch)) == (len(batch), 0, 0, 0)
    found = await database.fetch(
        "select channel, value from telemetry where time = to_timestamp($1) order by 1, 2", NOW_MS / 1000
    )
    assert [tuple(sample) for sample in found] == [
        ("agitation", 4.0), ("foam", 2.0), ("foam", 2.0), ("level", 3.0), ("level", None), ("ph", 1.0)
    ]  # fmt: skip
    before = await rows(database)

    chance = random.Random(1)
    for _ in range(5):
        fresh = Registry(pool, 256, 64)
        await fresh.load()
        again = await frames(fresh, "r1", *((NOW_MS, part) for part in PARTS))
        again += await frames(fresh, "r1", (NOW_MS - 1, WHOLE), (NOW_MS - 2, {**WHOLE, "agitation": 1.0}))
        chance.shuffle(again)
        assert counts(await make_writer(pool, fresh).write(again)) == (0, 6, 0, 0)
    assert await rows(database) == before
    assert await totals(database) == (6, 30, 0, 0)


async def test_a_part_that_was_sent_with_other_values_is_a_conflict(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await writer.write(await frames(registry, "r1", (NOW_MS - 1, WHOLE)))
    parts = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}), (NOW_MS, {"foam": 1.0}), (NOW_MS, {"foam": 2.0}))
    assert counts(await writer.write(parts)) == (2, 0, 1, 0)
    assert await quarantined(database) == [("conflict", {"t": NOW_MS, "v": {"foam": 2.0}, "boot": 1, "seq": 2})]


async def test_a_subset_of_a_layout_with_other_values_is_a_conflict_and_no_part(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await writer.write(await frames(registry, "r1", (NOW_MS - 1, WHOLE)))
    sent = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}), (NOW_MS, {"ph": 8.0}))
    assert counts(await writer.write(sent)) == (1, 0, 1, 0)
    assert await quarantined(database) == [("conflict", {"t": NOW_MS, "v": {"ph": 8.0}, "boot": 1, "seq": 1})]


async def test_a_whole_frame_behind_its_part_is_a_conflict(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await writer.write(await frames(registry, "r1", (NOW_MS - 1, WHOLE)))
    pair = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}), (NOW_MS, WHOLE))
    assert counts(await writer.write(pair)) == (1, 0, 1, 0)
    assert counts(await writer.write(pair[::-1])) == (0, 2, 0, 0)
    assert await totals(database) == (2, 2, 1, 0)


async def test_parts_over_the_bound_on_layouts_go_to_quarantine(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    narrow = Registry(pool, max_channels=256, max_layouts=1)
    await narrow.load()
    writer = make_writer(pool, narrow)
    await writer.write(await frames(narrow, "r1", (NOW_MS - 1, WHOLE)))
    parts = await frames(narrow, "r1", (NOW_MS, {"ph": 7.0}), (NOW_MS, {"foam": 1.0}))
    assert counts(await writer.write(parts)) == (1, 0, 1, 0)
    assert [reason for reason, _ in await quarantined(database)] == ["too-many-layouts"]


async def test_frames_of_other_devices_and_times_are_no_conflict(writer: Writer, registry: Registry) -> None:
    sent = [
        *(await frames(registry, "r1", (NOW_MS, WHOLE), (NOW_MS + 0.001, WHOLE))),
        *(await frames(registry, "r2", (NOW_MS, WHOLE))),
    ]
    assert counts(await writer.write(sent)) == (3, 0, 0, 0)
    assert counts(await writer.write(sent)) == (0, 3, 0, 0)


async def test_statuses_are_stored_once_and_conflicting_ones_go_to_quarantine(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    online = {"status": "online", "t": NOW_MS, "boot": 1, "oldest": 3, "firmware": "1"}
    offline = online | {"status": "offline"}
    other = online | {"firmware": "2"}
    batch = await admitted(registry, Kind.STATUS, online, online, offline, other, other)
    assert counts(await writer.write(batch), "status") == (2, 2, 1, 0)
    assert counts(await writer.write(batch[::-1]), "status") == (0, 5, 0, 0)
    assert await quarantined(database) == [("conflict", other | {"generation": None})]
    stored = await database.fetch("select online, oldest_seq, firmware from statuses order by online")
    assert [tuple(row) for row in stored] == [(False, 3, "1"), (True, 3, "1")]
    assert await totals(database, "status") == (2, 7, 1, 0)


@pytest.mark.parametrize("more", [{"firmware": "2"}, {"oldest": 4}, {"generation": 2}, {"generation": None}])
async def test_a_status_that_differs_in_one_thing_is_a_conflict_and_the_first_stays(
    writer: Writer, registry: Registry, database: asyncpg.Connection, more: dict[str, object]
) -> None:
    first = {"status": "online", "t": NOW_MS, "boot": 1, "oldest": 3, "firmware": "1", "generation": 1}
    for message, expected in ((first, (1, 0, 0, 0)), (first | more, (0, 0, 1, 0)), (first, (0, 1, 0, 0))):
        batch = await admitted(registry, Kind.STATUS, message)
        assert counts(await writer.write(batch), "status") == expected
    assert await quarantined(database) == [("conflict", first | more)]
    stored = await database.fetchrow("select oldest_seq, firmware, generation from statuses")
    assert tuple(stored) == (3, "1", 1)


async def test_events_are_stored_once_and_different_ones_of_an_instant_all(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    event = {"type": "dosing", "t": NOW_MS, "boot": 1, "data": {"a": 1, "b": {"c": [None, 2.5]}}}
    different: list[dict[str, object]] = [{"type": "alarm"}, {"data": {"a": 2}}, {"boot": 2}, {"t": NOW_MS + 1}]
    same_otherwise_put = {"data": {"b": {"c": [None, 2.5]}, "a": 1}, "boot": 1, "t": NOW_MS, "type": "dosing"}
    batch = await admitted(registry, Kind.EVENT, event, same_otherwise_put, *(event | each for each in different))
    assert counts(await writer.write(batch), "event") == (5, 1, 0, 0)
    assert counts(await writer.write(batch), "event") == (0, 6, 0, 0)
    assert await database.fetchval("select count(*) from device_events") == 5
    assert await totals(database, "event") == (5, 7, 0, 0)
