"""Plots out of what is kept of each hour are the plots of all samples: of random data with gaps, bad and missing
values, absurd ones, equal ones, and layouts that change and overlap."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.database import Server
from api.settings import ApiSettings
from deploy.worker import plot_hours
from deploy.worker.plot_hours import PlotHours
from schema import times
from tests.api.accounts import Served
from tests.api.plant import Plant

BEGIN, DAYS = datetime(2026, 3, 1, tzinfo=UTC), 40
END = BEGIN + timedelta(days=DAYS)
CHANNELS = ("ph", "temperature", "seldom")
PLAIN = """
with edges as materialized (select array_agg($3::timestamptz + n * ($4::timestamptz - $3) / $5::int order by n) as found
                              from generate_series(0, $5) n),
used as (select f.time, f.layout_id, f.values[l.ordinal] as value
           from frames f join devices d using (device_id) join layout_channels l using (layout_id)
           join channels c using (channel_id)
          where d.name = $1 and c.name = $2 and f.values[l.ordinal] is not null
            and ($6 or coalesce(f.quality[l.ordinal], 0) = 0)),
placed as (select width_bucket(time, (select found from edges)) as n, time, layout_id, value from used),
numbered as (select n, time, value, row_number() over (partition by n order by time, layout_id) as first,
                    row_number() over (partition by n order by time desc, layout_id desc) as last,
                    row_number() over (partition by n order by value, time) as least,
                    row_number() over (partition by n order by value desc, time) as most
               from placed where n between 1 and $5)
