"""Exports of the client: through the worker to a file that is whole, also over a wire that breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from biogate import ClientError, ExportedFile, ExportProgress
from tests.api.accounts import api_key
from tests.api.client.asker import Asker
from tests.api.client.cutting import cutting_wire
from tests.api.live import listening
from tests.api.plant import Plant, at
from tests.processes import WorkerProcess

ROWS = 20_000


@pytest.fixture
def worker(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(worker_url, database_url, tmp_path / "jobs", tmp_path / "worker.log")
    yield it
    it.end()


async def test_an_export_becomes_a_verified_file_over_a_wire_that_breaks(
    plant: Plant, worker: WorkerProcess, database_url: str, tmp_path: Path
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.frames(device, layout, [(at(n), [float(n)], None) for n in range(ROWS)])
    await asyncio.to_thread(worker.start)
    key = await api_key(plant.sql)
    jobs: list[str] = []
    async with (
        listening(database_url, jobs_dir=tmp_path / "jobs") as (address, _),
        cutting_wire(f"http://{address}") as wire,
    ):
        for kind in ("sync", "async"):
            ask, told = Asker(kind, wire.url, key), list[ExportProgress]()
            path = tmp_path / f"{kind}.arrow"
            made = await ask("export", "br-1", path=path, from_=at(0), to=at(ROWS), on_progress=told.append)
            assert isinstance(made, ExportedFile)
            frame = read(path)
            assert frame["ph"].tolist() == [float(n) for n in range(ROWS)]
            assert json.loads((tmp_path / f"{kind}.arrow.manifest.json").read_text())["rows"] == ROWS
            states = [one.state for one in told]
            assert states == sorted(states, key=["queued", "running", "downloading"].index)
            assert (told[-1].state, told[-1].done) == ("downloading", path.stat().st_size)
            jobs.append(made.job)

            again = tmp_path / f"{kind}-again.arrow"
            wire.cuts, before = [None, 100_000, 150_000], wire.passed
            await ask("download", made.job, again)
            assert again.read_bytes() == path.read_bytes()
            assert wire.passed - before < 1.2 * path.stat().st_size, "it went on where it was"
            with pytest.raises(ClientError, match="overwrite"):
                await ask("download", made.job, again)

            part = tmp_path / f"{kind}-spoilt.arrow.{made.job[:8]}.part"
            part.write_bytes(b"x" * 1000)
            with pytest.raises(ClientError, match="SHA-256"):
                await ask("download", made.job, tmp_path / f"{kind}-spoilt.arrow")
            assert not part.exists()
            with pytest.raises(ClientError, match=r"\.parquet"):
                await ask("export", "br-1", path=tmp_path / "frame.xlsx")
            with pytest.raises(ClientError, match="br-9"):
                await ask("export", "br-9", path=tmp_path / "none.csv")
        worker.end()
        with pytest.raises(ClientError, match=r"still queued: get it later by download\("):
            await Asker("sync", wire.url, key)("export", "br-1", path=tmp_path / "late.csv", wait=0.1)
    assert jobs[0] != jobs[1]


def read(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    return pa.ipc.open_stream(path.read_bytes()).read_pandas()


async def test_a_report_of_a_run_becomes_a_file(
    plant: Plant, worker: WorkerProcess, database_url: str, tmp_path: Path
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.frames(device, layout, [(at(n), [7.0], None) for n in range(60)])
    await plant.sql.execute("select run_create(1, 'B-7', array[$1::integer], $2, '{}', 'eva', 'x')", device, at(0))
    await asyncio.to_thread(worker.start)
    key = await api_key(plant.sql)
    async with listening(database_url, jobs_dir=tmp_path / "jobs") as (address, _):
        for kind, form in (("sync", "html"), ("async", "pdf")):
            path = tmp_path / f"B-7.{form}"
            assert await Asker(kind, f"http://{address}", key)("report", "B-7", path=path) == path
            assert path.read_bytes().startswith(b"%PDF" if form == "pdf" else b"<!doctype html>")
        with pytest.raises(ClientError, match=r"end the path with \.html"):
            await Asker("sync", f"http://{address}", key)("report", "B-7", path=tmp_path / "B-7.txt")
        with pytest.raises(ClientError, match="there is no run B-9"):
            await Asker("sync", f"http://{address}", key)("report", "B-9", path=tmp_path / "B-9.pdf")
