"""What goes in comes out value by value, and what is refused is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from gateway.history.entry import import_file
from gateway.history.errors import UnusableFile
from gateway.history.importer import ImportRequest
from gateway.history.mapping import FileMapping, changed
from gateway.runtime.database import Pool
from tests.gateway.history.exports import Import, dasgip, samples
from tests.gateway.material import settings

OTHER = ("other", 2)
BEGIN = datetime(2024, 10, 26, 23, 30, tzinfo=UTC)
"""Half an hour before the clock of Berlin shows 2:00 for the first time, in the night it goes back."""
HEADINGS = (
    *("Unit {n}.Inoculation Time []", "Unit {n}.T{n}.PV [°C]", "Unit {n}.pH{n}.PV [pH]", "Unit {n}.XO2 {n}.Out [%]"),
    "Unit {n}.Offline{n}.A []",
)
CHANNELS = ("temperature", "ph", "exhaust_o2")
DASGIP = {"mapping": "dasgip", "zone": "Europe/Berlin"}


def when(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def local(minute: int) -> str:
    """As the clock of Berlin shows it, an hour further until it goes back."""
    shown = when(minute) + timedelta(hours=2 if when(minute) < datetime(2024, 10, 27, 1, tzinfo=UTC) else 1)
    return f"{shown:%Y-%m-%d %H:%M:%S}"


def value(vessel: int, minute: int, channel: int) -> float | None:
    """What was logged: a value stands there only when it has changed."""
    return None if (minute + channel) % (channel + 2) else round(vessel * 100 - minute / 7 + channel / 3, 3)


def export(path: Path, minutes: int = 180) -> tuple[Path, set[Any]]:
    """An export of two vessels, and its samples."""
    sections, written = {}, set()
    for vessel in (1, 2):
        rows = []
        for minute in range(minutes):
            values = [value(vessel, minute, channel) for channel in range(len(CHANNELS))]
            cells = ["" if one is None else f" {one}".replace(" 0.", " .") for one in values]
            rows.append([local(minute), "1899-12-30 00:00:00", *cells, '""'])
            for channel, one in zip(CHANNELS, values, strict=True):
                if one is not None:
                    written.add((f"dasgip-{vessel}", when(minute), channel, one, 0))
        sections[vessel] = rows
    return dasgip(path, sections, HEADINGS), written


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return found["frames"], found["stored"], found["duplicate"], found["rejected"], found["refused"]


async def totals(database: asyncpg.Connection) -> tuple[int, ...]:
    row = await database.fetchrow(
        """select committed, duplicate, quarantined, discarded from intake_totals
            where cell = 'import' and kind = 'frame'"""
    )
    return tuple(row)


async def test_an_export_goes_in_by_one_command_and_comes_out_value_by_value(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path, written = export(tmp_path / "run 7.csv")
    with pytest.raises(UnusableFile, match="biogate devices register dasgip-1 dasgip-2 --organization main"):
        await imported(path, **DASGIP)
    frames = len({(device, time) for device, time, *_ in written})

    tried = await imported(path, **DASGIP, dry_run=True)
    assert counts(tried) == (frames, frames, 0, 0, 0)
    for table in ("frames", "layouts", "imports", "audit"):
        assert await database.fetchval(f"select count(*) from {table}") == 0
    assert await database.fetchval("select count(*) from devices where name like 'dasgip%'") == 0

    done = await imported(path, **DASGIP, create=True)
    assert await samples(database) == written
    assert counts(done) == counts(tried)
    assert [(d["name"], d["is_new"], d["first"], d["last"]) for d in done["devices"]] == [
        (f"dasgip-{n}", True, "2024-10-26 23:30:00Z", "2024-10-27 02:29:00Z") for n in (1, 2)
    ]
    assert done["samples"] == len(written)

    again = await imported(path, **DASGIP)
    assert counts(again) == (frames, 0, frames, 0, 0)
    assert await totals(database) == (frames, frames, 0, 0)
    assert await database.fetchval("select count(*) from device_streams") == 0
    assert await database.fetch("select audit_faults()") == []
    events = await database.fetch("select who, action, subject, new, why from audit order by n")
    assert [event["action"] for event in events] == [
        *("device register", "device register", "import begin", "import end", "import begin", "import end")
    ]
    facts = json.loads(events[3]["new"])
    assert (events[3]["who"], events[3]["subject"], events[3]["why"]) == ("eva", "import/1", "as the test says")
    assert (facts["file"], facts["sha256"], facts["stored"]) == ("run 7.csv", done["sha256"], frames)


async def test_bad_cells_are_refused_one_by_one_and_harm_no_neighbour(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    rows = [
        *(
            "time;ph;T [°C];note",
            "2024-03-08 10:00:00Z;7,1;36,5;",
            "2024-03-08 10:01:00Z;7,2;warm;",
            "yesterday;7,3;36,7;",
        ),
        *("2024-03-08 10:03:00Z;7.4;36,8;", "2024-03-08 10:04:00Z;NaN;;", "2024-03-08 10:05:00Z;;;", "1;2;3;4;5"),
        "2024-03-08 10:06:00Z;7,6;36,9;",
    ]
    path.write_text("\n".join(rows))
    found = await imported(path, device="r1")
    assert counts(found) == (5, 5, 0, 0, 4)
    assert [(one["row"], one["column"], one["text"], one["reason"]) for one in found["refused_cells"]] == [
        (8, "", "1;2;3;4;5", "the row has another number of cells than the headings"),
        (4, "time", "yesterday", "not a time"),
        (5, "ph", "7.4", "not a number: the decimal sign is ','"),
        (3, "T [°C]", "warm", "not a number"),
    ]
    stored = {(time.minute, channel, value, quality) for _, time, channel, value, quality in await samples(database)}
    assert stored == {
        *((0, "ph", 7.1, 0), (0, "T", 36.5, 0), (1, "ph", 7.2, 0), (3, "T", 36.8, 0), (4, "ph", None, 1)),
        *((6, "ph", 7.6, 0), (6, "T", 36.9, 0)),
    }


async def test_a_conflict_goes_to_quarantine_and_what_differs_in_channels_is_added(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    first, other = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("time,ph,t\n2024-03-08T10:00Z,7,\n2024-03-08T10:01Z,7,30\n2024-03-08T10:02Z,7,31\n")
    other.write_text("time,ph,t\n2024-03-08T10:00Z,,29\n2024-03-08T10:01Z,7,30\n2024-03-08T10:02Z,8,31\n")
    assert counts(await imported(first, device="r1")) == (3, 3, 0, 0, 0)
    tried = await imported(other, device="r1", dry_run=True)
    found = await imported(other, device="r1")
    assert counts(found) == counts(tried) == (3, 1, 1, 1, 0)
    assert found["reasons"] == tried["reasons"] == {"conflict": 1}
    assert await totals(database) == (4, 1, 1, 0)
    row = await database.fetchrow("select device, topic, reason, payload from quarantine")
    assert (row["device"], row["topic"], row["reason"]) == ("r1", "bioreactors/r1/history", "conflict")
    assert msgspec.msgpack.decode(row["payload"])["v"] == {"ph": 8.0, "t": 31.0}
    values = {(time.minute, channel, value) for _, time, channel, value, _ in await samples(database)}
    assert values == {(0, "ph", 7), (0, "t", 29), (1, "ph", 7), (1, "t", 30), (2, "ph", 7), (2, "t", 31)}


async def test_columnar_files_are_stored_like_the_same_as_text(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    times = [when(n) + timedelta(microseconds=n) for n in range(4)]
    table = pa.table(
        {
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "device": ["r1", "r2", "r1", "r2"],
            "ph": [7.25, None, float("nan"), 7.5],
            "ph.quality": pa.array([0, 0, 3, 2], pa.int16()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    cells = zip(times, ["r1", "r2"] * 2, ["7.25", "", "nan", "7.5"], [0, 0, 3, 2], strict=True)
    lines = [",".join([time.isoformat(), *map(str, others)]) for time, *others in cells]
    (tmp_path / "a.csv").write_text("\n".join(["time,device,ph,ph.quality", *lines]))
    assert counts(await imported(tmp_path / "a.parquet")) == (3, 3, 0, 0, 0)
    assert await samples(database) == {
        ("r1", times[0], "ph", 7.25, 0),
        ("r1", times[2], "ph", None, 3),
        ("r2", times[3], "ph", 7.5, 2),
    }
    for name in ("a.arrow", "a.csv"):
        assert counts(await imported(tmp_path / name)) == (3, 0, 3, 0, 0)


async def test_columns_of_a_file_that_have_no_numbers_are_refused(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    others = {"seen": pa.array([when(1), None]), "day": pa.array([when(1).date()] * 2), "many": pa.array([[1.0], []])}
    table = pa.table({"time": pa.array([when(0), when(1)]), "ph": [7.0, 7.1], **others})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = await imported(tmp_path / "a.parquet", device="r1")
    assert counts(found) == (2, 2, 0, 0, 5)
    assert set(found["refused_by_reason"]) == {
        *("not a number, but timestamp[us, tz=UTC]", "not a number, but date32[day]"),
        "not a number, but list<element: double>",
    }
    assert {(channel, value) for _, _, channel, value, _ in await samples(database)} == {("ph", 7.0), ("ph", 7.1)}
    table = pa.table({"time": pa.array([[1], [2]]), "ph": [7.0, 7.1]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(UnusableFile, match="the column of times has the type list"):
        await imported(tmp_path / "b.parquet", device="r1")


async def test_devices_are_those_of_the_organization_alone(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    await database.execute("insert into organizations (name, title) values ('other', 'Other')")
    await database.execute(
        "insert into devices (name, organization_id) values ('theirs', organization_number('other'))"
    )
    path = tmp_path / "a.csv"
    path.write_text("time,ph\n2024-03-08T10:00Z,7\n")
    with pytest.raises(UnusableFile, match="cannot be used for new devices: theirs"):
        await imported(path, device="theirs", dry_run=True)  # or it would tell what of it is stored of theirs
    with pytest.raises(UnusableFile, match="1 devices do not exist: theirs"):
        await imported(path, device="theirs")
    with pytest.raises(UnusableFile, match="cannot be used for new devices: theirs"):
        await imported(path, device="theirs", create=True)
    assert counts(await imported(path, device="theirs", organization=OTHER))[1] == 1
    await imported(path, device="new", organization=OTHER, create=True)
    assert await database.fetchval("select organization_id from devices where name = 'new'") == 2


async def test_what_is_too_new_is_rejected_and_a_time_without_zone_stops_the_file(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,ph\n1999-03-08T10:00Z,7\n2199-03-08T10:00Z,7\n1969-03-08T10:00Z,7\n")
    found = await imported(path, device="r1")
    assert counts(found) == (3, 1, 0, 2, 0)
    assert found["reasons"] == {"too-new": 1, "too-old": 1}
    path.write_text("time,ph\n1999-03-08T10:00,7\n")
    with pytest.raises(UnusableFile, match="give --zone, such as --zone Europe/Berlin"):
        await imported(path, device="r1")
    with pytest.raises(UnusableFile, match="there is no time zone 'Berlin'"):
        await imported(path, device="r1", zone="Berlin")


async def test_values_are_stored_in_the_unit_that_held_at_their_time(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    await database.execute(
        """insert into channel_units (organization_id, device_id, channel_id, since, unit, plain)
           select 1, device_id, channel_id, since::timestamptz, u.unit, false
             from devices, channels, (values ('-infinity', '°F'), ('2024-03-08T10:01Z', 'K')) as u (since, unit)
            where devices.name = 'r1' and channels.name = 'temperature'"""
    )
    path = tmp_path / "a.csv"
    mapping = tmp_path / "m.yaml"
    path.write_text("time,T [degC],V [l],X [m]\n2024-03-08T10:00Z,100,1.5,7\n2024-03-08T10:01Z,0,2,8\n")
    mapping.write_text("channels: {T: temperature, V: volume}")
    for device, expected in (("r1", (212.0, 273.15)), ("r2", (100.0, 0.0))):
        found = await imported(path, str(mapping), device=device)
        columns = {one["channel"]: (one["unit"], one["stored_unit"]) for one in found["tables"][0]["columns"]}
        assert columns["volume"] == ("l", "mL")
        assert columns["temperature"] == ("degC", "K" if device == "r1" else "°C")
        stored = {(t.minute, c): v for d, t, c, v, _ in await samples(database) if d == device}
        assert stored == {
            **{(0, "temperature"): pytest.approx(expected[0]), (1, "temperature"): pytest.approx(expected[1])},
            **{(0, "volume"): 1500, (1, "volume"): 2000, (0, "X"): 7, (1, "X"): 8},
        }
    path.write_text("time,T [bar]\n2024-03-08T10:00Z,1\n")
    with pytest.raises(UnusableFile, match="values in bar cannot be in °F: they can be in Pa"):
        await imported(path, str(mapping), device="r1")
    assert await database.fetchval("select count(*) from imports") == 2


async def test_a_file_names_a_thousand_devices_at_most(imported: Import, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,device,ph\n" + "".join(f"2024-03-08T10:00Z,d{n},7\n" for n in range(1001)))
    with pytest.raises(UnusableFile, match="more than 1000"):
        await imported(path, create=True)


async def test_what_retention_would_drop_again_is_not_stored(pool: Pool, database_url: str, tmp_path: Path) -> None:
    """Without a retention nothing is too old."""
    path = tmp_path / "a.csv"
    now = datetime.now(UTC)
    times = [now - timedelta(days=days) for days in (1000, 401, 399)]
    path.write_text("time,ph\n" + "".join(f"{time:%Y-%m-%dT%H:%M:%SZ},7\n" for time in times))
    mapping = changed(FileMapping(), {"device": "r1"})
    request = ImportRequest(path, "a.csv", mapping, "main", 1, "eva", "as the test says")
    found = []
    for days in (400, None):
        chosen = settings(database_url, retention_frames_days=days)
        report = await import_file(chosen, pool, request, dry_run=False)
        found.append((report.stored, report.duplicate, report.reasons))
    assert found == [(1, 0, {"too-old": 2}), (2, 1, {})]
