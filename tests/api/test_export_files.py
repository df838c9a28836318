"""What a file of an export holds is what plain SQL says, for every reader, shape and quality."""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import asyncpg
import duckdb
import httpx2
import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from api.admin.exports import table_size
from api.files import export_job, stream
from api.files.export_job import HashedFile, run
from api.queries import exports, frames
from api.shapes.exports import FileFormat, Manifest
from schema.jobs import JobProgress, RunningJob
from tests.api.plant import Plant, at, claimed_export, text

Sample: TypeAlias = tuple[datetime, str, str, float | None, int]
FORMATS: tuple[FileFormat, ...] = ("arrow", "parquet", "csv")
SHAPES: tuple[Literal["wide", "long"], ...] = ("wide", "long")
READERS = ("pandas", "polars", "duckdb")
ODD = ("time", "=1+1", "ph.quality")
"""Names of channels that would be those of other columns, or a formula."""


async def filled(plant: Plant) -> None:
    """Two devices, with gaps, bad samples, a layout that changes, channels in parts, and history that came late."""
    dice = random.Random(7)
    for number, name in enumerate(("br-1", "br-2")):
        device = await plant.device(name)
        first = await plant.layout(device, "ph", *ODD)
        second = await plant.layout(device, "ph", "temperature", *ODD)
        third = await plant.layout(device, f"only-{number}")
        widths = {first: 4, second: 5, third: 1}
        rows: list[tuple[datetime, int, list[float | None], list[int | None] | None]] = []
        for second_ in range(900):
            if dice.random() < 0.1 or 300 < second_ < 400:
                continue
            layout = first if second_ < 500 or dice.random() < 0.05 else second
            for used in {layout, third} if dice.random() < 0.3 else {layout}:
                rows.append((at(second_), used, *sampled(dice, widths[used])))
        dice.shuffle(rows)
        for time, layout, values, quality in rows:
            await plant.frames(device, layout, [(time, values, quality)])
    await plant.sql.execute("update channels set unit = case name when 'ph' then 'pH' when 'temperature' then '°C' end")


def sampled(dice: random.Random, width: int) -> tuple[list[float | None], list[int | None] | None]:
    values = [dice.choice([None, dice.uniform(-1e3, 1e3), 1e308, -0.0, 7.0]) for _ in range(width)]
    if dice.random() < 0.5:
        return values, None
    return values, [dice.choice([None, 0, 1, 2, 7]) for _ in range(width)]


async def expected(sql: asyncpg.Connection, everything: bool, device: str = "%") -> Counter[Sample]:
    """By plain SQL, sample by sample."""
    rows = await sql.fetch(
        """select f.time, d.name, c.name, f.values[l.ordinal], coalesce(f.quality[l.ordinal], 0)
             from frames f join devices d using (device_id) join layout_channels l using (layout_id)
             join channels c using (channel_id)
            where d.name like $1 and f.time >= $2 and f.time < $3
              and case when $4 then f.values[l.ordinal] is not null or f.quality[l.ordinal] is not null
                       else f.values[l.ordinal] is not null and coalesce(f.quality[l.ordinal], 0) = 0 end""",
        *(device, at(100), at(800), everything),
    )
    assert len(rows) > 1000
    return Counter((row[0], row[1], row[2], row[3], row[4]) for row in rows)


def table(content: bytes, format_: FileFormat, reader: str, directory: Path) -> list[dict[str, Any]]:
    """The rows, as the reader has them; null is None."""
    path = directory / f"export.{format_}"
    path.write_bytes(content)
    if reader == "pandas":
        frame = {
            "arrow": lambda: pa.ipc.open_stream(content).read_pandas(),
            "parquet": lambda: pd.read_parquet(path),
            "csv": lambda: pd.read_csv(path, parse_dates=[0]),
        }[format_]()
        return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]
    if reader == "polars":
        read: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
            "arrow": pl.read_ipc_stream,
            "parquet": pl.read_parquet,
            "csv": read_csv,
        }
        return read[format_](io.BytesIO(content)).to_dicts()
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        if format_ == "arrow":
            found = db.from_arrow(pa.ipc.open_stream(content).read_all())
        else:
            found = db.read_parquet(str(path)) if format_ == "parquet" else db.read_csv(str(path), sample_size=-1)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def read_csv(content: io.BytesIO) -> pl.DataFrame:
    return pl.read_csv(content, infer_schema_length=None).with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))


