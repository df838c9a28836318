"""A corrected channel, and one as it was known at a time, is the same in every mode as a stored one with the same
samples: beside the device stand twins that have sent what plain Python makes of its frames."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx2
import pyarrow as pa
import pytest

from api.files import stream
from api.queries import frames, samples, telemetry, telemetry_aggregates, telemetry_at
from api.queries.telemetry_buckets import AGGREGATES
from api.series.buckets import SUMMABLE
from api.shapes.computed import ComputedDefinition
from schema import times
from tests.api.plant import Plant
from tests.api.test_telemetry_truth import random_frames, same

URL = "/api/v1/telemetry"
BEGIN, END = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
SENT, CHANNELS = ("ph", "temperature", "ph_setpoint"), ("ph", "temperature", "ph_setpoint", "difference")
EARLY, LATE = BEGIN + timedelta(hours=30), END + timedelta(hours=20)
KNOWN = {"now": None, "early": EARLY, "late": LATE}
"""Moments as of which is asked; of each there is a twin with corrections, and one without."""


class Row(NamedTuple):
    time: datetime
    received_at: datetime
    layout: int
    values: list[float | None]
    quality: list[int | None]


class Version(NamedTuple):
    """A version of a correction, as it is stored."""

    number: int
    version: int
    act: str
    channel: str
    begins: datetime
    ends: datetime
    value: float | None
    factor: float | None
    added: float | None
    quality: int | None
    made_at: datetime


def random_versions(chance: random.Random) -> list[Version]:
    """Corrections of seconds and of hours that overlap, with later versions and withdrawals, in the order in which they
    were made."""
    found: list[Version] = []
    made = BEGIN + timedelta(hours=1)
    for number in range(1, 41):
        channel, acts = (
            chance.choice(SENT),
            chance.choice([["make"], ["make", "change"], ["make", "change", "withdraw"]]),
        )
        for version, act in enumerate(acts, 1):
            begins = BEGIN + timedelta(seconds=chance.uniform(-1000, 172_800))
            ends = begins + timedelta(seconds=chance.choice([1e-6, 30, 2000, 15_000]))
            value, factor, added, quality = chance.choice(
                [
                    (5.0, None, None, None),
                    (-2.5, None, None, 0),
                    (None, 1.0, chance.uniform(-1, 1), None),
                    (None, chance.choice([0.5, 1e200, -2.0]), 0.25, chance.choice([None, 0, 2])),
                    (None, None, None, chance.choice([0, 1])),
                ]
            )
            made += timedelta(minutes=chance.uniform(1, 90))
            found.append(Version(number, version, act, channel, begins, ends, value, factor, added, quality, made))
    all_well = BEGIN + timedelta(hours=24)
    span = all_well, all_well + timedelta(minutes=20)
    found.append(Version(41, 1, "make", "ph", *span, None, 1.0, 0.5, None, made))
    chance.shuffle(found)
    return sorted(found, key=lambda one: (one.version, one.made_at))


def plainly(versions: Iterable[Version], as_of: datetime | None) -> list[Version]:
    """Those that hold, in the order in which they were made."""
    newest: dict[int, Version] = {}
    for one in versions:
        if as_of is None or one.made_at <= as_of:
            newest[one.number] = one
    order = list(versions)
    return sorted((one for one in newest.values() if one.act != "withdraw"), key=order.index)


def corrected(row: Row, names: list[str], holding: list[Version]) -> tuple[list[float | None], list[int | None]]:
    values, marks = list(row.values), list(row.quality)
    for place, name in enumerate(names):
        if marks[place] is None:
            continue
        some = [one for one in holding if one.channel == name and one.begins <= row.time < one.ends]
        if not some:
            continue
        last, value, mark = some[-1], values[place], marks[place]
        if last.value is not None:
            value = last.value
        elif last.factor is not None and last.added is not None and value is not None:
            value = value * last.factor + last.added
            if abs(value) == float("inf"):
                value = None
        mark = mark if last.quality is None else last.quality
        values[place], marks[place] = value, 1 if value is None and mark == 0 else mark
    return values, marks


async def fill(plant: Plant) -> None:
    chance = random.Random(106)
    device = await plant.device("br-1")
    await plant.layout(device, *SENT)
    await plant.layout(device, "ph", "temperature")
    of = "select layout_id, array_agg(name order by ordinal) from layout_channels join channels using (channel_id)"
    layouts: dict[int, list[str]] = dict(map(tuple, await plant.sql.fetch(f"{of} group by 1")))
    rows = [row for layout, names in layouts.items() for row in random_rows(chance, layout, len(names))]
    definition = ComputedDefinition(
        formula="ph - temperature", inputs={"ph": None, "temperature": "K"}, unit="pH", max_age="90s"
    )
    await plant.sql.execute(
        "select computed_channel_put(1, 'difference', $1, null, 'eva', 'why')", definition.model_dump_json()
    )
    await store(plant, device, rows)
    versions = random_versions(chance)
    await plant.sql.executemany(
        """insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, value,
                                    factor, added, quality, who, why, made_at)
           select 1, $1, $2, $3, $12, channel_id, $5, $6, $7, $8, $9, $10, 'eva', 'why', $11
             from channels where name = $4""",
        [(*one, device) for one in versions],
    )
    for known, as_of in KNOWN.items():
        for how in ("applied", "none"):
            twin = await plant.device(f"{known}-{how}")
            for position, layout in enumerate(layouts, 1):
                await plant.sql.execute("insert into device_layouts values ($1, $2, $3)", twin, position, layout)
            holding = plainly(versions, as_of) if how == "applied" else []
            told = [row for row in rows if as_of is None or row.received_at <= as_of]
            new = [Row(row.time, row.time, row.layout, *corrected(row, layouts[row.layout], holding)) for row in told]
            await store(plant, twin, new)
    for name in ("telemetry_1h", "telemetry_1m"):  # as the community edition has them
        if not await plant.sql.fetchval("select to_regclass($1) is not null", f"api.{name}"):
            await plant.sql.execute(f"create materialized view api.{name} as select * from public.{name}")
            await plant.sql.execute(f"grant select on api.{name} to biogate_api")


def random_rows(chance: random.Random, layout: int, width: int) -> list[Row]:
    """Most frames come at once, some hours late, some as history long after."""
    found, at = [], BEGIN
    while at < END:
        [(time, values, marks)] = random_frames(chance, width, [at])
        late = chance.choices([timedelta(seconds=1), timedelta(hours=5), timedelta(days=9)], [8, 1, 1])[0]
        sent = [None if value is None else 0 for value in values] if marks is None else marks
        full = [0 if mark is None and value is not None else mark for mark, value in zip(sent, values, strict=True)]
        found.append(Row(time, time + late, layout, values, full))
        at += timedelta(seconds=chance.choice([20, 20, 20, 40] if chance.random() > 0.01 else [3000, 9000]))
    return found


async def store(plant: Plant, device: int, rows: list[Row]) -> None:
    """What has neither value nor quality in any channel is no frame that anybody sends."""
    records = [(row.time, device, row.layout, row.received_at, row.values, row.quality) for row in rows]
    columns = ["time", "device_id", "layout_id", "received_at", "values", "quality"]
    await plant.sql.copy_records_to_table("frames", columns=columns, records=records)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "AT_ONCE", 700)
    monkeypatch.setattr(samples, "TOGETHER_AT_ONCE", 900)
    monkeypatch.setattr(telemetry, "AT_ONCE", 600)
    monkeypatch.setattr(telemetry_at, "FIRST_REACH", timedelta(seconds=40))
    monkeypatch.setattr(frames, "FIRST_SPAN", timedelta(minutes=50))
    monkeypatch.setattr(telemetry_aggregates, "LONG", timedelta(0))


async def ask(client: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post(URL, json={"channel": list(CHANNELS)} | asked)
    assert answer.status_code == 200, f"{asked} {answer.text}"
    content: dict[str, Any] = answer.json()
    return content


async def both(
    client: httpx2.AsyncClient, chance: random.Random, **asked: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask of the device as it was known at one of the moments, with or without corrections; and of its twin."""
    known, how = chance.choice(list(KNOWN)), chance.choice(["applied", "applied", "none"])
    said = times.optional_text(KNOWN[known])
    as_of = {} if said is None else {"as_of": said}
    found = await paged(client, asked | as_of | {"device": ["br-1"], "corrections": how}, chance.choice([300, 20_000]))
    assert (found["corrections"], found["as_of"]) == (how, as_of.get("as_of"))
    return found, await paged(client, asked | {"device": [f"{known}-{how}"]}, 20_000)


