"""Exports from the request to the file, with the worker and the API as processes, while something breaks."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pyarrow as pa
import pytest

from deploy.stack.paths import BIOGATE
from tests.api.plant import Plant, at, text
from tests.api.test_operation import process
from tests.processes import WorkerProcess, wait_until

FRAMES = 3000
HASTY: dict[str, Any] = {"worker_lease_s": 4, "api_statement_timeout": 2}
"""A lease, and a time limit of statements, that tests can wait for."""
DAY = timedelta(days=1)


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    """A device with a frame each minute for some days: each day is a chunk."""
    connection = await asyncpg.connect(database_url)
    plant = Plant(connection)
    device = await plant.device("br-1")
    layout = await plant.layout(device, "first", "second")
    await plant.frames(device, layout, [(at(60 * n), [float(n), -float(n)], None) for n in range(FRAMES)])
    await connection.execute("update channels set unit = '°C' where name = 'second'")
    yield plant
    await connection.close()


@pytest.fixture
def worker(worker_url: str, api_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(worker_url, api_url, tmp_path / "jobs", tmp_path / "worker.log")
    yield it
    it.end()
    print(it.log.read_text()[-6000:] if it.log.exists() else "")


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    settings = {"BIOGATE_DATABASE_URL": database_url, "BIOGATE_JOBS_DIR": str(tmp_path / "jobs")}
    settings |= {"BIOGATE_API_RATE": "0", "BIOGATE_API_STREAMS": "100"}
    async with process(tmp_path / "api.log", **settings) as (_, client):
        yield client


async def asked(api: httpx2.AsyncClient, **more: Any) -> str:
    """The path of a new export."""
    request = {"device": ["br-1"], "from": text(0), "to": text(60 * FRAMES), "format": "arrow"} | more
    answer = await api.post("/api/v1/exports", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


async def becomes(api: httpx2.AsyncClient, path: str, *states: str) -> dict[str, Any]:
    """The job, once it is in one of these states."""
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = (await api.get(path)).json()
        if job["state"] in states:
            return job
        assert time.monotonic() < deadline, job
        assert job["state"] in {"queued", "running"}, job
        await asyncio.sleep(0.1)


@asynccontextmanager
async def held_up(plant: Plant, database_url: str) -> AsyncIterator[None]:
    """Nobody can read the second day: whoever reads the device waits."""
    chunk = await plant.sql.fetchval(
        "select tableoid::regclass::text from frames where time >= $1 limit 1", at(0) + DAY
    )
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"lock table {chunk} in access exclusive mode")
    yield
    await transaction.rollback()
    await connection.close()


async def waits(plant: Plant) -> int:
    """The session of an export that is held up, once there is one."""
    deadline = time.monotonic() + 60
    while True:
        pid: int | None = await plant.sql.fetchval(
            "select pid from pg_stat_activity where datname = current_database() and application_name = 'biogate-api'"
            " and wait_event_type = 'Lock' limit 1"
        )
        if pid is not None:
            return pid
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def nothing_waits(plant: Plant) -> None:
    """No session of the API or of an export has a statement or a transaction."""
    deadline = time.monotonic() + 30
    while open_ := await plant.sql.fetch(
        "select query from pg_stat_activity where datname = current_database() and application_name = 'biogate-api'"
        " and state <> 'idle'"
    ):
        assert time.monotonic() < deadline, open_
        await asyncio.sleep(0.1)


def values(content: bytes) -> list[float]:
    return [float(value) for value in pa.ipc.open_stream(content).read_all()["first"].to_pylist()]


async def test_an_export_is_downloaded_in_parts_and_verified(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, tmp_path: Path
) -> None:
    worker.start()
    path = await asked(api, format="csv", quality="all")
    job = await becomes(api, path, "done")
    assert (job["done"], job["total"], job["unit"], job["result"]["rows"]) == (FRAMES, FRAMES, "rows", FRAMES)
    own = path.replace("/jobs/", "/exports/")
    manifest, file = tmp_path / "manifest.json", tmp_path / "export.csv"
    manifest.write_bytes((await api.get(f"{own}/manifest")).content)
    head = await api.head(f"{own}/file")
    assert head.headers["ETag"] == f'"{job["result"]["sha256"]}"'
    curl = ["curl", "-sS", "-H", f"Authorization: {api.headers['Authorization']}", "-o", str(file)]
    subprocess.run([*curl, "-r", "0-9999", f"{api.base_url}{own}/file"], check=True)
    assert file.stat().st_size == 10_000
    subprocess.run([*curl, "-C", "-", f"{api.base_url}{own}/file"], check=True)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == job["result"]["sha256"]
    rows = list(csv.reader(io.StringIO(file.read_text())))
    assert rows[0] == ["time", "device", "first", "first.quality", "second [°C]", "second.quality"]
    assert rows[2] == [text(60), "br-1", "1", "0", "-1", "0"]
    done = subprocess.run([*BIOGATE, "exports", "verify", file, manifest], capture_output=True, text=True, check=False)
    assert (done.returncode, f"{FRAMES} rows" in done.stdout) == (0, True), done.stderr
    with file.open("r+b") as changed:
        changed.seek(5000)
        changed.write(b"9")
    done = subprocess.run([*BIOGATE, "exports", "verify", file, manifest], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SHA-256" in done.stderr or "bytes" in done.stderr
    beyond = await api.get(f"{own}/file", headers={"Range": "bytes=99999999-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{job['result']['bytes']}")
    assert (await api.get(f"{own}/file", headers={"Range": "pages=1-2"})).status_code == 200
    assert (await api.delete(f"{path}/files", params={"why": "not needed"})).status_code == 200
    wait_until(lambda: not list((tmp_path / "jobs").iterdir()), 30)
    assert (await api.get(f"{own}/file")).status_code == 409


async def test_a_killed_worker_and_a_database_that_ends_its_sessions_cost_a_pause(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, database_url: str, tmp_path: Path
) -> None:
    worker.start(**HASTY)
    async with held_up(plant, database_url):
        path = await asked(api)
        await waits(plant)
        worker.kill()
        worker.start(**HASTY)
        deadline = time.monotonic() + 60
        while await plant.sql.fetchval("select attempts from jobs") < 2:
            assert time.monotonic() < deadline, worker.log.read_text()
            await asyncio.sleep(0.1)
        pid = await waits(plant)
        await plant.sql.fetchval("select pg_terminate_backend($1)", pid)
        deadline = time.monotonic() + 60
        while await waits(plant) == pid:
            assert time.monotonic() < deadline
    job = await becomes(api, path, "done")
    file = await api.get(f"{path.replace('/jobs/', '/exports/')}/file")
    assert values(file.content) == [float(n) for n in range(FRAMES)]
    assert hashlib.sha256(file.content).hexdigest() == job["result"]["sha256"]
    [directory] = (tmp_path / "jobs").iterdir()
    assert {one.name for one in directory.iterdir()} == {"export.arrow", "manifest.json"}


async def test_a_worker_that_claims_the_job_of_its_own_process_ends_that_process(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, database_url: str
) -> None:
    """As after a database that was away for longer than the lease."""
    worker.start(**HASTY)
    async with held_up(plant, database_url):
        path = await asked(api)
        await waits(plant)
        deadline = time.monotonic() + 60
        while await plant.sql.fetchval("select attempts from jobs") < 2:
            assert time.monotonic() < deadline, worker.log.read_text()
            await plant.sql.execute("update jobs set beat_at = '-infinity'")
            await asyncio.sleep(0.01)
        ended = 'biogate_worker_processes_total{how="crashed",kind="export"}'
        wait_until(lambda: worker.metrics()[ended] == 1, 60, worker.log.read_text)
    job = await becomes(api, path, "done")
    file = await api.get(f"{path.replace('/jobs/', '/exports/')}/file")
    assert values(file.content) == [float(n) for n in range(FRAMES)]
    assert hashlib.sha256(file.content).hexdigest() == job["result"]["sha256"]


async def test_a_running_export_is_cancelled_whatever_it_waits_for(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, database_url: str, tmp_path: Path
) -> None:
    worker.start(**HASTY)
    async with held_up(plant, database_url):
        path = await asked(api)
        await waits(plant)
        assert (await api.post(f"{path}/cancel", json={"why": "a mistake"})).json()["cancelling"] is True
        job = await becomes(api, path, "cancelled")
        assert job["result"] is None
        await nothing_waits(plant)
    wait_until(lambda: not list((tmp_path / "jobs").iterdir()), 30, worker.log.read_text)


@pytest.mark.parametrize("lease_s", [HASTY["worker_lease_s"], 240])
async def test_an_export_beyond_the_share_of_the_disk_fails_and_says_what_to_do(
    plant: Plant, worker: WorkerProcess, api: httpx2.AsyncClient, lease_s: int
) -> None:
    """Also one that is written between two beats."""
    await plant.sql.execute(
        "insert into jobs (job_id, organization_id, who, kind, request, state, file_bytes, finished_at,"
        " files_expire_at) values (gen_random_uuid(), 1, 'eva', 'export', '{}', 'done', $1, now(), 'infinity')",
        2**20,
    )
    worker.start(**HASTY | {"worker_lease_s": lease_s}, jobs_share_bytes=2**20)
    job = await becomes(api, await asked(api), "failed")
    assert "delete files of older jobs" in job["error"]


async def test_a_hundred_aborted_downloads_leave_no_query_and_no_connection(
    plant: Plant, api: httpx2.AsyncClient, database_url: str
) -> None:
    path, asked_ = "/api/v1/devices/br-1/telemetry.arrow", {"from": text(0), "to": text(60 * FRAMES)}
    whole = await api.get(path, params=asked_)
    assert values(whole.content) == [float(n) for n in range(FRAMES)]

    async def aborted() -> None:
        with pytest.raises((TimeoutError, httpx2.TimeoutException)):
            await asyncio.wait_for(api.get(path, params=asked_), 0.5)

    async with held_up(plant, database_url):
        for _ in range(10):
            await asyncio.gather(*(aborted() for _ in range(10)))
        await nothing_waits(plant)
        listens = 1
        deadline = time.monotonic() + 30
        while f'biogate_api_pool_connections{{use="busy"}} {listens}.0' not in (await api.get("/metrics")).text:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    again = await api.get(path, params=asked_)
    assert values(again.content) == [float(n) for n in range(FRAMES)]


def test_the_words_of_a_manifest_that_is_none_are_in_a_line(tmp_path: Path) -> None:
    manifest, file = tmp_path / "manifest.json", tmp_path / "export.csv"
    manifest.write_text(json.dumps({"rows": 1}))
    file.write_text("time\n")
    done = subprocess.run([*BIOGATE, "exports", "verify", file, manifest], capture_output=True, text=True, check=False)
    assert (done.returncode, "is no manifest" in done.stderr, done.stderr.count("\n")) == (2, True, 1)
