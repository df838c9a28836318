"""A computed channel is the same in every mode as a stored one with the same samples: beside each device stands a twin
that has sent what plain Python makes of the device's samples."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import numpy as np
import pyarrow as pa
import pytest

from api.files import export_job, stream
from api.queries import frames, samples, telemetry, telemetry_at
from api.queries.telemetry_buckets import AGGREGATES
from api.series import formula
from api.series.computed import Computation, Computing
from api.series.copied import NOT_SENT
from api.shapes.computed import ComputedDefinition
from schema import times
from tests.api.plant import Plant
from tests.api.test_export_files import exported
from tests.api.test_telemetry_truth import random_frames, same

URL = "/api/v1/telemetry"
BEGIN, END = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
"""As in random_frames."""
START = BEGIN + timedelta(hours=9)
DEVICES = ("br-1", "br-2")
INPUTS = ("ph", "temperature", "agitation", "seldom")
AGE = timedelta(seconds=90)
Sample = tuple[datetime, float | None, int]


def plain(ph: float | None, temperature: float | None, agitation: float | None) -> float | None:
    """(ph - temperature) / agitation, with the temperature in K."""
    if ph is None or temperature is None or agitation is None:
        return None
    found = ph - (temperature + 273.15)
    return found / agitation if math.isfinite(found) and agitation and math.isfinite(found / agitation) else None


def either(ph: float | None, seldom: float | None) -> float | None:
    return ph if seldom is None else seldom + 1


DEFINITIONS: dict[str, tuple[ComputedDefinition, Callable[..., float | None] | None]] = {
    "plain": (
        ComputedDefinition(
            formula="(ph - temperature) / agitation",
            inputs={"ph": None, "temperature": "K", "agitation": "rpm"},
            unit="mbar",
            max_age="90s",
        ),
        plain,
    ),
    "either": (
        ComputedDefinition(
            formula="seldom + one if known(seldom) else ph",
            inputs={"ph": None, "seldom": None},
            constants={"one": 1.0},
            max_age="90s",
        ),
        either,
    ),
    "over_time": (
        ComputedDefinition(
            formula='rate(ln(abs(ph) + 1), "20m") + total(max(-99, min(agitation, 99)), start)',
            inputs={"ph": None, "agitation": None},
            constants={"start": START.isoformat()},
            max_age="90s",
        ),
        None,
    ),
}
NAMES = tuple(DEFINITIONS)


async def fill(plant: Plant) -> None:
    """The layout changes twice; for a while there are two of them at once, and their frames have the same instants."""
    chance = random.Random(84)
    await plant.sql.execute("insert into channels (name) values ('plain_twin'), ('either_twin'), ('over_time_twin')")
    for name in DEVICES:
        device = await plant.device(name)
        layouts = [
            (await plant.layout(device, "ph", "temperature", "ph_setpoint"), 3, 0.0, 0.4),
            (await plant.layout(device, "ph", "agitation"), 2, 0.1, 0.75),
            (await plant.layout(device, "ph", "temperature", "agitation", "seldom"), 4, 0.7, 1.0),
        ]
        for layout, width, first, last in layouts:
            at, moments = BEGIN + first * (END - BEGIN), []
            while at < BEGIN + last * (END - BEGIN):
                moments.append(at.replace(second=at.second // 20 * 20, microsecond=0))
                at += timedelta(seconds=chance.choice([20, 20, 40, 60] if chance.random() > 0.01 else [3000, 9000]))
            unique = list(dict.fromkeys(moments))
            chance.shuffle(unique)
            await plant.frames(device, layout, random_frames(chance, width, unique))
    for name, (definition, _) in DEFINITIONS.items():
        await plant.sql.execute(
            "select computed_channel_put(1, $1, $2, null, 'eva', 'why')", name, definition.model_dump_json()
        )
    for name in DEVICES:
        twin = await plant.device(f"{name}-twin")
        for channel, (definition, how) in DEFINITIONS.items():
            found = [one async for one in truth(plant.sql, name, definition, how)]
            layout = await plant.layout(twin, f"{channel}_twin")
            await plant.frames(twin, layout, [(time, [value], [quality]) for time, value, quality in found])


async def truth(
    sql: asyncpg.Connection, device: str, definition: ComputedDefinition, how: Callable[..., float | None] | None
) -> AsyncIterator[Sample]:
    rows = await sql.fetch(
        """select f.time, c.name, f.values[l.ordinal] as value, coalesce(f.quality[l.ordinal], 0) as quality
             from frames f join devices d using (device_id) join layout_channels l using (layout_id)
             join channels c using (channel_id)
            where d.name = $1 and c.name = any ($2)
              and (f.values[l.ordinal] is not null or f.quality[l.ordinal] is not null)
            order by f.time, f.layout_id""",
        *(device, list(definition.inputs)),
    )
    found = engine(rows, definition) if how is None else by_hand(rows, definition, how)
    for one in found:
        yield one


def by_hand(
    rows: list[asyncpg.Record], definition: ComputedDefinition, how: Callable[..., float | None]
) -> Iterator[Sample]:
    last: dict[str, asyncpg.Record] = {}
    for number, row in enumerate(rows):
        last[row["name"]] = row
        if number + 1 < len(rows) and rows[number + 1]["time"] == row["time"]:
            continue
        now = {name: one for name, one in last.items() if row["time"] - one["time"] <= AGE}
        value = how(**{name: now[name]["value"] if name in now else None for name in definition.inputs})
        marks = [one["quality"] for one in now.values()]
        quality = 1 if 1 in marks else max(marks)
        yield row["time"], value, 1 if value is None and quality == 0 else quality


def engine(rows: list[asyncpg.Record], definition: ComputedDefinition) -> Iterator[Sample]:
    """All at once, as tests/api/series/test_computed.py holds it against other arithmetic."""
    instants = sorted({row["time"] for row in rows})
    at, inputs = {time: number for number, time in enumerate(instants)}, tuple(definition.inputs)
    values = np.full((len(inputs), len(instants)), np.nan)
    marks = np.full(values.shape, NOT_SENT, np.int16)
    for row in rows:
        place = inputs.index(row["name"]), at[row["time"]]
        values[place] = np.nan if row["value"] is None else row["value"]
        marks[place] = row["quality"]
    starts = {"start": times.microseconds(START)}
    what = Computation(formula.compile(definition.formula), inputs, frozenset(), {}, starts, AGE // times.MICROSECOND)
    moments = np.array([times.microseconds(time) for time in instants])
    found, qualities = Computing(what).add(moments, values, marks)
    for time, value, quality in zip(instants, found.tolist(), qualities.tolist(), strict=True):
        yield time, None if math.isnan(value) else value, quality


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "AT_ONCE", 700)
    monkeypatch.setattr(samples, "TOGETHER_AT_ONCE", 500)
    monkeypatch.setattr(telemetry, "AT_ONCE", 300)
    monkeypatch.setattr(telemetry_at, "FIRST_REACH", timedelta(seconds=40))
    monkeypatch.setattr(frames, "FIRST_SPAN", timedelta(minutes=20))


async def ask(client: httpx2.AsyncClient, twin: bool, **asked: Any) -> dict[str, Any]:
    """Ask of the devices or of their twins, whose names are left out of the answer."""
    device = [f"{name}-twin" if twin else name for name in DEVICES]
    channel = [f"{name}_twin" if twin else name for name in NAMES]
    answer = await client.post(URL, json=asked | {"device": device, "channel": channel})
    assert answer.status_code == 200, f"{asked} {answer.text}"
    content: dict[str, Any] = answer.json()
    for row in content["rows"]:
        row[0] = row[0].removesuffix("-twin")
    for one in (*content["series"], *content["latest"], *content["columns"]):
        assert one["computed"] is not twin
        one["channel"] = one["channel"].removesuffix("_twin")
    return content


def random_range(chance: random.Random) -> dict[str, Any]:
    begin = BEGIN + timedelta(seconds=chance.uniform(-3600, 150_000))
    end = begin + timedelta(seconds=chance.choice([40, 3000, 40_000, 180_000]) * chance.uniform(0.3, 1))
    return {"from": times.text(begin), "to": times.text(end), "quality": chance.choice(["good", "all"])}


def cells(content: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Sample by sample: which of a device's rows the samples of several channels share is another matter."""
    names = [one["channel"] for one in content["columns"]]
    marks = content["qualities"] or [[0] * len(names)] * len(content["rows"])
    return sorted(
        (device, name, time, -1e400 if value is None else value, mark)
        for (device, time, *row), some in zip(content["rows"], marks, strict=True)
        for name, value, mark in zip(names, row, some, strict=True)
        if mark is not None and (value is not None or content["qualities"])
    )


