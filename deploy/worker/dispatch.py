"""Claims jobs and runs each in a process of its own, as many at a time as there may be."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import asyncpg
import msgspec
import structlog

from deploy.worker import metrics
from deploy.worker.runners import RUNNERS
from deploy.worker.settings import BEATS, WorkerSettings
from gateway.runtime.database import Pool, Troubles, retry_until_it_works
from gateway.runtime.events import unless_stopped, wait_at_most
from schema import jobs
from schema.jobs import HeldJob

LOOK_S = 1.0
"""Interval of looks for jobs."""
START_S = 120.0
"""Time that the process of a job gets for its start."""
ENDS_S = 5.0
"""Time that the process of a job gets to end with the worker."""
CHILD = (sys.executable, "-P", "-m", "deploy.worker.child")
log = structlog.get_logger()

Given = TypeVar("Given")


class JobDispatcher:
    """Runs jobs until it is stopped. What runs then is given back, and begins anew or goes on in another worker."""

    def __init__(self, settings: WorkerSettings, pool: Pool, troubles: Troubles) -> None:
        self._settings, self._pool, self._troubles = settings, pool, troubles
        self._running = 0
        self._room = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        self._running = 0  # jobs of a run before have ended with it
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                held = await unless_stopped(stop, self._next())
                if held is None:
                    await unless_stopped(stop, wait_at_most(LOOK_S, self._room))
                    self._room.clear()
                else:
                    self._running += 1
                    group.create_task(self._do(held, stop), name=f"job {held.job.job_id}")

    async def _next(self) -> HeldJob | None:
        if self._running >= self._settings.worker_jobs:
            return None
        return await self._persistently("claim jobs", self._claim)

    async def _claim(self, connection: asyncpg.Connection) -> HeldJob | None:
        """Claim a job under a new name each time: after a long time without a database, a job may be one whose process
        still runs in this worker, and that process must lose it."""
        lease, holder = timedelta(seconds=self._settings.worker_lease_s), secrets.token_hex(8)
        job = await jobs.claim(connection, holder, RUNNERS, lease, self._settings.worker_jobs_share)
        return None if job is None else HeldJob(job, holder)

    async def _do(self, held: HeldJob, stop: asyncio.Event) -> None:
        job = held.job
        log.info("job begins", job=str(job.job_id), kind=job.kind, attempt=job.attempts)
        running = metrics.RUNNING.labels(job.kind)
        running.inc()
        try:
            how = await self._process(held, stop)
            metrics.ENDED.labels(job.kind, how).inc()
            if how == "stopped":
                await self._give_back(held)
        finally:
            running.dec()
            self._running -= 1
            self._room.set()

    async def _process(self, held: HeldJob, stop: asyncio.Event) -> str:
        """Run the process of the job to its end, or until `stop`; which of metrics.ENDINGS it was."""
        child = await asyncio.create_subprocess_exec(
            *CHILD, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin is not None
        try:
            child.stdin.write(msgspec.json.encode(held) + b"\n")
            with contextlib.suppress(ConnectionError):
                await child.stdin.drain()
            await unless_stopped(stop, self._begun(child, held))
            status = await unless_stopped(stop, child.wait())
            if status is None:
                return "stopped"
            if status == 0:
                return "ended"
            job = held.job
            log.error("the process of a job has not told its end", job=str(job.job_id), kind=job.kind, status=status)
            return "crashed"
        finally:
            await _end(child)

    async def _begun(self, child: asyncio.subprocess.Process, held: HeldJob) -> None:
        """Keep the lease until the process beats itself, which it says, or has ended: its start can take seconds."""
        assert child.stdout is not None
        told = asyncio.ensure_future(child.stdout.readline())
        pause_s, deadline = self._settings.worker_lease_s / BEATS, time.monotonic() + START_S
        try:
            while not told.done() and time.monotonic() < deadline:
                await asyncio.wait({told}, timeout=pause_s)
                await self._persistently("keep a job", lambda it: jobs.keep(it, held))
        finally:
            told.cancel()

    async def _give_back(self, held: HeldJob) -> None:
        """As well as it can be done: once the lease has run out, the job is free in any case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDS_S):
                await self._persistently("give a job back", lambda it: jobs.give_back(it, held))

    async def _persistently(self, what: str, work: Callable[[asyncpg.Connection], Awaitable[Given]]) -> Given:
        async def attempt() -> Given:
            async with self._pool.acquire() as connection:
                return await work(connection)

        return await retry_until_it_works(self._troubles, what, attempt)


async def _end(child: asyncio.subprocess.Process) -> None:
    """End the process if it still runs: by the end of its input, or after ENDS_S by force."""
    assert child.stdin is not None
    child.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDS_S):
            await child.wait()
    if child.returncode is None:
        child.kill()
        await child.wait()
