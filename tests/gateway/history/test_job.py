"""The job of an import, as the worker runs it: with progress, cancelled in the middle, and taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from gateway.history.job import run
from gateway.runtime.database import Pool
from schema.jobs import UPLOAD, ClaimedJob, JobCancelled, JobFailed, JobProgress, RunningJob
from tests.gateway.history.exports import samples
from tests.gateway.history.test_import import counts, export, totals

SAID = {"file": "run 7.csv", "why": "as the test says", "mapping": "dasgip", "zone": "Europe/Berlin"}


class Stopping(JobProgress):
    """Somebody cancels the job when so many frames are settled."""

    at = 0

    def check(self) -> None:
        if self.at and self.done >= self.at:
            raise JobCancelled("cancelled")


@pytest.fixture(autouse=True)
def surroundings(worker_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a worker, which takes small batches."""
    monkeypatch.setenv("BIOGATE_DATABASE_URL", worker_url)
    monkeypatch.setenv("BIOGATE_BATCH_FRAMES", "100")


def job(directory: Path, told: JobProgress | None = None, **said: Any) -> RunningJob:
    claimed = ClaimedJob(uuid4(), 1, "eva", "import", SAID | said, None, 1)
    return RunningJob(claimed, directory, told or JobProgress())


async def test_a_job_that_is_stopped_in_the_middle_goes_on_there(database: asyncpg.Connection, tmp_path: Path) -> None:
    _, written = export(tmp_path / UPLOAD, minutes=600)
    frames = len({(device, time) for device, time, *_ in written})

    trial = job(tmp_path, dry_run=True)
    tried = dict(await run(trial))
    assert counts(tried) == (frames, frames, 0, 0, 0)
    assert await totals(database) == (0, 0, 0, 0)

    with pytest.raises(JobFailed, match="create_devices=true"):
        await run(job(tmp_path))

    stopping = Stopping()
    stopping.at = 300
    with pytest.raises(JobCancelled):
        await run(job(tmp_path, stopping, create_devices=True))
    assert (stopping.done, stopping.total, stopping.unit) == (300, 1200, "frames")
    assert await totals(database) == (300, 0, 0, 0)

    last = job(tmp_path, create_devices=True)
    done = dict(await run(last))
    assert counts(done) == (frames, frames, 0, 0, 0)
    assert (done["resumed_at"], last.progress.done, last.progress.total) == (300, frames, frames)
    assert await samples(database) == written
    assert await totals(database) == (frames, 0, 0, 0)
    assert await database.fetchval("select count(*) from audit where who = 'eva' and action = 'import end'") == 1


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"mapping": "dasgpi"}, "there is no mapping 'dasgpi'"),
        ({"mapping": None, "mapping_text": "headings: 7"}, "the mapping is not usable"),
        ({"zone": "Berlin"}, "there is no time zone 'Berlin'"),
        ({"encoding": "klingon"}, "unknown encoding: klingon"),
    ],
)
async def test_what_the_person_has_to_change_is_told(said: dict[str, Any], says: str, tmp_path: Path) -> None:
    export(tmp_path / UPLOAD, minutes=2)
    with pytest.raises(JobFailed, match=says):
        await run(job(tmp_path, **said))