async def test_the_definitions_have_samples_of_every_kind(module_database_url: str, module_key: str) -> None:
    sql = await asyncpg.connect(module_database_url)
    kinds = await sql.fetch(
        """select c.name, count(*), count(f.values[1]) as known, count(distinct f.quality[1]) as qualities
             from frames f join layout_channels using (layout_id) join channels c using (channel_id)
            where c.name like '%\\_twin' group by 1"""
    )
    await sql.close()
    assert {row["name"] for row in kinds} == {f"{name}_twin" for name in NAMES}
    assert all(row["count"] > 4000 and row["count"] > row["known"] > 500 and row["qualities"] == 3 for row in kinds), (
        kinds
    )


@pytest.mark.parametrize("seed", range(6))
async def test_raw_samples_page_by_page(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2):
        asked = random_range(chance)
        if chance.random() < 0.3:
            asked |= {"bounds": "outside", "max_age": chance.choice(["70s", "1h"])}
        whole = await ask(reader, True, **asked, limit=20_000)
        wanted, found, page = cells(whole), [], None
        limit = chance.choice([17, 1000, 20_000]) if len(wanted) < 4000 else 20_000
        while page is None or page["next"]:
            more: dict[str, Any] = {} if page is None else {"cursor": page["next"]}
            page = await ask(reader, False, **asked, limit=limit, **more)
            found += cells(page)
        assert sorted(found) == wanted, (seed, asked)