async def paged(client: httpx2.AsyncClient, asked: dict[str, Any], limit: int) -> dict[str, Any]:
    if "bucket" in asked or "at" in asked or "mode" in asked:
        return await ask(client, **asked)
    whole = page = await ask(client, **asked, limit=limit)
    while page["next"]:
        page = await ask(client, **asked, limit=limit, cursor=page["next"])
        for name in ("rows", "qualities", "originals"):
            whole[name] = whole[name] and [*whole[name], *page[name]]
    return whole


def random_range(chance: random.Random) -> dict[str, Any]:
    begin = BEGIN + timedelta(seconds=chance.uniform(-3600, 150_000))
    end = begin + timedelta(seconds=chance.choice([40, 3000, 40_000, 180_000]) * chance.uniform(0.3, 1))
    return {"from": times.text(begin), "to": times.text(end), "quality": chance.choice(["good", "all"])}


def rows_of(content: dict[str, Any]) -> list[list[Any]]:
    return [row[1:] for row in content["rows"]]


@pytest.mark.parametrize("seed", range(5))
async def test_raw_samples_page_by_page(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        asked = random_range(chance)
        if chance.random() < 0.3:
            asked |= {"bounds": "outside", "max_age": chance.choice(["70s", "1h"])}
        found, wanted = await both(reader, chance, **asked)
        assert rows_of(found) == rows_of(wanted), asked
        assert found["qualities"] == wanted["qualities"], asked


async def test_what_was_sent_stands_beside_what_is_corrected(reader: httpx2.AsyncClient) -> None:
    whole = {"device": ["br-1"], "from": times.text(BEGIN), "to": times.text(END), "quality": "all", "channel": SENT}
    sent, found = await paged(reader, whole, 20_000), await paged(reader, whole | {"corrections": "applied"}, 20_000)
    assert (sent["corrections"], sent["originals"]) == ("none", None)
    assert sent["corrected"] == found["corrected"] != []
    assert "not applied" in sent["warnings"][-1]
    assert ": applied" in found["warnings"][-1]
    numbers = set()
    for now, marks, before, sent_marks, originals in zip(
        found["rows"], found["qualities"], sent["rows"], sent["qualities"], found["originals"], strict=True
    ):
        for place, one in enumerate(originals):
            value, mark = (now[place + 2], marks[place]) if one is None else (one["value"], one["quality"])
            assert (value, mark) == (before[place + 2], sent_marks[place])
            numbers.add(None if one is None else one["correction"])
    assert None in numbers
    assert len(numbers) > 10
    assert numbers - {None} <= {one["correction"] for one in found["corrected"]}


@pytest.mark.parametrize("names", [AGGREGATES, tuple(sorted(SUMMABLE))], ids=["frames", "aggregates"])
@pytest.mark.parametrize("seed", range(3))
async def test_buckets(reader: httpx2.AsyncClient, seed: int, names: tuple[str, ...]) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        asked = random_range(chance) | {"bucket": chance.choice(["5m", "1h", "1d"]), "aggregate": list(names)}
        asked |= {"empty": "null", "gap": chance.choice(["30s", "90s", "6h"])}
        if chance.random() < 0.3 and names is AGGREGATES:
            del asked["gap"]
        found, wanted = await both(reader, chance, **asked)
        for row, other in zip(rows_of(found), rows_of(wanted), strict=True):
            for column, value, expected in zip(found["columns"], row[1:], other[1:], strict=True):
                assert same(value, expected), (seed, asked, row[0], column, value, expected)


async def test_what_the_database_has_added_up_is_not_taken_for_what_is_corrected(reader: httpx2.AsyncClient) -> None:
    """In the middle of the time all samples are good: its hours come from the aggregates, but for those corrected."""
    time = {"from": times.text(BEGIN + timedelta(hours=22)), "to": times.text(BEGIN + timedelta(hours=28))}
    asked = time | {"channel": list(SENT), "bucket": "1h", "aggregate": sorted(SUMMABLE)}
    found, wanted = [await ask(reader, device=[name], **asked) for name in ("br-1", "now-applied")]
    assert found["corrected"], "there is nothing to be seen"
    for row, other in zip(rows_of(found), rows_of(wanted), strict=True):
        assert row[1:] == pytest.approx(other[1:]), row


@pytest.mark.parametrize("seed", range(3))
async def test_plots(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        asked = random_range(chance) | {"mode": "plot", "max_points": chance.choice([4, 40, 1000])}
        asked |= {"bounds": "outside", "max_age": "1h"} if chance.random() < 0.5 else {"gap": "90s"}
        found, wanted = await both(reader, chance, **asked)
        for one, other in zip(found["series"], wanted["series"], strict=True):
            for name in ("channel", "points", "bad", "gap"):
                assert one[name] == other[name], (seed, asked, one["channel"], name)


@pytest.mark.parametrize("method", ["last", "linear"])
@pytest.mark.parametrize("seed", range(2))
async def test_values_at_times(reader: httpx2.AsyncClient, seed: int, method: str) -> None:
    chance = random.Random(seed)
    moments = [BEGIN + timedelta(seconds=chance.uniform(-100, 180_000)) for _ in range(15)]
    moments += [BEGIN + timedelta(seconds=20 * chance.randrange(8000)) for _ in range(5)]
    for quality in ("good", "all"):
        asked = {"at": [times.text(one) for one in moments], "method": method, "quality": quality}
        found, wanted = await both(reader, chance, **asked, max_age=chance.choice(["15s", "90s", "2h"]))
        assert (rows_of(found), found["qualities"]) == (rows_of(wanted), wanted["qualities"])


@pytest.mark.parametrize("quality", ["good", "all"])
async def test_newest_values(reader: httpx2.AsyncClient, quality: str) -> None:
    asked = {"mode": "latest", "quality": quality, "max_age": "30h"}
    found, wanted = await ask(reader, device=["br-1"], **asked), await ask(reader, device=["now-applied"], **asked)
    assert [one | {"device": ""} for one in found["latest"]] == [one | {"device": ""} for one in wanted["latest"]]
    refused = await reader.post(URL, json=asked | {"device": ["br-1"], "as_of": "2026-03-30T00:00:00Z"})
    assert refused.status_code == 422
    assert "as_of" in refused.text


@pytest.mark.parametrize("seed", range(3))
async def test_the_route_of_one_device_says_the_same(reader: httpx2.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    asked = random_range(chance) | {"channel": list(CHANNELS), "as_of": times.text(LATE)}
    url = "/api/v1/devices/br-1/telemetry"
    questions: tuple[dict[str, Any], ...] = (
        {"corrections": "applied", "limit": 20_000},
        {"bucket": "1h"},
        {"limit": 20_000},
    )
    for more in questions:
        many = await ask(reader, **asked, **more, device=["br-1"])
        one = (await reader.get(url, params=asked | more)).json()
        assert rows_of(many) == one["rows"]
        names = ("qualities", "originals", "corrections", "corrected", "as_of")
        assert [many[name] for name in names] == [one[name] for name in names]


@pytest.mark.parametrize("shape", ["wide", "long"])
@pytest.mark.parametrize("seed", range(2))
async def test_files_have_what_was_sent_beside_what_is_corrected(
    reader: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, seed: int, shape: str
) -> None:
    monkeypatch.setattr(stream, "PAGE_VALUES", 300)
    asked = random_range(random.Random(seed)) | {"quality": "all", "channel": ["ph", "difference"]}
    asked |= {"corrections": "applied", "from": times.text(BEGIN)}
    raw = await paged(reader, asked | {"device": ["br-1"]}, 20_000)
    url = "/api/v1/devices/br-1/telemetry.arrow"
    content = (await reader.get(url, params=asked | {"shape": shape})).content
    table = pa.ipc.open_stream(content).read_all()
    rows = table.to_pylist()
    if shape == "wide":
        assert table.column_names[5:7] == ["ph.correction", "difference"]
        assert [row["difference"] for row in rows] == [row[3] for row in raw["rows"]]
    names = ["value", "quality", "original", "original_quality", "correction"]
    if shape == "wide":
        names = ["ph", *(f"ph.{name}" for name in names[1:])]
    else:
        rows = [row for row in rows if row["channel"] == "ph"]
    found = [[row[name] for name in names] for row in rows]
    wanted = []
    for row, marks, originals in zip(raw["rows"], raw["qualities"], raw["originals"], strict=True):
        if shape == "wide" or marks[0] is not None:
            one = originals[0] or {"value": None, "quality": None, "correction": None}
            wanted.append([row[2], marks[0], one["value"], one["quality"], one["correction"]])
    assert found == wanted
    assert any(row[4] for row in found)
    manifest = json.loads(table.schema.metadata[b"biogate"])
    assert (manifest["corrections"], manifest["corrected"]) == ("applied", raw["corrected"])