def samples(rows: list[dict[str, Any]], manifest: Manifest, *, everything: bool) -> Counter[Sample]:
    """The samples of a table, by what the manifest says of its columns."""
    found: Counter[Sample] = Counter()
    for row in rows:
        cells = [None if is_null(cell) else cell for cell in row.values()]
        found.update(wide(cells, manifest, everything) if manifest.shape == "wide" else [long(cells)])
    return found


def is_null(cell: Any) -> bool:
    return cell is None or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def instant(cell: Any) -> datetime:
    found: datetime = cell.to_pydatetime() if isinstance(cell, pd.Timestamp) else cell
    return found


def wide(cells: list[Any], manifest: Manifest, everything: bool) -> Iterator[Sample]:
    time, device = instant(cells[0]), str(cells[1])
    some = False
    for number, column in enumerate(manifest.columns):
        if column.kind != "value":
            continue
        quality = cells[number + 1] if everything else 0
        if cells[number] is not None or (everything and quality is not None):
            some = True
            yield time, device, str(column.channel), cells[number], int(quality)
    assert some, "a row without a sample"


def long(cells: list[Any]) -> Sample:
    time, device, channel, _unit, value, *quality = cells
    return instant(time), str(device), str(channel).removeprefix("'"), value, int(quality[0]) if quality else 0


