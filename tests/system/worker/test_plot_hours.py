"""The process that makes what is kept of each hour for plots."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from deploy.worker.__main__ import PLOT_HOURS
from deploy.worker.plot_hours import LOCK
from tests.api.plant import Plant

HOURS = "select count(*) from plot_hours where channel_id = 0"


def started(url: str, directory: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "BIOGATE_DATABASE_URL": url, "BIOGATE_JOBS_DIR": str(directory)}
    return subprocess.Popen(PLOT_HOURS, stdin=subprocess.PIPE, env=environment)


async def test_it_makes_all_hours_that_are_over_and_one_process_does_it(database_url: str, tmp_path: Path) -> None:
    sql = await asyncpg.connect(database_url)
    plant = Plant(sql)
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    moments = [hour - timedelta(hours=5) + timedelta(seconds=5 * n) for n in range(720 * 5)]
    await plant.frames(device, layout, [(at, [7.0], None) for at in moments])
    await sql.execute("select pg_advisory_lock($1)", LOCK)
    assert started(database_url, tmp_path).wait(60) == 0
    assert await sql.fetchval(HOURS) == 0
    await sql.execute("select pg_advisory_unlock_all()")
    assert started(database_url, tmp_path).wait(60) == 0
    assert await sql.fetchval(HOURS) == 4, "the last one ended less than an hour ago"
    await sql.close()


def test_it_ends_with_the_worker(database_url: str, tmp_path: Path) -> None:
    process = started(database_url.replace("127.0.0.1", "192.0.2.1"), tmp_path)  # where nobody answers
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 3
