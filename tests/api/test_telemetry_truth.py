"""What the API answers is what plain SQL says of the same samples: random data with gaps, a change of clocks, bad and
missing values, values beyond all measure, layouts that change in the middle, and history that came late."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import pytest

from api.queries import samples, telemetry_aggregates
from api.queries.telemetry_buckets import AGGREGATES
from api.series.buckets import SUMMABLE
from api.shapes.telemetry_many import TelemetryRead
from schema import times
from tests.api.conform import conforms
from tests.api.plant import Plant

URL = "/api/v1/telemetry"
BEGIN, END = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
"""The clocks of Berlin change in the night to the 29th."""
DEVICES, CHANNELS = ("br-1", "br-2"), ("ph", "temperature", "ph_setpoint", "seldom")
ABSURD = (1e308, -1e308, 1.5e100, -1e100)

SAMPLES = """
create materialized view samples as
select d.name as device, c.name as channel, f.time, f.layout_id, f.values[l.ordinal] as value,
       coalesce(f.quality[l.ordinal], 0) as quality
  from frames f join devices d using (device_id) join layout_channels l using (layout_id)
  join channels c using (channel_id)
 where f.values[l.ordinal] is not null or f.quality[l.ordinal] is not null;
create index on samples (device, channel, time, layout_id);
grant select on samples to public"""

USED = "value is not null and (quality = 0 or $6)"
EDGES = (
    """
with edges as (select e as begins, lead(e) over (order by e) as ends from unnest($5::timestamptz[]) e),
buckets as (select greatest(begins, $3) as begins, least(ends, $4) as ends, begins as bucket from edges
             where ends is not null),
