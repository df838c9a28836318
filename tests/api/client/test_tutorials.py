"""Every example on the page for Python, and every cell of the tutorial, in order, against a plant with data."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.accounts import api_key
from tests.api.live import listening
from tests.api.plant import Plant
from tests.processes import WorkerProcess

DOCS = Path(__file__).parents[3] / "docs"
CHANNELS = ("temperature", "ph", "dissolved_oxygen")
"""In the order of the database."""
VALUES: list[float | None] = [37.0, 7.0, 40.0]


def examples(name: str) -> list[str]:
    if name.endswith(".md"):
        return re.findall(r"^```python\n(.*?)^```$", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE)
    return ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]


def cells(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DOCS / name).read_text())["cells"]
    return found


def test_the_tutorial_is_kept_without_results() -> None:
    for cell in cells("tutorial.ipynb"):
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert len(examples("tutorial.ipynb")) > 8
    assert len(examples("python.md")) > 6


@pytest.fixture
def worker(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(worker_url, database_url, tmp_path / "jobs", tmp_path / "worker.log")
    it.start()
    yield it
    it.end()


@asynccontextmanager
async def sending(plant: Plant) -> AsyncIterator[None]:
    """Two controllers that were in phase batch, and go on sending."""
    now = datetime.now(UTC)
    layouts = {}
    for name in ("sim-0001", "sim-0002"):
        device = await plant.device(name)
        layouts[device] = await plant.layout(device, *CHANNELS)
        seconds = [n for n in range(1800, 0, -2) if not 600 < n < 700]
        await plant.frames(device, layouts[device], [(now - timedelta(seconds=n), VALUES, None) for n in seconds])
        await plant.event(device, now - timedelta(minutes=20 + device), "phase", {"phase": "batch"})
        await plant.event(device, now - timedelta(minutes=10), "phase", {"phase": "feed"})

    async def go_on() -> None:
        while True:
            for device, layout in layouts.items():
                await plant.frames(device, layout, [(datetime.now(UTC), VALUES, None)])
            await asyncio.sleep(0.2)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("worker")
async def test_every_example_runs_as_it_is_printed(
    plant: Plant, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(await api_key(plant.sql))
    monkeypatch.chdir(tmp_path)
    async with sending(plant), listening(database_url, jobs_dir=tmp_path / "jobs") as (address, _):
        monkeypatch.setenv("BIOGATE_API_URL", f"http://{address}")
        monkeypatch.setenv("BIOGATE_API_KEY_FILE", str(file))
        for name in ("python.md", "tutorial.ipynb"):
            known: dict[str, Any] = {}
            for number, code in enumerate(examples(name), 1):
                async with asyncio.timeout(60):
                    await asyncio.to_thread(exec, compile(code, f"{name}, example {number}", "exec"), known)
            assert len(known["frame"]) > 500
            assert known["frame"].attrs["units"]["ph"] == "pH"
        assert set(known["means"].columns) == {"device", "time", "temperature"}
        assert known["batch"].groupby("device", observed=True)["hours"].min().between(0, 0.01).all()
        assert (tmp_path / "tutorial.parquet").exists()
