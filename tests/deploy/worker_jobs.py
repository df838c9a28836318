"""Jobs of a worker that is a process, asked for through an API that is one: what tests of kills have in common."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from tests.api.plant import Plant, at
from tests.faults.servers import family
from tests.gateway.history.exports import samples
from tests.gateway.history.test_import import export, totals
from tests.processes import WorkerProcess

HASTY: dict[str, Any] = {"worker_lease_s": 4, "batch_frames": 20}
"""A lease that tests can wait for, and small batches."""
SLOW = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$;
create trigger slow after update on imports for each row execute function slow()"""
"""So that an import takes some seconds."""
MINUTES = 600
DAY_FRAMES = 1440


async def filled(sql: asyncpg.Connection, days: int) -> Plant:
    """A device with four values each minute of some days; each day is a chunk."""
    plant = Plant(sql)
    device = await plant.device("br-1")
    layout = await plant.layout(device, "first", "second", "third", "fourth")
    rows: list[tuple[datetime, list[float | None], list[int | None] | None]] = [
        (at(60 * n), [float(n), n + 0.123456, n + 0.25, -float(n)], None) for n in range(days * DAY_FRAMES)
    ]
    await plant.frames(device, layout, rows)
    return plant


async def import_asked(api: httpx2.AsyncClient, directory: Path) -> tuple[str, set[Any]]:
    """The path of the job of a new import, and the samples of its file."""
    path, written = export(directory / "run 7.csv", MINUTES)
    said = {"file": path.name, "why": "as the test says", "mapping": "dasgip", "zone": "Europe/Berlin"}
    answer = await api.post("/api/v1/imports", params=said | {"create_devices": "true"}, content=path.read_bytes())
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"]), written


async def has_settled(sql: asyncpg.Connection, frames: int) -> None:
    """Until so many frames of the import are settled."""
    await eventually(lambda: sql.fetchval("select coalesce(max(position), 0) >= $1 from imports", frames))


async def assert_imported_once(sql: asyncpg.Connection, job: dict[str, Any], written: set[Any]) -> None:
    """Each sample of the file is stored once, the account and the report say so, and the trail has it once."""
    frames = len({(device, time_) for device, time_, *_ in written})
    report = job["result"]
    assert await samples(sql) == written
    assert await sql.fetchval("select count(*) from frames") == frames
    assert await totals(sql) == (frames, 0, 0, 0)
    assert (report["frames"], report["stored"], report["duplicate"], report["rejected"]) == (frames, frames, 0, 0)
    actions = [action for (action,) in await sql.fetch("select action from audit where action like 'import %'")]
    assert sorted(actions) == ["import begin", "import end"]


async def assert_nothing_is_left(sql: asyncpg.Connection, *names: str) -> None:
    """No session of these names has a statement or a transaction, and none of a job is there at all."""
    await eventually(
        lambda: sql.fetchval(
            """select not exists (select from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()
                  and (application_name = any ($1) and state <> 'idle'
                       or application_name like 'biogate-import%' or application_name like 'biogate-worker-%'))""",
            names,
        )
    )


def child_of(worker: WorkerProcess) -> int | None:
    """The process of the job that runs in the worker."""
    return next(iter(family(worker.child.pid)[1:]), None)


def kill_child(worker: WorkerProcess) -> None:
    child = child_of(worker)
    assert child is not None, worker.log.read_text()
    os.kill(child, signal.SIGKILL)


async def eventually(check: Callable[[], Awaitable[Any]], patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not await check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