@pytest.mark.parametrize("seed", range(6))
async def test_buckets_are_the_aggregates_of_the_raw_series(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2):
        asked = random_range(chance) | {"bucket": chance.choice(["5m", "1h", "1d"]), "aggregate": list(AGGREGATES)}
        asked |= {"empty": "null", "gap": chance.choice(["30s", "90s", "6h"])}
        wanted, found = await ask(reader, True, **asked), await ask(reader, False, **asked)
        for row, other in zip(found["rows"], wanted["rows"], strict=True):
            assert row[:2] == other[:2]
            for column, value, expected in zip(found["columns"], row[2:], other[2:], strict=True):
                assert same(value, expected), (seed, asked, row[:2], column, value, expected)


@pytest.mark.parametrize("seed", range(4))
async def test_plots(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        asked = random_range(chance) | {"mode": "plot", "max_points": chance.choice([4, 40, 1000]), "gap": "90s"}
        if chance.random() < 0.5:
            asked |= {"bounds": "outside", "max_age": "1h"}
        wanted, found = await ask(reader, True, **asked), await ask(reader, False, **asked)
        for one, other in zip(found["series"], wanted["series"], strict=True):
            for name in ("channel", "points", "bad", "gap"):
                assert one[name] == other[name], (seed, asked, one["channel"], name)


@pytest.mark.parametrize("method", ["last", "linear"])
@pytest.mark.parametrize("seed", range(3))
async def test_values_at_times(
    reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, seed: int, method: str
) -> None:
    """A total is read from its start on for each instant: in a few blocks, and not in forty."""
    monkeypatch.setattr(samples, "TOGETHER_AT_ONCE", 5000)
    monkeypatch.setattr(frames, "FIRST_SPAN", timedelta(hours=3))
    chance = random.Random(seed)
    moments = [BEGIN + timedelta(seconds=chance.uniform(-100, 180_000)) for _ in range(8)]
    moments += [BEGIN + timedelta(seconds=20 * chance.randrange(8000)) for _ in range(4)]
    for quality in ("good", "all"):
        asked = {
            **{"at": [times.text(one) for one in moments], "method": method, "quality": quality},
            "max_age": chance.choice(["15s", "90s", "2h"]),
        }
        wanted, found = await ask(reader, True, **asked), await ask(reader, False, **asked)
        assert (found["rows"], found["qualities"]) == (wanted["rows"], wanted["qualities"])


async def test_newest_values(reader: httpx2.AsyncClient) -> None:
    found = (await ask(reader, False, mode="latest", quality="all", max_age="6h"))["latest"]
    wanted = await ask(reader, True, at=[times.text(END)], quality="all", max_age="12h")
    assert [(one["device"], one["channel"]) for one in found] == [(d, n) for d in DEVICES for n in NAMES]
    assert [one["value"] for one in found] == [value for row in wanted["rows"] for value in row[2:]]
    assert [one["quality"] for one in found] == [mark for row in wanted["qualities"] for mark in row]


@pytest.mark.parametrize("seed", range(3))
async def test_the_route_of_one_device_and_csv_say_the_same(reader: httpx2.AsyncClient, seed: int) -> None:
    asked = random_range(random.Random(seed)) | {"channel": [*NAMES, "ph"]}
    many: dict[str, Any] = (await reader.post(URL, json=asked | {"device": ["br-1"], "limit": 20_000})).json()
    assert many["next"] is None
    url, page, rows = "/api/v1/devices/br-1/telemetry", None, []
    while page is None or page["next"]:
        more: dict[str, Any] = {"limit": 3000} | ({} if page is None else {"cursor": page["next"]})
        page = (await reader.get(url, params=asked | more)).json()
        rows += page["rows"]
    assert [row[1:] for row in many["rows"]] == rows
    assert [one["computed"] for one in page["columns"]] == [True, True, True, False]
    lines = (await reader.get(f"{url}.csv", params=asked)).text.splitlines()
    assert lines[0].startswith("time,plain [mbar]")
    assert len(lines) == len(rows) + 1
    buckets = {key: value for key, value in asked.items() if key != "channel"} | {
        "bucket": "1h",
        "channel": list(NAMES),
    }
    both = (
        (await reader.get(url, params=buckets)).json(),
        (await reader.post(URL, json=buckets | {"device": ["br-1"]})).json(),
    )
    assert both[0]["rows"] == [row[1:] for row in both[1]["rows"]]


@pytest.mark.parametrize("seed", range(3))
async def test_files_are_raw_samples(reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(stream, "PAGE_VALUES", 300)
    asked = random_range(random.Random(seed)) | {"channel": [*NAMES, "ph"], "device": list(DEVICES)}
    raw = (await reader.post(URL, json=asked | {"limit": 20_000})).json()
    assert raw["next"] is None
    table = pa.ipc.open_stream((await reader.get(f"{URL}.arrow", params=asked)).content).read_all()
    rows = table.to_pylist()
    found = [[row["device"], times.text(row["time"]), *(row[name] for name in (*NAMES, "ph"))] for row in rows]
    assert found == raw["rows"]
    if asked["quality"] == "all":
        marks = [[row[f"{name}.quality"] for name in (*NAMES, "ph")] for row in rows]
        assert marks == raw["qualities"]
    field = table.schema.field("plain").metadata
    assert (field[b"unit"], field[b"formula"]) == (b"mbar", b"(ph - temperature) / agitation")
    assert b"formula" not in table.schema.field("ph").metadata


async def test_a_job_is_the_stream(
    reader: httpx2.AsyncClient, module_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In pages, after each of which it is begun anew."""
    monkeypatch.setenv("BIOGATE_DATABASE_URL", module_database_url)
    monkeypatch.setattr(export_job, "PAGE_VALUES", 400)
    asked: dict[str, Any] = {"from": times.text(START), "to": times.text(START + timedelta(hours=9)), "quality": "all"}
    asked |= {"channel": [*NAMES, "ph"], "device": list(DEVICES)}
    content, manifest = await exported(tmp_path, **asked)
    table = pa.ipc.open_stream((await reader.get(f"{URL}.arrow", params=asked)).content).read_all()
    assert pa.ipc.open_stream(content).read_all().equals(table)
    assert [(one.name, one.formula) for one in manifest.columns if one.formula] == [
        (name, definition.formula) for name, (definition, _) in DEFINITIONS.items()
    ]
    assert manifest.devices[0].computed[2].constants == {"start": times.text(START)}
