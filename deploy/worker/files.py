"""Deletes the files of jobs that have expired, and directories of no job; measures the queue and the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import structlog

from deploy.worker import metrics
from deploy.worker.settings import WorkerSettings
from gateway.runtime.database import Pool
from schema import jobs

SWEEP_S = 10.0
"""Interval of sweeps."""
YOUNG_S = 3600.0
"""Age up to which a directory without a job may belong to one that is being made."""
log = structlog.get_logger()


class JobFiles:
    """The directory with the files of jobs: a directory for each job, named by its id."""

    def __init__(self, settings: WorkerSettings, pool: Pool) -> None:
        self._directory, self._pool = settings.jobs_dir, pool

    async def sweep(self) -> None:
        """Delete what has expired or belongs to nobody, forget old jobs, and measure what there is."""
        for row in await self._pool.fetch(jobs.EXPIRED):
            self._delete(row["job_id"])
            await self._pool.execute(jobs.WITHOUT_FILES, row["job_id"])
        await self._pool.execute(jobs.FORGET, jobs.KEPT)
        old = list(self._old())
        known = {row["job_id"] for row in await self._pool.fetch(jobs.KNOWN, old)}
        for job_id in old:
            if job_id not in known:
                self._delete(job_id)
        await self._measure()

    def _old(self) -> Iterator[UUID]:
        for path in self._directory.iterdir():
            try:
                if path.stat().st_mtime < time.time() - YOUNG_S:
                    yield UUID(path.name)
            except (ValueError, FileNotFoundError):
                continue

    def _delete(self, job_id: UUID) -> None:
        path = self._directory / str(job_id)
        if path.is_dir():
            shutil.rmtree(path)
            metrics.DELETED.inc()
            log.info("files of a job deleted", job=str(job_id))

    async def _measure(self) -> None:
        rows = {row["kind"]: row for row in await self._pool.fetch(jobs.QUEUE)}
        for gauge, column in (
            (metrics.QUEUED, "queued"),
            (metrics.WAIT, "wait_s"),
            (metrics.FILE_BYTES, "file_bytes"),
        ):
            gauge.replace({(kind,): rows[kind][column] if kind in rows else 0 for kind in metrics.KINDS})
        metrics.FREE_BYTES.set(shutil.disk_usage(self._directory).free)


def make(directory: Path) -> None:
    """Make the directory, for its owner alone. Raises OSError if it cannot be written to."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    probe = directory / ".writable"
    probe.touch()
    probe.unlink()
