"""`python -m deploy.worker.child`: do one job. The job is a line on standard input; when standard input ends, the
worker has stopped or died, and this process ends too, wherever it is.

The first that the kernel ends for want of memory is this process, and the intake and the API come before it.

Exit status: 0 the job's end is in the database, 1 it is not: once the lease has run out, a worker takes it up again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import structlog

from deploy.worker.runners import runner
from deploy.worker.settings import BEATS, WorkerSettings
from gateway.runtime import logs
from gateway.runtime.database import FAILURES, FAST_LOSS, retry_until_it_works
from schema import jobs
from schema.errors import BiogateError
from schema.jobs import HeldJob, JobCancelled, JobFailed, JobLost, JobProgress, RunningJob

NICE = 10
STOPPED = 3
log = structlog.get_logger()


class Beating:
    """Beats on a connection of its own, until it is cancelled; while the database is away, at its next beat. When the
    job is to end, it cancels the work, whatever that waits for."""

    def __init__(self, settings: WorkerSettings, given: HeldJob, told: JobProgress, work: asyncio.Future[Any]) -> None:
        self._settings, self._given, self._told, self._work = settings, given, told, work
        self._connection: asyncpg.Connection | None = None
        self._said = False
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        while True:
            await self.beat()
            if self._told.stop is not None:
                self._work.cancel()
            await asyncio.sleep(self._settings.worker_lease_s / BEATS)

    async def beat(self) -> None:
        """Tell once how far the work is, if the database can be asked."""
        with suppress(*FAILURES):
            async with asyncio.timeout(self._settings.worker_lease_s), self._turn:
                await self._beat()
                self._say_once()

    def _say_once(self) -> None:
        if not self._said:
            print("it beats", flush=True)
            self._said = True

    async def _beat(self) -> None:
        settings = self._settings
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(settings, "beat")
        await jobs.beat(self._connection, self._given, self._told, settings.jobs_share_bytes)
        if self._told.stop is None and shutil.disk_usage(settings.jobs_dir).free < settings.jobs_free_bytes:
            self._told.stop = JobFailed("the disk for files of jobs is full: ask whoever runs the installation")


async def connect(settings: WorkerSettings, purpose: str) -> asyncpg.Connection:
    named = {"application_name": f"biogate-worker-{purpose}", **FAST_LOSS}
    return await asyncpg.connect(str(settings.database_url), timeout=10, command_timeout=30, server_settings=named)


async def run(settings: WorkerSettings, given: HeldJob) -> int:
    """Do the job and tell its end; the exit status."""
    job = given.job
    told = JobProgress(position=job.position, file_bytes=job.file_bytes)
    directory = directory_of(settings, given)
    work = asyncio.ensure_future(runner(job.kind)(RunningJob(job, directory, told)))
    beating = Beating(settings, given, told, work)
    beats = asyncio.create_task(beating.run(), name="beat")

    async def tell() -> jobs.JobState:
        kept = settings.jobs_files_days if job.kind == "export" else 0  # nobody needs an upload that is imported
        connection = await connect(settings, "end")
        try:
            return await jobs.end(connection, given, told, outcome, timedelta(days=kept))
        finally:
            await connection.close()

    try:
        outcome = await _outcome(work, beating, told)
        state = await retry_until_it_works({}, "tell the end of a job", tell)
    except JobLost as error:
        log.warning("the job is another worker's", job=str(job.job_id), error=str(error))
        return 1
    except Exception:  # a defect, of whatever kind, is one more crash: the attempts are counted
        log.exception("the job ended by an error: it is taken up again", job=str(job.job_id), kind=job.kind)
        return 1
    finally:
        beats.cancel()
    if state != "done":
        shutil.rmtree(directory, ignore_errors=True)  # what is left is deleted by the sweep of the worker
    log.info("job ended", job=str(job.job_id), kind=job.kind, state=state, done=told.done, unit=told.unit)
    return 0


async def _outcome(
    work: asyncio.Future[Mapping[str, Any]], beating: Beating, told: JobProgress
) -> Mapping[str, Any] | BiogateError:
    """The facts that the runner returns, or why the job has failed or is cancelled. Raises JobLost, and what else the
    runner raises."""
    try:
        facts = await _result(work, told)
        await beating.beat()  # what it has written last may be more than its share
        told.check()
    except (JobFailed, JobCancelled) as error:
        return error
    return facts


async def _result(work: asyncio.Future[Mapping[str, Any]], told: JobProgress) -> Mapping[str, Any]:
    """What the runner returns. Raises what it raises, and why the job is to end if it was cancelled for that."""
    try:
        return await work
    except asyncio.CancelledError:
        if told.stop is None:
            raise
        raise told.stop from None


def directory_of(settings: WorkerSettings, given: HeldJob) -> Path:
    """The directory of the job's files. It is made if it does not exist."""
    directory = settings.jobs_dir / str(given.job.job_id)
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def end_with_the_worker() -> None:
    sys.stdin.buffer.read()
    os._exit(STOPPED)


def main() -> int:
    os.nice(NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    settings = WorkerSettings()
    logs.configure(settings.log_level)
    given = msgspec.json.decode(sys.stdin.buffer.readline(), type=HeldJob)
    threading.Thread(target=end_with_the_worker, daemon=True).start()
    return asyncio.run(run(settings, given))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the thread that reads standard input would hold up an orderly end
