"""PostgreSQL is killed in the middle of an import and of an export: both go on, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import asyncpg
import httpx2
import pytest

from deploy.stack import Postgres
from tests.api.plant import text
from tests.api.test_operation import process
from tests.deploy.test_worker_exports import asked, becomes
from tests.deploy.test_worker_kills import verify
from tests.deploy.worker_jobs import (
    DAY_FRAMES,
    HASTY,
    SLOW,
    assert_imported_once,
    assert_nothing_is_left,
    eventually,
    filled,
    has_settled,
    import_asked,
)
from tests.faults.servers import new_database, signal_all, site, start_again
from tests.processes import WorkerProcess, wait_until

DAYS = 400
"""So that an export takes some seconds."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of our own, to be killed."""
    with site(f"test-worker-{os.getpid()}") as ground:
        yield ground.postgres


@pytest.fixture
async def own_url(postgres: Postgres) -> str:
    return await new_database(postgres.url)


@pytest.fixture
def worker(own_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(own_url, own_url, tmp_path / "jobs", tmp_path / "worker.log")
    yield it
    it.end()
    print(it.log.read_text()[-6000:] if it.log.exists() else "")


@pytest.fixture
async def api(own_url: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    (tmp_path / "jobs").mkdir()
    settings = {"BIOGATE_DATABASE_URL": own_url, "BIOGATE_JOBS_DIR": str(tmp_path / "jobs"), "BIOGATE_API_RATE": "0"}
    async with process(tmp_path / "api.log", **settings) as (_, client):
        yield client


async def killed(postgres: Postgres, url: str) -> asyncpg.Connection:
    """Kill the server with all its children, and start it again; a connection to it."""
    signal_all(postgres, signal.SIGKILL)
    start_again(postgres)
    return await asyncpg.connect(url)


async def again(api: httpx2.AsyncClient) -> None:
    """Until the API has its database again."""

    async def ready() -> bool:
        return (await api.get("/ready")).status_code == 200

    await eventually(ready)


async def test_an_import_goes_on_after_the_database_was_killed_again_and_again(
    postgres: Postgres, own_url: str, worker: WorkerProcess, api: httpx2.AsyncClient, tmp_path: Path
) -> None:
    sql = await asyncpg.connect(own_url)
    await sql.execute(SLOW)
    worker.start(**HASTY)
    path, written = await import_asked(api, tmp_path)
    for settled in (150, 350, 550):
        await has_settled(sql, settled)
        assert await sql.fetchval("select finished_at is null from imports")
        sql.terminate()
        sql = await killed(postgres, own_url)
    await again(api)
    job = await becomes(api, path, "done")
    await assert_imported_once(sql, job, written)
    assert worker.terminate() == 0
    await assert_nothing_is_left(sql, "biogate-worker", "biogate-api")
    await sql.close()


async def test_an_export_goes_on_after_the_database_was_killed(
    postgres: Postgres, own_url: str, worker: WorkerProcess, api: httpx2.AsyncClient, tmp_path: Path
) -> None:
    sql, frames = await asyncpg.connect(own_url), DAYS * DAY_FRAMES
    await filled(sql, DAYS)
    worker.start(**HASTY | {"worker_lease_s": 8})  # which lasts while a server that was killed plans for 400 chunks
    path = await asked(api, to=text(60 * frames), format="csv", quality="all")
    part = tmp_path / "jobs" / path.rpartition("/")[2] / "export.csv.part"

    def has(share: float) -> bool:
        return part.exists() and part.stat().st_size > share * 60 * frames

    for share in (0.1, 0.5):
        wait_until(partial(has, share), 120)
        sql.terminate()
        sql = await killed(postgres, own_url)
        assert part.exists()
    await again(api)
    job = await becomes(api, path, "done")
    assert (job["result"]["rows"], job["done"]) == (frames, frames)
    directory = part.parent
    assert {one.name for one in directory.iterdir()} == {"export.csv", "manifest.json"}
    verify(directory / "export.csv", directory / "manifest.json")
    times = [line.partition(",")[0] for line in (directory / "export.csv").read_text().splitlines()[1:]]
    assert times == sorted(set(times))
    assert worker.terminate() == 0
    await assert_nothing_is_left(sql, "biogate-worker", "biogate-api")
    await sql.close()