used as (select * from samples where device = $1 and channel = $2 and """
    + USED
    + ")"
)
PLAIN = (
    EDGES
    + """
select b.bucket, count(s.value), min(s.value), max(s.value),
       (array_agg(s.value order by s.time, s.layout_id) filter (where s.value is not null))[1] as first,
       (array_agg(s.value order by s.time desc, s.layout_id desc) filter (where s.value is not null))[1] as last,
       avg(s.value) filter (where abs(s.value) <= 1e100), sum(s.value) filter (where abs(s.value) <= 1e100),
       stddev(s.value) filter (where abs(s.value) <= 1e100),
       percentile_cont(0.5) within group (order by s.value) filter (where abs(s.value) <= 1e100) as median
  from buckets b left join used s on s.time >= b.begins and s.time < b.ends
 group by 1 order by 1"""
)
GOOD = """
with edges as (select e as begins, lead(e) over (order by e) as ends from unnest($5::timestamptz[]) e)
select begins as bucket,
       100.0::float8 * count(*) filter (where s.value is not null and s.quality = 0)
       / nullif(count(s.time), 0) as percent_good
  from edges left join samples s on s.device = $1 and s.channel = $2 and s.time >= greatest(begins, $3)
       and s.time < least(ends, $4)
 where ends is not null group by 1 order by 1"""
AREAS = (
    EDGES
    + """,
lines as (select time, value, lead(time) over w as until, lead(value) over w as next from used
           where abs(value) <= 1e100 window w as (order by time, layout_id)),
pieces as (select b.bucket, greatest(l.time, b.begins) as a, least(l.until, b.ends) as z, l.*
             from buckets b join lines l on l.until > b.begins and l.time < b.ends
            where l.until - l.time <= $7 and l.until > l.time),
parts as (select bucket, extract(epoch from z - a)::float8 as s, case when $8 then value else
                 value + (next - value) * (extract(epoch from a - time) + extract(epoch from z - a) / 2)::float8
                 / extract(epoch from until - time)::float8 end as height from pieces where z > a)
select bucket, sum(s * height) / sum(s) as twa, sum(s * height) / 3600 as integral from parts group by 1"""
)


def random_value(chance: random.Random) -> float:
    return chance.choice(ABSURD) if chance.random() < 0.01 else chance.gauss(20, 5)


def random_frames(chance: random.Random, width: int, moments: list[datetime]) -> list[tuple[Any, ...]]:
    """In the middle is a time in which all is well."""
    rows: list[tuple[Any, ...]] = []
    for moment in moments:
        if 0.45 < (moment - BEGIN) / (END - BEGIN) < 0.6:
            rows.append((moment, [chance.gauss(20, 5) for _ in range(width)], None))
            continue
        values = [None if chance.random() < 0.1 else random_value(chance) for _ in range(width)]
        marks: list[int | None] | None = None
        if chance.random() < 0.3 or None in values:
            marks = [
                chance.choice([None, 1]) if value is None else chance.choice([0, 0, 0, 1, 2, None]) for value in values
            ]
        rows.append((moment, values, marks))
    return rows


async def fill(plant: Plant) -> None:
    """The layout changes at a third of the time and again at two thirds; for a while there are two of them at once."""
    chance = random.Random(20260328)
    for name in DEVICES:
        device = await plant.device(name)
        layouts = [
            (await plant.layout(device, *CHANNELS[:3]), 3, 0.0, 0.4),
            (await plant.layout(device, "ph", "agitation"), 2, 0.35, 0.7),
            (await plant.layout(device, *CHANNELS), 4, 0.7, 1.0),
        ]
        span = (END - BEGIN) / times.MICROSECOND
        for layout, width, first, last in layouts:
            moments, at = [], first * span
            while at < last * span:
                moments.append(BEGIN + timedelta(seconds=round(at / 1e6)))
                at += chance.choice([20e6, 20e6, 20e6, 21e6, 60e6, 7e6] if chance.random() > 0.01 else [3e9, 1.2e10])
            unique = list(dict.fromkeys(moments))
            chance.shuffle(unique)  # what came late lies anywhere in the table
            await plant.frames(device, layout, random_frames(chance, width, unique))
    silent = await plant.device("br-3")
    await plant.frames(silent, await plant.layout(silent, "ph"), [(BEGIN + timedelta(hours=3), [7.0], None)])
    await plant.sql.execute(SAMPLES)
    for name in ("telemetry_1h", "telemetry_1m"):  # as the community edition has them
        if not await plant.sql.fetchval("select to_regclass($1) is not null", f"api.{name}"):
            await plant.sql.execute(f"create materialized view api.{name} as select * from public.{name}")
            await plant.sql.execute(f"grant select on api.{name} to biogate_api")


@pytest.fixture
async def sql(module_database_url: str, module_key: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(module_database_url, server_settings={"timezone": "UTC"})
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "AT_ONCE", 700)  # so that blocks end in the midst of buckets


async def ask(client: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=asked)
    assert answer.status_code == 200, f"{asked} {answer.text}"
    content: dict[str, Any] = answer.json()
    conforms(TelemetryRead, content)
    return content


def random_range(chance: random.Random) -> tuple[datetime, datetime]:
    begin = BEGIN + timedelta(seconds=chance.uniform(-3600, 150_000))
    return begin, begin + timedelta(seconds=chance.choice([40, 3000, 40_000, 90_000, 180_000]) * chance.uniform(0.3, 1))


def wall_edges(begin: datetime, end: datetime, unit: str, zone: ZoneInfo) -> list[datetime]:
    """Midnights, each looked for by itself."""
    day = (begin - timedelta(days=40)).astimezone(zone).date()
    midnights = [datetime(*(day + timedelta(days=n)).timetuple()[:3], tzinfo=zone) for n in range(100)]
    starts = {
        "day": [True] * 100,
        "week": [it.weekday() == 0 for it in midnights],
        "month": [it.day == 1 for it in midnights],
    }
    edges = [it.astimezone(UTC) for it, begins in zip(midnights, starts[unit], strict=True) if begins]
    first = max(n for n, edge in enumerate(edges) if edge <= begin)
    last = min(n for n, edge in enumerate(edges) if edge >= end)
    return edges[first : last + 1]


def fixed_edges(begin: datetime, end: datetime, width: timedelta, origin: datetime) -> list[datetime]:
    edges = [begin - (begin - origin) % width]
    while edges[-1] < end:
        edges.append(edges[-1] + width)
    return edges


def random_division(chance: random.Random, begin: datetime, end: datetime) -> tuple[dict[str, str], list[datetime]]:
    if chance.random() < 0.3:
        unit, zone = chance.choice(["day", "week", "month"]), chance.choice(["Europe/Berlin", "America/Lima", "UTC"])
        return {"bucket": unit, "tz": zone}, wall_edges(begin, end, unit, ZoneInfo(zone))
    widths = {"15s": 15, "1m": 60, "7m": 420, "1h": 3600, "1d": 86400}
    name = chance.choice([name for name, seconds in widths.items() if (end - begin).total_seconds() / seconds < 900])
    if chance.random() < 0.3:
        origin = begin + timedelta(seconds=chance.randrange(-5000, 5000), microseconds=chance.randrange(10**6))
        return {"bucket": name, "origin": times.text(origin)}, fixed_edges(
            begin, end, timedelta(seconds=widths[name]), origin
        )
    return {"bucket": name}, fixed_edges(begin, end, timedelta(seconds=widths[name]), times.ORIGIN)


def same(found: Any, wanted: Any) -> bool:
    if wanted is None or found is None:
        return wanted is found
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)


async def truth(
    sql: asyncpg.Connection, device: str, channel: str, begin: datetime, end: datetime, edges: list[datetime],
    everything: bool, gap: timedelta,
) -> dict[datetime, dict[str, Any]]:  # fmt: skip
    """Each aggregate of each bucket, as plain SQL has it."""
    asked = (device, channel, begin, end, edges)
    found = {row["bucket"]: dict(row) for row in await sql.fetch(PLAIN, *asked, everything)}
    for statement, more in ((GOOD, ()), (AREAS, (everything, gap, channel.endswith("_setpoint")))):
        for row in await sql.fetch(statement, *asked, *more):
            found[row["bucket"]] |= dict(row)
    return found


@pytest.mark.parametrize("aggregates", [AGGREGATES, tuple(sorted(SUMMABLE))], ids=["frames", "aggregates"])
@pytest.mark.parametrize("seed", range(5))
async def test_every_aggregate_of_every_bucket_is_what_sql_says(
    sql: asyncpg.Connection,
    reader: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    aggregates: tuple[str, ...],
) -> None:
    """Those that continuous aggregates can make come from there, also of a short time."""
    monkeypatch.setattr(telemetry_aggregates, "LONG", timedelta(0))
    chance = random.Random(seed)
    for _ in range(4):
        begin, end = random_range(chance)
        division, edges = random_division(chance, begin, end)
        gap = timedelta(seconds=chance.choice([15, 30, 90, 20_000]))
        everything = chance.random() < 0.4
        content = await ask(
            reader, device=list(DEVICES), channel=list(CHANNELS), aggregate=list(aggregates), empty="null",
            quality="all" if everything else "good", gap=times.duration_text(gap), to=times.text(end),
            **{"from": times.text(begin)}, **division,
        )  # fmt: skip
        rows = {(row[0], row[1]): row[2:] for row in content["rows"]}
        assert len(rows) == 2 * (len(edges) - 1)
        columns = [(column["channel"], column["aggregate"]) for column in content["columns"]]
        for device in DEVICES:
            for channel in CHANNELS:
                wanted = await truth(sql, device, channel, begin, end, edges, everything, gap)
                for bucket, expected in wanted.items():
                    row = rows[device, times.text(bucket)]
                    for (name, aggregate), value in zip(columns, row, strict=True):
                        if name == channel:
                            assert same(value, expected.get(aggregate)), (
                                seed, division, gap, everything, device, channel, bucket, aggregate, value,
                                expected.get(aggregate),
                            )  # fmt: skip


async def test_what_the_database_has_added_up_is_not_taken_for_another_unit(
    reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_aggregates, "LONG", timedelta(0))
    time = {"from": times.text(BEGIN + timedelta(hours=22)), "to": times.text(BEGIN + timedelta(hours=28))}
    asked = time | {"device": ["br-1"], "channel": ["agitation"], "bucket": "1h", "aggregate": ["avg", "max", "sum"]}
    rpm, per_second = await ask(reader, **asked), await ask(reader, **asked, unit=["1/s"])
    assert len(rpm["rows"]) > 2
    for row, converted in zip(rpm["rows"], per_second["rows"], strict=True):
        assert converted[2:] == pytest.approx([value / 60 for value in row[2:]])


@pytest.mark.parametrize("seed", range(4))
async def test_a_plot_has_the_four_samples_of_each_pixel_its_gaps_and_its_first_bad_sample(
    sql: asyncpg.Connection, reader: httpx2.AsyncClient, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        begin, end = random_range(chance)
        pixels, gap = chance.choice([1, 7, 250]), timedelta(seconds=chance.choice([25, 90, 4000]))
        everything = chance.random() < 0.4
        content = await ask(
            reader, mode="plot", device=list(DEVICES), channel=list(CHANNELS), max_points=4 * pixels,
            quality="all" if everything else "good", gap=times.duration_text(gap), to=times.text(end),
            **{"from": times.text(begin)},
        )  # fmt: skip
        assert (content["method"], len(content["series"])) == ("m4", 8)
        span = (end - begin) // times.MICROSECOND
        edges = [begin + times.MICROSECOND * (n * span // pixels) for n in range(pixels + 1)]
        for series in content["series"]:
            rows = await sql.fetch(
                "select time, value, quality, width_bucket(time, $5::timestamptz[]) as pixel from samples"
                " where device = $1 and channel = $2 and time >= $3 and time < $4 order by time, layout_id",
                *(series["device"], series["channel"], begin, end, edges),
            )
            points, bad = drawn([tuple(row) for row in rows], everything, gap)
            assert [tuple(point) for point in series["points"]] == points, (seed, series["device"], series["channel"])
            assert [tuple(one) for one in series["bad"]] == bad


def drawn(rows: list[tuple[Any, ...]], everything: bool, gap: timedelta) -> tuple[list[Any], list[Any]]:
    """Points and bad samples by the definition, one pixel after the other."""
    used = [row for row in rows if row[1] is not None and (everything or row[2] == 0)]
    found: list[tuple[datetime, float | None]] = []
    for pixel in dict.fromkeys(row[3] for row in used):
        some = [row for row in used if row[3] == pixel]
        low, high = min(some, key=lambda row: row[1]), max(some, key=lambda row: row[1])
        found += [(row[0], row[1]) for row in (some[0], low, high, some[-1])]
    for before, after in pairwise(used):
        if after[0] - before[0] > gap and after[3] != before[3]:
            found.append((before[0] + (after[0] - before[0]) // 2, None))
    points = list(dict.fromkeys(sorted(found, key=lambda one: one[0])))
    firsts: dict[int, tuple[Any, ...]] = {}
    for row in rows:
        if row[1] is None or row[2] != 0:
            firsts.setdefault(row[3], (times.text(row[0]), row[2], row[1]))
    return [(times.text(time), value) for time, value in points], list(firsts.values())


@pytest.mark.parametrize("method", ["last", "linear"])
@pytest.mark.parametrize("seed", range(2))
async def test_values_at_times_are_those_of_the_samples_beside_them(
    sql: asyncpg.Connection, reader: httpx2.AsyncClient, seed: int, method: str
) -> None:
    chance = random.Random(seed)
    rows = await sql.fetch("select time from samples order by random() limit 20")
    moments = [BEGIN + timedelta(seconds=chance.uniform(-100, 180_000)) for _ in range(60)]
    moments += [row["time"] for row in rows]
    for everything in (False, True):
        within = timedelta(seconds=chance.choice([15, 90, 4000]))
        content = await ask(
            reader, device=list(DEVICES), channel=list(CHANNELS), at=[times.text(one) for one in moments],
            max_age=times.duration_text(within), method=method, quality="all" if everything else "good",
        )  # fmt: skip
        columns = [column["channel"] for column in content["columns"]]
        cells = iter(zip(content["rows"], content["qualities"] or [None] * len(content["rows"]), strict=True))
        for device in DEVICES:
            for moment in moments:
                row, marks = next(cells)
                assert row[:2] == [device, times.text(moment)]
                for place, channel in enumerate(columns):
                    value, quality = await valued(sql, device, channel, moment, within, method, everything)
                    assert same(row[2 + place], value), (seed, device, channel, moment, within, method, everything)
                    assert marks is None or marks[place] == quality


async def valued(
    sql: asyncpg.Connection, device: str, channel: str, moment: datetime, within: timedelta, method: str,
    everything: bool,
) -> tuple[float | None, int | None]:  # fmt: skip
    where = f"where device = $1 and channel = $2 and {'true' if everything else 'value is not null and quality = 0'}"
    before = await sql.fetchrow(
        f"select time, value, quality from samples {where} and time <= $3 and time >= $3 - $4::interval"
        " order by time desc, layout_id desc limit 1",
        *(device, channel, moment, within),
    )
    if method == "last" or channel.endswith("_setpoint") or (before is not None and before["time"] == moment):
        return (None, None) if before is None else (before["value"], before["quality"])
    after = await sql.fetchrow(
        f"select time, value, quality from samples {where} and time >= $3 and time <= $3 + $4::interval"
        " order by time, layout_id limit 1",
        *(device, channel, moment, within),
    )
    if before is None or after is None:
        return None, None
    quality = max(before["quality"], after["quality"])
    if before["value"] is None or after["value"] is None:
        return None, quality
    share = (moment - before["time"]) / (after["time"] - before["time"])
    return before["value"] * (1 - share) + after["value"] * share, quality
