"""B40: how long the import of a file takes, as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import numpy as np

from tests.bench.figures import Figure, figure
from tests.bench.meters import Cpu
from tests.bench.plant import device_names
from tests.bench.session import Bench, say

CHANNELS = 20
SAMPLES = 10_000_000
"""Of a bench that is not quick."""
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 10_000


async def b40(bench: Bench) -> list[Figure]:
    samples = SAMPLES if bench.size.name != "quick" else SAMPLES // 25
    took, cpu, database, memory = [], [], [], []
    (device,) = device_names(1)
    with tempfile.TemporaryDirectory() as directory:
        path = table(Path(directory) / "history.csv", samples // CHANNELS)
        for _ in range(bench.size.repeats):
            async with bench.plant.database(1) as url:
                postgres = Cpu({"postgres": bench.plant.stack.postgres.pid})
                seconds, used, peak = run(url, path, device)
                took.append(seconds * SAMPLES / samples)
                cpu.append(used / samples * 1e6)
                database.append(postgres.used_s()["postgres"] / samples * 1e6)
                memory.append(peak)
                connection = await asyncpg.connect(url)
                assert await connection.fetchval("select count(*) from frames") == samples // CHANNELS
                await connection.close()
            said = f"{cpu[-1]:.2f} + {database[-1]:.2f} s of CPU a million samples, {memory[-1]:.0f} MB"
            say(f"import of {samples:,} samples: {seconds:.1f} s, {said}")
    note = f"in {samples // CHANNELS:,} frames of {CHANNELS} channels"
    return [
        figure("B40a", "import of 10 million samples as CSV", "s", took, 120, at_least=False, note=note),
        figure("B40b", "CPU of the import a million samples", "s", cpu, 1, at_least=False),
        figure("B40c", "CPU of the database a million samples", "s", database, 1.5, at_least=False),
        figure("B40d", "most resident memory of the import", "MB", memory, 400, at_least=False),
    ]


def table(path: Path, rows: int) -> Path:
    """A CSV with a row a second."""
    chance = np.random.default_rng(1)
    with path.open("w") as file:
        file.write(",".join(["time", *(f"channel_{n:03} [mL]" for n in range(CHANNELS))]) + "\n")
        for first in range(0, rows, ROWS_AT_ONCE):
            cells = np.char.mod("%.4f", chance.normal(37, 5, (min(ROWS_AT_ONCE, rows - first), CHANNELS)))
            times = (BEGIN + timedelta(seconds=first + n) for n in range(len(cells)))
            file.writelines(f"{t:%Y-%m-%dT%H:%M:%SZ},{','.join(row)}\n" for t, row in zip(times, cells, strict=True))
    return path


def run(url: str, path: Path, device: str) -> tuple[float, float, float]:
    """`biogate import`: seconds, seconds of CPU, and the most resident memory in MB."""
    command = [sys.executable, "-m", "deploy.command", "import", str(path), "--device", device]
    begun = time.monotonic()
    environment = {**os.environ, "BIOGATE_DATABASE_URL": url}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0, status
    seconds = time.monotonic() - begun
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
