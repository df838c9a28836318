"""What the views say of frames and statuses, by hand-made examples; the same in both editions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from tests.schema.records import after, copy, device, frame, layout


async def test_a_layout_spells_out_its_channels(database: asyncpg.Connection) -> None:
    number = await layout(database, "temperature", "ph", "agitation")

    rows = await database.fetch(
        "select ordinal, name from layout_channels join channels using (channel_id) where layout_id = $1 order by 1",
        number,
    )

    assert [tuple(row) for row in rows] == [(1, "temperature"), (2, "ph"), (3, "agitation")]


@pytest.mark.parametrize(
    ("channels", "error"),
    [
        ([1, 1], asyncpg.UniqueViolationError),
        ([], asyncpg.CheckViolationError),
        ([1, 999], asyncpg.ForeignKeyViolationError),
    ],
)
async def test_a_layout_of_no_sense_is_refused(
    database: asyncpg.Connection, channels: list[int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await database.execute("insert into layouts (channel_ids) values ($1)", channels)


async def test_telemetry_tells_a_channel_without_value_from_one_that_was_not_sent(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    three = await layout(database, "temperature", "ph", "agitation")
    await copy(
        database,
        frame(0, [37.0, None, None], layout=three),
        frame(1, [37.1, None, None], [0, 1, None], layout=three),
        frame(2, [37.2, 7.0, 300.0], [2, 0, None], layout=three),
    )

    rows = await database.fetch(
        "select time, device, channel, unit, value, quality from telemetry order by time, channel"
    )

    assert [tuple(row) for row in rows] == [
        (after(0), "br-1", "temperature", "°C", 37.0, 0),
        (after(1), "br-1", "ph", "pH", None, 1),
        (after(1), "br-1", "temperature", "°C", 37.1, 0),
        (after(2), "br-1", "agitation", "rpm", 300.0, 0),
        (after(2), "br-1", "ph", "pH", 7.0, 0),
        (after(2), "br-1", "temperature", "°C", 37.2, 2),
    ]


async def say(
    connection: asyncpg.Connection, seconds: float, online: bool, *, boot: int = 1, received: float | None = None
) -> None:
    """A status of the connection that began `seconds` after NOON; it is received a second later, if not otherwise."""
    await connection.execute(
        "insert into statuses (device_id, boot, time, online, received_at) values (1, $1, $2, $3, $4)",
        boot,
        after(seconds),
        online,
        after(seconds + 1 if received is None else received),
    )


async def heard(connection: asyncpg.Connection, seconds: float) -> None:
    await connection.execute("insert into device_heard (device_id, heard_at) values (1, $1)", after(seconds))


async def presence(connection: asyncpg.Connection) -> tuple[Any, ...]:
    row = await connection.fetchrow("select online, boot, since, why from presence where device = 'br-1'")
    return tuple(row)


async def test_a_device_that_never_spoke_is_neither_on_nor_off(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await heard(database, 0)
    assert await presence(database) == (None, None, None, None)


async def test_the_late_will_of_an_older_connection_loses(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True)
    await say(database, 60, online=True)
    await say(database, 0, online=False, received=500)  # after the new `online`
    assert await presence(database) == (True, 1, after(60), "newest")


async def test_of_one_connection_offline_is_the_later(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await say(database, 0, online=False)
    await say(database, 0, online=True)
    assert await presence(database) == (False, 1, after(1), "newest")


async def test_a_newer_boot_wins_whatever_its_clock_says(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True, boot=2)
    await say(database, 60, online=False, boot=1)
    assert await presence(database) == (True, 2, after(0), "newest")


async def test_a_device_is_offline_since_its_will_came_not_since_it_connected(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True)
    await say(database, 0, online=False, received=3600)
    assert await presence(database) == (False, 1, after(3600), "newest")


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(
    ("boot", "seconds"),
    [(1, 4000), (1, -86400), (7, -3600), (6, 5000)],
    ids=["another board", "another board, wrong clock", "clock set back", "counter reset"],
)
async def test_a_status_that_is_received_much_later_holds_whatever_its_numbers(
    database: asyncpg.Connection, boot: int, seconds: float, online: bool
) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True, boot=7)
    await say(database, 0, online=False, boot=7, received=3600)
    await say(database, seconds, online=online, boot=boot, received=4201)
    since = after(seconds if online else 4201)
    assert await presence(database) == (online, boot, since, "received later")


async def test_who_is_heard_after_its_offline_is_online(database: asyncpg.Connection) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True, boot=7)
    await say(database, 0, online=False, boot=7, received=3600)
    await heard(database, 3609)  # what was under way
    assert await presence(database) == (False, 7, after(3600), "newest")
    await database.execute("update device_heard set heard_at = $1", after(3611))
    assert await presence(database) == (True, 7, after(3600), "heard")
    await say(database, -60, online=True, boot=7, received=3605)  # its clock was set back
    assert await presence(database) == (True, 7, after(-60), "heard")


async def test_the_history_of_connections_has_offline_when_it_came_and_no_late_wills(
    database: asyncpg.Connection,
) -> None:
    await device(database, "br-1")
    await say(database, 0, online=True)
    await say(database, 0, online=False, received=3600)
    await say(database, 4000, online=True)
    await say(database, 4100, online=True)
    await say(database, 4000, online=False, received=4400)  # the late will of the second connection
    await database.execute("insert into sql_logins (role, organization_id) values (current_user, 1)")
    rows = await database.fetch("select since, online from org.statuses order by received_at")
    assert [tuple(row) for row in rows] == [
        (after(0), True),
        (after(3600), False),
        (after(4000), True),
        (after(4100), True),
        (None, False),
    ]


async def test_aggregates_count_good_samples_and_only_count_the_others(database: asyncpg.Connection) -> None:
    """Minutes 12:00 and 12:01, nothing until 13:00; all figures by hand."""
    await device(database, "br-1")
    both = await layout(database, "temperature", "ph")
    ph = await layout(database, "ph")
    await copy(
        database,
        frame(0, [1.0, 7.0], layout=both),
        frame(20, [4.0, 6.0], [1, 0], layout=both),  # bad temperature
        frame(40, [2.5, None], [0, 1], layout=both),  # ph without a value
        frame(59.999, [None, None], [1, None], layout=both),  # ph not sent
        frame(60, [8.0, 5.0], [2, 2], layout=both),  # uncertain
        frame(70, [6.5], layout=ph),
        frame(3600, [3.0, 8.0], layout=both),
    )

    found = {
        name: [
            tuple(row)
            for row in await database.fetch(
                f"""select bucket, channel_id, sum, count, min, max, first, last, bad from {name}
                     where device_id = 1 order by bucket, channel_id"""
            )
        ]
        for name in ("telemetry_1m", "telemetry_1h")
    }

    assert found == {
        "telemetry_1m": [
            (after(0), 1, 3.5, 2, 1.0, 2.5, 1.0, 2.5, 2),
            (after(0), 4, 13.0, 2, 6.0, 7.0, 7.0, 6.0, 1),
            (after(60), 1, None, 0, None, None, None, None, 1),
            (after(60), 4, 6.5, 1, 6.5, 6.5, 6.5, 6.5, 1),
            (after(3600), 1, 3.0, 1, 3.0, 3.0, 3.0, 3.0, 0),
            (after(3600), 4, 8.0, 1, 8.0, 8.0, 8.0, 8.0, 0),
        ],
        "telemetry_1h": [
            (after(0), 1, 3.5, 2, 1.0, 2.5, 1.0, 2.5, 3),
            (after(0), 4, 19.5, 3, 6.0, 7.0, 7.0, 6.5, 2),
            (after(3600), 1, 3.0, 1, 3.0, 3.0, 3.0, 3.0, 0),
            (after(3600), 4, 8.0, 1, 8.0, 8.0, 8.0, 8.0, 0),
        ],
    }


ABSURD = [1e308, -1e308, 1.7976931348623157e308, 1e155, -1e101]


@pytest.mark.parametrize(
    "query", ["avg(value)", "sum(value)", "stddev(value)", "corr(value, value)", "sum(value * value)"]
)
async def test_one_value_harms_one_value(database: asyncpg.Connection, query: str) -> None:
    """Absurd values come twice from one of two devices. PostgreSQL's aggregates fail on them, for both devices."""
    await device(database, "br-1")
    await device(database, "br-2")
    ph = await layout(database, "ph")
    for number in (1, 2):
        absurd = ABSURD * 2 if number == 1 else []
        values = enumerate([7.0, 7.5, *absurd])
        await copy(database, *(frame(n, [value], layout=ph, device=number) for n, value in values))

    rows = await database.fetch(f"select device, {query}, min(value), max(value) from telemetry group by 1 order by 1")

    assert [tuple(row[2:]) for row in rows] == [(7.0, 7.5)] * 2
    assert rows[0][1] == rows[1][1]
    counts = await database.fetch("select quality, count(*) from telemetry where device_id = 1 group by 1 order by 1")
    assert [tuple(row) for row in counts] == [(0, 2), (1, 2 * len(ABSURD))]
    for aggregate in ("telemetry_1m", "telemetry_1h"):
        found = await database.fetch(f"select sum, count, min, max, bad from {aggregate} order by device_id")
        assert [tuple(row) for row in found] == [(14.5, 2, 7.0, 7.5, 2 * len(ABSURD)), (14.5, 2, 7.0, 7.5, 0)]