select distinct time, value from numbered where 1 in (first, last, least, most) order by time, value"""


async def fill(plant: Plant) -> None:
    chance = random.Random(5)
    device = await plant.device("br-1")
    layouts = [
        (await plant.layout(device, *CHANNELS[:2]), 2, 0, 20),
        (await plant.layout(device, "temperature", "agitation"), 2, 15, 25),
        (await plant.layout(device, *CHANNELS), 3, 25, DAYS),
    ]
    for layout, width, first, last in layouts:
        at, rows = BEGIN + timedelta(days=first), []
        while at < BEGIN + timedelta(days=last):
            rows.append((at, *_frame(chance, width)))
            at += timedelta(seconds=600 if chance.random() > 0.002 else chance.randrange(100_000))
        await plant.frames(device, layout, rows)


def _frame(chance: random.Random, width: int) -> tuple[list[float | None], list[int | None] | None]:
    values: list[float | None] = [float(chance.randrange(200)) for _ in range(width)]  # many are equal
    if chance.random() < 0.02:
        values[0] = chance.choice([1e308, -1e308])
    if chance.random() > 0.02:
        return values, None
    values[-1] = chance.choice([None, 500.0])
    return values, [*([0] * (width - 1)), chance.choice([1, 2])]


@pytest.fixture
async def maker(plant: Plant, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PlotHours]:
    monkeypatch.setattr(plot_hours, "LEAST_FRAMES", 3)
    await fill(plant)
    async with Server(ApiSettings(database_url=database_url, api_acquire_timeout=60)) as server:
        yield PlotHours(plant.sql, server)


async def plots(client: Served, begin: datetime, end: datetime, points: int, **asked: Any) -> list[dict[str, Any]]:
    span = {"from": times.text(begin), "to": times.text(end), "channel": list(CHANNELS)}
    body = {"mode": "plot", "device": ["br-1"], "max_points": points, **span, **asked}
    answer = await client.post("/api/v1/telemetry", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["series"]
    return found


async def test_plots_are_the_same_with_hours_and_without(plant: Plant, client: Served, maker: PlotHours) -> None:
    chance = random.Random(6)
    asked: list[tuple[datetime, datetime, int, dict[str, Any]]] = [
        (BEGIN - timedelta(days=9), END + timedelta(days=9), 400, {}),
        (BEGIN, END, 400, {"quality": "all"}),
        (BEGIN, END, 40, {"gap": "10m", "bounds": "outside"}),
        (BEGIN, END, 8000, {}),  # of which no pixel has an hour in it
    ]
    for _ in range(4):
        begin = BEGIN + timedelta(microseconds=chance.randrange(15 * 86_400_000_000))
        end = begin + timedelta(days=20, microseconds=chance.randrange(10**10))
        asked.append((begin, end, chance.randrange(4, 500), {"quality": chance.choice(["good", "all"])}))
    without = [await plots(client, *one[:3], **one[3]) for one in asked]
    made = await maker.make(END + timedelta(hours=2))
    assert made > 600
    assert await plant.sql.fetchval("select count(*) from plot_hours where channel_id = 0") > 600
    for one, expected in zip(asked, without, strict=True):
        assert await plots(client, *one[:3], **one[3]) == expected, one
    for begin, end, points, more in asked:
        everything = more.get("quality") == "all"
        for line in await plots(client, begin, end, points, **{**more, "gap": "400d", "bounds": "inside"}):
            arguments = "br-1", line["channel"], begin, end, points // 4, everything
            rows = await plant.sql.fetch(PLAIN, *arguments)
            said = [[point[0], point[1]] for point in line["points"]]
            assert sorted(said) == sorted([times.text(row["time"]), row["value"]] for row in rows)
    assert await maker.make(END + timedelta(hours=2)) == 0


async def test_an_hour_holds_until_a_frame_of_it_comes_late(plant: Plant, client: Served, maker: PlotHours) -> None:
    whole = await plots(client, BEGIN, END, 400)
    await maker.make(END + timedelta(hours=2))
    hour = await plant.sql.fetchval("select max(hour) from plot_hours where most is not null and most < 1e300")
    await plant.sql.execute("update plot_hours set most = 999 where hour = $1 and channel_id <> 0", hour)
    assert await plots(client, BEGIN, END, 400) != whole, "hours are of no use"
    await plant.sql.execute("insert into plot_hours_stale select device_id, $1 from devices", hour)
    assert await plots(client, BEGIN, END, 400) == whole
    assert await maker.make(END + timedelta(hours=2)) == 1
    assert await plant.sql.fetchval("select count(*) from plot_hours_stale") == 0
    assert await plant.sql.fetchval("select count(*) from plot_hours where most = 999") == 0
    assert await plots(client, BEGIN, END, 400) == whole


async def test_an_hour_with_a_correction_is_read_by_sample(plant: Plant, client: Served, maker: PlotHours) -> None:
    """Hours that are made after the correction have what was sent, too."""
    sent = await plots(client, BEGIN, END, 400)
    await plant.sql.execute(
        """insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, factor,
                                    added, who, why)
           select 1, row_number() over (), 1, 'make', device_id, channel_id, $1::timestamptz, $1 + interval '100 min',
                  1, 500, 'eva', 'why'
             from devices, channels c where c.name = any ($2)""",
        await plant.sql.fetchval("select time from frames order by time offset 1000 limit 1"),
        list(CHANNELS),
    )
    corrected = await plots(client, BEGIN, END, 400)
    assert corrected != sent
    assert await maker.make(END + timedelta(hours=2)) > 600
    assert await plots(client, BEGIN, END, 400) == corrected
    assert await plots(client, BEGIN, END, 400, corrections="none") == sent


async def test_dropped_frames_are_in_no_hour(plant: Plant, client: Served, maker: PlotHours) -> None:
    await maker.make(END + timedelta(hours=2))
    begin = BEGIN + timedelta(days=10)
    [chunk] = await plant.sql.fetch(
        "select format('%I.%I', chunk_schema, chunk_name) as name from timescaledb_information.chunks"
        " where hypertable_name = 'frames' and range_start = $1",
        begin,
    )
    await plant.sql.execute(
        "select retention_drop_chunk('frame', 'frames', $1::text::regclass, $2, $3, 'old')",
        *(chunk["name"], begin, begin + timedelta(days=1)),
    )
    assert (
        await plant.sql.fetchval(
            "select count(*) from plot_hours where hour >= $1 and hour < $2", *(begin, begin + timedelta(days=1))
        )
        == 0
    )
    with_hours = await plots(client, BEGIN, END, 400)
    await plant.sql.execute("truncate plot_hours")
    assert await plots(client, BEGIN, END, 400) == with_hours
