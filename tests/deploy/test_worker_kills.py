"""Process of a job, worker and API are killed in the middle of imports and exports: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest

from deploy.stack.paths import BIOGATE
from tests.api.plant import Plant, text
from tests.api.test_operation import process
from tests.deploy.test_worker_exports import asked, becomes, held_up, waits
from tests.deploy.worker_jobs import (
    DAY_FRAMES,
    HASTY,
    MINUTES,
    SLOW,
    assert_imported_once,
    assert_nothing_is_left,
    child_of,
    eventually,
    filled,
    has_settled,
    import_asked,
    kill_child,
)
from tests.processes import WorkerProcess, wait_until

FRAMES = 2 * DAY_FRAMES
CRASHED = 'biogate_worker_processes_total{how="crashed",kind="%s"}'


@pytest.fixture
def worker(worker_url: str, api_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(worker_url, api_url, tmp_path / "jobs", tmp_path / "worker.log")
    yield it
    it.end()
    print(it.log.read_text()[-6000:] if it.log.exists() else "")


@pytest.fixture
def api_settings(database_url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "jobs").mkdir()
    return {
        "BIOGATE_DATABASE_URL": database_url,
        "BIOGATE_JOBS_DIR": str(tmp_path / "jobs"),
        "BIOGATE_API_RATE": "0",
        "BIOGATE_API_STATEMENT_TIMEOUT": "3",
    }


@pytest.fixture
async def api(api_settings: dict[str, str], tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with process(tmp_path / "api.log", **api_settings) as (_, client):
        yield client


@pytest.fixture
async def plant(database: asyncpg.Connection) -> Plant:
    return await filled(database, days=2)


async def test_an_import_whose_process_and_worker_are_killed_is_stored_once(
    worker: WorkerProcess, api: httpx2.AsyncClient, database: asyncpg.Connection, tmp_path: Path
) -> None:
    await database.execute(SLOW)
    worker.start(**HASTY)
    path, written = await import_asked(api, tmp_path)
    await has_settled(database, 200)
    kill_child(worker)
    wait_until(lambda: worker.metrics()[CRASHED % "import"] == 1, 20, worker.log.read_text)
    await has_settled(database, await database.fetchval("select position from imports") + 200)
    child = child_of(worker)
    assert child is not None
    worker.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), 20)
    at = await database.fetchval("select position from imports")
    assert 400 <= at < 2 * MINUTES * 0.8
    worker.start(**HASTY)
    job = await becomes(api, path, "done")
    assert job["result"]["resumed_at"] >= at
    assert await database.fetchval("select attempts from jobs") == 3
    await assert_imported_once(database, job, written)
    assert worker.terminate() == 0
    await assert_nothing_is_left(database, "biogate-worker", "biogate-api")


async def test_an_import_whose_process_is_killed_before_its_job_has_ended_says_what_it_stored(
    worker: WorkerProcess, api: httpx2.AsyncClient, database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    worker.start(**HASTY)
    holder = await asyncpg.connect(database_url)
    await database.execute(SLOW)
    path, written = await import_asked(api, tmp_path)
    await has_settled(database, 200)
    async with holder.transaction():
        await holder.execute("select from jobs for update")
        await eventually(lambda: database.fetchval("select finished_at is not null from imports"))
        kill_child(worker)
    await holder.close()
    job = await becomes(api, path, "done")
    assert await database.fetchval("select attempts from jobs") == 2
    await assert_imported_once(database, job, written)
    assert await database.fetchval("select count(*) from imports") == 1


async def test_an_export_whose_process_and_worker_are_killed_is_whole(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, database_url: str, tmp_path: Path
) -> None:
    worker.start(**HASTY)
    async with held_up(plant, database_url):
        path = await asked(api, to=text(60 * FRAMES), format="parquet")
        await waits(plant)
        kill_child(worker)
        wait_until(lambda: worker.metrics()[CRASHED % "export"] == 1, 20, worker.log.read_text)
        await eventually(lambda: plant.sql.fetchval("select attempts = 2 from jobs"))
        await waits(plant)
        worker.kill()
        worker.start(**HASTY)
        await eventually(lambda: plant.sql.fetchval("select attempts = 3 from jobs"))
    job = await becomes(api, path, "done")
    assert (job["result"]["rows"], job["done"]) == (FRAMES, FRAMES)
    (directory,) = (tmp_path / "jobs").iterdir()
    assert {one.name for one in directory.iterdir()} == {"export.parquet", "manifest.json"}
    verify(directory / "export.parquet", directory / "manifest.json")
    assert worker.terminate() == 0
    await assert_nothing_is_left(plant.sql, "biogate-worker", "biogate-api")


async def test_a_download_goes_on_where_a_killed_api_left_it(
    database: asyncpg.Connection, worker: WorkerProcess, api_settings: dict[str, str], tmp_path: Path
) -> None:
    """The file is larger than what the sockets hold, so that the API is in the middle of it."""
    plant, frames = await filled(database, days=100), 100 * DAY_FRAMES
    worker.start(**HASTY)
    file, manifest = tmp_path / "export.csv", tmp_path / "manifest.json"
    async with process(tmp_path / "api.log", **api_settings) as (child, client):
        path = await asked(client, to=text(60 * frames), format="csv", quality="all")
        job = await becomes(client, path, "done")
        own = f"{path.replace('/jobs/', '/exports/')}"
        with pytest.raises(httpx2.TransportError):
            await downloaded(client, f"{own}/file", file, child.kill)
    begun = file.stat().st_size
    assert 0 < begun < job["result"]["bytes"]
    async with process(tmp_path / "api again.log", **api_settings) as (_, client):
        headers = {"Range": f"bytes={begun}-", "If-Range": f'"{job["result"]["sha256"]}"'}
        rest = await client.get(f"{own}/file", headers=headers)
        assert rest.status_code == 206
        manifest.write_bytes((await client.get(f"{own}/manifest")).content)
    file.write_bytes(file.read_bytes() + rest.content)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == job["result"]["sha256"]
    assert job["result"]["rows"] == frames
    verify(file, manifest)
    await assert_nothing_is_left(plant.sql, "biogate-worker", "biogate-api")


@pytest.mark.parametrize("end", ["csv", "arrow", "parquet"])
async def test_a_stream_of_a_killed_api_breaks_off_and_leaves_no_query(
    plant: Plant, api_settings: dict[str, str], database_url: str, tmp_path: Path, end: str
) -> None:
    """A client can tell that the table is not whole, and gets it whole from the next API."""
    path, asked_ = f"/api/v1/devices/br-1/telemetry.{end}", {"from": text(0), "to": text(60 * FRAMES)}
    async with held_up(plant, database_url):
        async with process(tmp_path / "api.log", **api_settings) as (child, client):
            stream = asyncio.create_task(client.get(path, params=asked_))
            await waits(plant)
            child.send_signal(signal.SIGKILL)
            with pytest.raises(httpx2.TransportError):
                await stream
        await assert_nothing_is_left(plant.sql, "biogate-api")
    async with process(tmp_path / "api again.log", **api_settings) as (_, client):
        whole = await client.get(path, params=asked_)
        assert whole.status_code == 200, whole.text
        assert whole.content.endswith({"csv": b"\r\n", "arrow": b"\0", "parquet": b"PAR1"}[end])
        await assert_nothing_is_left(plant.sql, "biogate-api")


async def downloaded(client: httpx2.AsyncClient, address: str, file: Path, after_the_first: Callable[[], None]) -> None:
    """Write what comes of an answer into the file."""
    with file.open("wb") as out:
        async with client.stream("GET", address) as answer:
            async for content in answer.aiter_raw():
                out.write(content)
                after_the_first()


def verify(file: Path, manifest: Path) -> None:
    done = subprocess.run([*BIOGATE, "exports", "verify", file, manifest], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