async def fill(connection: asyncpg.Connection) -> None:
    """200 devices, four days, 50 frames a day, as they would arrive: by time."""
    await connection.execute("insert into devices (name) select 'br-' || n from generate_series(1, 200) n")
    await layout(connection, "temperature", "ph", "agitation")
    await connection.execute(
        """insert into frames (time, device_id, layout_id, received_at, values)
           select t, device_id, 1, t, array_fill(1.0::float8, array[20])
             from generate_series($1::timestamptz, $1 + interval '345599 s', interval '1728 s') t, devices
            order by t, device_id""",
        after(-12 * 3600),
    )
    await connection.execute("vacuum analyze frames")
    await connection.execute("analyze")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize(
    "query",
    [
        """select time_bucket('1 hour', time), avg(value) from telemetry
        where device = 'br-7' and channel = 'ph' and time >= '2024-05-18 06:00Z' and time < '2024-05-18 12:00Z'
        group by 1""",
        """select time, value from telemetry
        where device_id = 7 and channel = 'ph' and time >= '2024-05-18 06:00Z' and time < '2024-05-18 12:00Z'""",
        """select bucket, sum / count from telemetry_1h
        where device_id = (select device_id from devices where name = 'br-7')
          and channel_id = (select channel_id from channels where name = 'ph')
          and bucket >= '2024-05-18 06:00Z' and bucket < '2024-05-18 12:00Z'""",
    ],
)
async def test_a_range_of_one_device_reads_its_part_of_one_chunk_by_the_key(
    database: asyncpg.Connection, query: str
) -> None:
    await fill(database)

    (answer,) = json.loads(await database.fetchval(f"explain (analyze, format json) {query}"))

    read = [node for node in nodes(answer["Plan"]) if node.get("Relation Name", "").startswith("_hyper")]
    keys = [node["Index Cond"] for node in nodes(answer["Plan"]) if "frames_pkey" in node.get("Index Name", "")]
    assert len(read) == len(keys) == 1, answer
    assert "device_id = " in keys[0]
    assert read[0]["Actual Rows"] + read[0].get("Rows Removed by Filter", 0) < 50