async def exported(directory: Path, organization: int = 1, **asked: Any) -> tuple[bytes, Manifest]:
    """Do the job, and return the file with its manifest, which are held against each other."""
    request = {"device": ["*"], "from": text(100), "to": text(800)} | asked
    place = directory / uuid4().hex
    place.mkdir()
    job = await claimed_export(os.environ["BIOGATE_DATABASE_URL"], request, organization)
    told = JobProgress()
    facts = await run(RunningJob(job, place, told))
    content = (place / facts["file"]).read_bytes()
    manifest = msgspec.json.decode((place / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.file is not None
    assert manifest.file.bytes == len(content)
    assert facts["rows"] == manifest.rows == told.done == told.total
    assert table_size(place / facts["file"], manifest) == (facts["rows"], facts["columns"])
    return content, manifest


@pytest.fixture
def worker_environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the process of a job, with small pages, so that there are many of them."""
    monkeypatch.setenv("BIOGATE_DATABASE_URL", database_url)
    monkeypatch.setattr(export_job, "PAGE_VALUES", 200)
    monkeypatch.setattr(stream, "PAGE_VALUES", 200)
    monkeypatch.setattr(frames, "FIRST_SPAN", timedelta(seconds=20))


@pytest.mark.usefixtures("worker_environment")
async def test_every_reader_finds_in_a_file_what_sql_says(plant: Plant, tmp_path: Path) -> None:
    await filled(plant)
    for everything in (False, True):
        stored = await expected(plant.sql, everything)
        quality = "all" if everything else "good"
        for format_ in FORMATS:
            for shape in SHAPES:
                content, manifest = await exported(tmp_path, format=format_, shape=shape, quality=quality)
                for reader in READERS:
                    rows = table(content, format_, reader, tmp_path)
                    what = f"{format_}, {shape}, {quality}, {reader}"
                    assert len(rows) == manifest.rows, what
                    assert samples(rows, manifest, everything=everything) == stored, what
                    times = [(str(row["device"]), row["time"]) for row in rows]
                    assert times == sorted(times), what


@pytest.mark.usefixtures("worker_environment")
async def test_a_stream_is_the_same_table_with_its_facts_in_its_metadata(
    plant: Plant, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await filled(plant)
    asked = {"from": text(100), "to": text(800), "quality": "all"}
    whole = await client.get("/api/v1/telemetry.arrow", params=asked | {"device": "*"})
    assert whole.status_code == 200, whole.text
    found = pa.ipc.open_stream(whole.content).read_all()
    manifest = manifest_of(found.schema.metadata)
    assert manifest.zone == "UTC"
    assert [one.device for one in manifest.devices] == ["br-1", "br-2"]
    assert found.schema.field("ph").metadata[b"unit"] == b"pH"
    file, _ = await exported(tmp_path, quality="all")
    assert pa.ipc.open_stream(file).read_all().equals(found)
    several = await client.get("/api/v1/devices/br-1/telemetry.arrow", params=asked | {"channel": ["ph", "only-*"]})
    manifest = manifest_of(pa.ipc.open_stream(several.content).schema.metadata)
    assert manifest.request == asked | {"device": "br-1", "channel": ["ph", "only-*"]}
    one = await client.get("/api/v1/devices/br-1/telemetry.parquet", params=asked | {"channel": "only-*"})
    assert one.status_code == 200, one.text
    rows = table(one.content, "parquet", "polars", tmp_path)
    stored = await expected(plant.sql, True, "br-1")
    assert [(row["time"], row["only-0"], row["only-0.quality"]) for row in rows] == sorted(
        ((time, value, quality) for time, _, channel, value, quality in stored if channel == "only-0"),
        key=lambda sample: sample[0],
    )


@pytest.mark.parametrize("quality", ["good", "all"])
@pytest.mark.parametrize("end", ["arrow", "parquet"])
async def test_a_stream_with_bounds_outside_has_the_rows_that_json_has(
    plant: Plant, client: httpx2.AsyncClient, tmp_path: Path, end: FileFormat, quality: str
) -> None:
    await filled(plant)
    asked = {"device": "*", "from": text(100), "to": text(130), "bounds": "outside", "quality": quality}
    for max_age in ("1h", "2s"):
        given = asked | {"max_age": max_age}
        json_ = (await client.get("/api/v1/telemetry", params=given | {"limit": "2000"})).json()
        assert json_["next"] is None
        stream = await client.get(f"/api/v1/telemetry.{end}", params=given)
        rows = table(stream.content, end, "polars", tmp_path)
        channels = [one["channel"] for one in json_["columns"]]
        times = [time for _, time, *_ in json_["rows"]]
        assert (min(times) < text(100), max(times) >= text(130)) == (True, True)
        found = [[row["device"], row["time"], *(row[title(name, quality)] for name in channels)] for row in rows]
        assert found == [[device, datetime.fromisoformat(time), *cells] for device, time, *cells in json_["rows"]]
        if quality == "all":
            assert [[row[f"{name}.quality"] for name in channels] for row in rows] == json_["qualities"]
        long_ = await client.get(f"/api/v1/telemetry.{end}", params=given | {"shape": "long"})
        cells = json_["qualities"] or [row[2:] for row in json_["rows"]]
        count = sum(cell is not None for row in cells for cell in row)
        assert len(table(long_.content, end, "polars", tmp_path)) == count
    inside = await client.get(f"/api/v1/telemetry.{end}", params=asked | {"bounds": "inside"})
    assert len(table(inside.content, end, "polars", tmp_path)) < len(rows)


def title(channel: str, quality: str) -> str:
    """The title of the column of a channel: some are called as other columns."""
    return f"{channel} (2)" if channel == "time" or (channel, quality) == ("ph.quality", "all") else channel


@pytest.mark.parametrize("end", ["arrow", "parquet"])
async def test_a_stream_is_asked_for_by_a_body_where_the_lists_are_long(
    plant: Plant, client: httpx2.AsyncClient, tmp_path: Path, end: FileFormat
) -> None:
    await filled(plant)
    asked = {"from": text(100), "to": text(800), "quality": "all", "shape": "long", "bounds": "outside"}
    lists = {"device": ["br-1", "br-2"], "channel": ["ph"] * 900}
    by_body = await client.post(f"/api/v1/telemetry.{end}", json=asked | lists)
    assert by_body.status_code == 200, by_body.text
    by_address = await client.get(f"/api/v1/telemetry.{end}", params=asked | {"device": "br-*", "channel": "ph"})
    rows = table(by_body.content, end, "polars", tmp_path)
    assert len(rows) > 100
    assert rows == table(by_address.content, end, "polars", tmp_path)
    if end == "arrow":
        facts = manifest_of(pa.ipc.open_stream(by_body.content).schema.metadata)
        assert facts.request | {"from": text(100), "to": text(800)} == asked | lists
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (({"bounds": "around"}, "bounds"), ({"limit": 5}, "limit"))
    for wrong, says in wrongs:
        refused = await client.post(f"/api/v1/telemetry.{end}", json=asked | lists | wrong)
        assert (refused.status_code, says in refused.text) == (422, True)
    large = await client.post(f"/api/v1/telemetry.{end}", json=asked | {"channel": ["x" * 1000] * 80})
    assert large.status_code == 413


def manifest_of(metadata: dict[bytes, bytes]) -> Manifest:
    found: Manifest = msgspec.json.decode(metadata[b"biogate"], type=Manifest)
    return found


@pytest.mark.usefixtures("worker_environment")
async def test_sessions_that_the_database_ends_on_the_way_lose_and_double_nothing(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(plant)
    asked, ended = exports.page, 0

    async def page(*arguments: Any) -> bytearray:
        """Before every fifth page all sessions of the export end: its statement fails."""
        nonlocal ended
        ended += 1
        if ended % 5 == 0:
            await plant.sql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name = 'biogate-api'"
            )
        return await asked(*arguments)

    monkeypatch.setattr(exports, "page", page)
    monkeypatch.setattr(export_job, "AGAIN_S", 0.01)
    monkeypatch.setattr(export_job, "MOST_FAILURES", 2)  # in a row
    content, manifest = await exported(tmp_path, quality="all")
    assert ended > 20
    rows = table(content, "arrow", "polars", tmp_path)
    assert samples(rows, manifest, everything=True) == await expected(plant.sql, True)


@pytest.mark.usefixtures("worker_environment")
async def test_an_organization_exports_its_own_devices_alone(plant: Plant, tmp_path: Path) -> None:
    await filled(plant)
    other = await plant.sql.fetchval("insert into organizations (name, title) values ('other', 'O') returning 1")
    assert other == 1
    await plant.sql.execute("update devices set organization_id = 2 where name = 'br-2'")
    for organization, device in ((1, "br-1"), (2, "br-2")):
        content, manifest = await exported(tmp_path, organization, format="csv", shape="long")
        assert {row["device"] for row in table(content, "csv", "polars", tmp_path)} == {device}
        assert [one.device for one in manifest.devices] == [device]


def test_a_process_that_has_lost_its_export_spoils_no_file_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    lost = HashedFile(path, JobProgress())
    lost.write(b"of the process before")
    own = HashedFile(path, JobProgress())
    own.write(b"the whole")
    lost.write(b"x" * 100_000)
    said = own.finish()
    with pytest.raises(FileNotFoundError):
        lost.finish()
    assert path.read_bytes() == b"the whole"
    assert said.sha256 == hashlib.sha256(b"the whole").hexdigest()


async def test_an_export_is_asked_for_with_its_times_and_estimated_before(
    plant: Plant, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await filled(plant)
    asked = {"device": ["br-1"], "from": text(100), "to": text(800), "format": "csv"}
    estimate = (await client.post("/api/v1/exports/estimate", json=asked)).json()
    frames = await plant.sql.fetchval(
        "select count(*) from frames where device_id = 1 and time >= $1 and time < $2", at(100), at(800)
    )
    assert (estimate["frames"], estimate["counted"], estimate["devices"]) == (frames, True, 1)
    refused = await client.post("/api/v1/exports", json=asked)
    assert (refused.status_code, "BIOGATE_JOBS_DIR" in refused.json()["detail"]) == (409, True)
    unknown = await client.post("/api/v1/exports", json={"device": ["br-9"]})
    assert (unknown.status_code, "br-9" in unknown.json()["detail"]) == (404, True)
    nothing = await client.post("/api/v1/exports", json={})
    assert (nothing.status_code, "device" in nothing.json()["detail"]) == (422, True)
