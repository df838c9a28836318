"""Long tables, and dates apart from times: as CSV, Parquet and Arrow, recognized by their headings or by a mapping."""

from __future__ import annotations

import csv
import random
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet
import pytest

from gateway.history.errors import UnusableFile
from tests.gateway.history.exports import Import, samples
from tests.gateway.history.test_import import counts

BEGIN = datetime(2024, 3, 8, 10, tzinfo=UTC)
FORMS = ("csv", "parquet", "arrow")
CHANNELS = {"ph": "pH", "temperature": "°C"}


def at(minute: float) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def written(directory: Path, form: str, table: pa.Table) -> Path:
    """The table as a file of this form."""
    path = directory / f"a.{form}"
    if form == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif form == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as stream:
            stream.write_table(table)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            writer.writerows([["" if cell is None else cell for cell in row.values()] for row in table.to_pylist()])
    return path


def long_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of (time, device, channel, unit, value, quality), as an export of ours has them."""
    types = {
        "time": pa.timestamp("us", "UTC"),
        **dict.fromkeys(("device", "channel", "unit"), pa.dictionary(pa.int32(), pa.string())),
        **{"value": pa.float64(), "quality": pa.int16()},
    }
    columns = zip(*rows, strict=True)
    return pa.table({name: pa.array(cells, types[name]) for name, cells in zip(types, columns, strict=True)})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ["by time", "by channel", "shuffled"])
async def test_a_long_table_becomes_frames_in_whatever_order_its_rows_are(
    imported: Import, database: asyncpg.Connection, tmp_path: Path, form: str, order: str
) -> None:
    rows = [
        (at(n), device, channel, unit, round(n + k / 10, 1), 2 if n == 7 else 0)
        for n in range(50)
        for device in ("r1", "r2")
        for k, (channel, unit) in enumerate(CHANNELS.items())
        if (n, device, channel) != (3, "r1", "ph")
    ]
    expected = {(device, when, channel, value, quality) for when, device, channel, _, value, quality in rows}
    if order == "by channel":
        rows.sort(key=lambda row: row[2])
    elif order == "shuffled":
        random.Random(7).shuffle(rows)
    path = written(tmp_path, form, long_table(rows))
    tried = await imported(path, dry_run=True)
    assert counts(tried) == (100, 100, 0, 0, 0)
    (table,) = tried["tables"]
    assert (table["shape"], table["rows"], table["time_column"], table["skipped"]) == ("long", 199, "time", [])
    assert {(one["heading"], one["device"], one["channel"], one["unit"]) for one in table["columns"]} == {
        (channel, device, channel, unit) for channel, unit in CHANNELS.items() for device in ("r1", "r2")
    }
    assert counts(await imported(path)) == counts(tried)
    assert await samples(database) == expected
    assert await database.fetchval("select count(*) from frames") == 100
    assert await database.fetchval("select count(*) from layouts") == 1
    assert counts(await imported(path)) == (100, 0, 100, 0, 0)


async def test_a_mapping_says_what_a_long_table_calls_its_columns_and_channels(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path, mapping = tmp_path / "a.csv", tmp_path / "m.yaml"
    path.write_text(
        "Zeit;Anlage;Messstelle;Messwert;Bemerkung\n08.03.2024 11:00:00;r1;TIC-1;310,15;x\n"
        "08.03.2024 11:00:00;r1;pH-1;7,1;\n08.03.2024 11:00:00;r1;X-1;1;\n08.03.2024 11:00:00;r1;Y-1;1;\n"
    )
    mapping.write_text(
        "{time: {zone: Europe/Berlin}, device_column: Anlage, long: {channel: Messstelle, value: Messwert},"
        " channels: {TIC-1: {channel: temperature, unit: K}, pH-1: ph, X-1: null}, others: ignore}"
    )
    found = await imported(path, str(mapping))
    assert counts(found) == (1, 1, 0, 0, 0)
    assert {(one["heading"], one["reason"]) for one in found["tables"][0]["skipped"]} == {
        *(("X-1", "left out by the mapping"), ("Y-1", "left out by the mapping")),
        ("Bemerkung", "each row of the table is one sample"),
    }
    stored = {(when, channel, round(value or 0, 9)) for _, when, channel, value, _ in await samples(database)}
    assert stored == {(at(0), "ph", 7.1), (at(0), "temperature", 37.0)}
    mapping.write_text("{device: r1, long: {channel: Kanal, value: Messwert}}")
    with pytest.raises(UnusableFile, match="there is no column 'Kanal' for a long table"):
        await imported(path, str(mapping))
    mapping.write_text("{time: {zone: UTC}, long: {channel: Messstelle, value: Messwert}}")
    with pytest.raises(UnusableFile, match="say with --device which device the samples are of"):
        await imported(path, str(mapping))


async def test_headings_of_a_long_table_that_a_mapping_calls_channels_are_a_wide_one(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path, mapping = tmp_path / "a.csv", tmp_path / "m.yaml"
    path.write_text("time,channel,value\n2024-03-08T10:00Z,1,7.5\n")
    mapping.write_text("{device: r1, channels: {value: ph, channel: null}}")
    await imported(path, str(mapping))
    assert await samples(database) == {("r1", at(0), "ph", 7.5, 0)}


async def test_rows_of_a_long_table_are_refused_one_by_one(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    rows = [
        *("time,device,channel,value,unit,quality", "2024-03-08T10:00Z,r1,ph,7.0,,", "2024-03-08T10:00Z,r1,ph,7.0,,"),
        *("2024-03-08T10:00Z,r1,ph,7.5,,", "2024-03-08T10:00Z,,ph,7.0,,", "2024-03-08T10:00Z,r1,,7.0,,"),
        *(
            "yesterday,r1,ph,7.0,,",
            "2024-03-08T10:00Z,r1,temperature,37,°C,",
            "2024-03-08T10:01Z,r1,temperature,99,°F,",
        ),
        *("2024-03-08T10:02Z,r1,temperature,warm,°C,", "2024-03-08T10:03Z,r1,temperature,,,3"),
        *("2024-03-08T10:04Z,r1,temperature,,,", "2024-03-08T10:05Z,r1,ph,nan,,", "1,2,3"),
    ]
    path.write_text("\n".join(rows))
    found = await imported(path)
    assert counts(found) == (3, 3, 0, 0, 7)
    assert sorted((one["row"], one["column"], one["reason"]) for one in found["refused_cells"]) == [
        (4, "value", "a row before has another value of the channel at this time"),
        (5, "channel", "the row names no channel, or no device"),
        (6, "channel", "the row names no channel, or no device"),
        (7, "time", "not a time"),
        (9, "unit", "rows before have the channel in °C"),
        (10, "value", "not a number"),
        (14, "", "the row has another number of cells than the headings"),
    ]
    assert await samples(database) == {
        *(("r1", at(0), "ph", 7.0, 0), ("r1", at(0), "temperature", 37.0, 0), ("r1", at(3), "temperature", None, 3)),
        ("r1", at(5), "ph", None, 1),
    }


async def test_a_long_table_by_channel_passes_the_hour_that_occurs_twice_once_for_each(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path, begin = tmp_path / "a.csv", datetime(2024, 10, 27, tzinfo=UTC)
    shown = [f"02:{n:02}" for n in range(0, 60, 15)] * 2
    rows = [f"2024-10-27 {clock},{channel},{n}" for channel in ("a", "b") for n, clock in enumerate(shown)]
    path.write_text("\n".join(["time,channel,value", *rows]))
    found = await imported(path, device="r1", zone="Europe/Berlin")
    assert counts(found) == (8, 8, 0, 0, 0)
    assert await samples(database) == {
        ("r1", begin + timedelta(minutes=15 * n), channel, float(n), 0) for channel in ("a", "b") for n in range(8)
    }


@pytest.mark.parametrize(
    ("headings", "cells", "said"),
    [
        ("Date,Time,ph", "2024-03-08,10:00:00,7", {"zone": "UTC"}),
        ("date,time,ph", "2024-03-08,11:00:00+01:00,7", {}),
        ("Datum;Uhrzeit;ph", "08.03.2024;11:00;7", {"zone": "Europe/Berlin"}),
        ("Datum;Zeit;ph", "08.03.2024 00:00:00;9:00:00;7", {"zone": "Asia/Dubai", "hour": "5"}),
        ("Date,Time,ph", "3/8/2024,10:00 AM,7", {"zone": "UTC", "time_form": "%m/%d/%Y %I:%M %p"}),
        ("Day,Clock,ph", "2024-03-08,10:00,7", {"zone": "UTC", "date_column": "Day", "time_column": "Clock"}),
        ("date,time,ph", "2024-03-08,2024-03-08T10:00Z,7", {}),
    ],
)
async def test_dates_that_stand_apart_from_times_are_joined(
    imported: Import, database: asyncpg.Connection, tmp_path: Path, headings: str, cells: str, said: dict[str, str]
) -> None:
    path, hour = tmp_path / "a.csv", int(said.get("hour", 10))
    path.write_text(f"{headings}\n{cells}\n")
    found = await imported(path, device="r1", **{name: value for name, value in said.items() if name != "hour"})
    assert counts(found) == (1, 1, 0, 0, 0)
    assert found["tables"][0]["time_column"] == " ".join(headings.replace(";", ",").split(",")[:2])
    assert await samples(database) == {("r1", at(0).replace(hour=hour), "ph", 7.0, 0)}


@pytest.mark.parametrize("form", FORMS)
async def test_columns_of_dates_and_times_are_joined_in_each_form_of_file(
    imported: Import, database: asyncpg.Connection, tmp_path: Path, form: str
) -> None:
    table = pa.table(
        {
            "date": pa.array([date(2024, 3, 8), date(2024, 3, 9), None], pa.date32()),
            "time": pa.array([time(10, 0, 0, 250_000), time(0), time(1)], pa.time64("us")),
            **{"channel": ["ph", "ph", "ph"], "value": [7.0, 7.5, 8.0]},
        }
    )
    path, mapping = written(tmp_path, form, table), tmp_path / "m.yaml"
    mapping.write_text("{device: r1, time: {zone: UTC, date: date, column: time}}")
    found = await imported(path, str(mapping))
    assert counts(found)[:2] == (2, 2)
    assert await samples(database) == {
        ("r1", at(0) + timedelta(milliseconds=250), "ph", 7.0, 0),
        ("r1", datetime(2024, 3, 9, tzinfo=UTC), "ph", 7.5, 0),
    }
