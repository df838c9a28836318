"""The worker as a process: what it does with the files of jobs, and how it begins and ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.processes import WorkerProcess, wait_until

FILE_BYTES = 'biogate_jobs_file_bytes{kind="export"}'
"""Measured at the end of a sweep."""


@pytest.fixture
def worker(worker_url: str, api_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(worker_url, api_url, tmp_path / "jobs", tmp_path / "worker.log")
    yield process
    process.end()
    print(process.log.read_text()[-4000:] if process.log.exists() else "")


def put(directory: Path, name: str, age_s: float) -> Path:
    """A directory of a job with a file, that old."""
    path = directory / name
    path.mkdir(parents=True)
    (path / "export.arrow").write_bytes(b"content")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


async def test_files_that_have_expired_or_are_nobodys_are_deleted(
    worker: WorkerProcess, database: asyncpg.Connection, tmp_path: Path
) -> None:
    directory, expired, kept, begun = tmp_path / "jobs", uuid4(), uuid4(), uuid4()
    for job, when in ((expired, "-1 s"), (kept, "1 day")):
        await database.execute(
            "insert into jobs (job_id, organization_id, who, kind, request, state, file_bytes, finished_at,"
            " files_expire_at) values ($1, 1, 'eva', 'export', '{}', 'done', 7, now(), now() + $2::text::interval)",
            *(job, when),
        )
    await database.execute(
        "insert into jobs (job_id, organization_id, who, kind, request, state, holder, beat_at)"
        " values ($1, 1, 'eva', 'export', '{}', 'running', 'another worker', now())",
        begun,
    )
    paths = {
        "expired": put(directory, str(expired), 60),
        "kept": put(directory, str(kept), 9000),
        "nobody's": put(directory, str(uuid4()), 9000),
        "being made": put(directory, str(uuid4()), 60),
        "without a beat yet that tells its bytes": put(directory, str(begun), 9000),
        "not ours": put(directory, "lost+found", 9000),
    }
    worker.start()
    wait_until(lambda: worker.metrics().get(FILE_BYTES) is not None, 20, worker.log.read_text)
    assert {name for name, path in paths.items() if path.exists()} == paths.keys() - {"expired", "nobody's"}
    sizes = dict(await database.fetch("select job_id, file_bytes from jobs"))
    assert (sizes[expired], sizes[kept]) == (0, 7)
    metrics = worker.metrics()
    assert metrics[FILE_BYTES] == 7
    assert metrics["biogate_worker_files_deleted_total"] == 2
    assert worker.terminate() == 0


def test_a_directory_that_cannot_be_used_ends_it(worker: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    worker.start(ready=False)
    assert worker.child.wait(20) == 1
    assert "jobs" in worker.log.read_text()
