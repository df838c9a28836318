"""`python -m deploy.worker`: do jobs, such as exports, until SIGTERM or SIGINT. Several workers share the work.

Exit status: 0 stopped, 1 failed, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg
from pydantic import ValidationError

from deploy.worker import files, metrics
from deploy.worker.dispatch import JobDispatcher
from deploy.worker.files import SWEEP_S, JobFiles
from deploy.worker.settings import WorkerSettings
from gateway.runtime import logs, process
from gateway.runtime.database import FAST_LOSS, Pool, Troubles, check_schema, retry_until_it_works
from gateway.runtime.events import stop_signal, unless_stopped
from gateway.runtime.health import serve
from gateway.runtime.metric_kinds import watch_event_loop
from schema.reachability import watched_database

PLOT_HOURS = (sys.executable, "-P", "-m", "deploy.worker.plot_hours")
PLOT_HOURS_S = 600.0
"""Interval at which what is kept of each hour for plots is made."""


async def make_plot_hours() -> None:
    """Start the process that does it, again and again. It ends with its standard input."""
    while True:
        await asyncio.sleep(PLOT_HOURS_S)
        child = await asyncio.create_subprocess_exec(*PLOT_HOURS, stdin=asyncio.subprocess.PIPE)
        assert child.stdin is not None
        try:
            status = await child.wait()
        finally:
            child.stdin.close()
        if status:
            raise RuntimeError(f"the process that makes hours for plots ended with {status}")


async def run(settings: WorkerSettings) -> None:
    """Enter all resources in one place, so that they close in the reverse order; run until stopped."""
    stop = stop_signal()
    troubles: Troubles = {"start": "starting"}
    files.make(settings.jobs_dir)

    async def in_the_way() -> list[str]:
        return await process.database_troubles(pool) or list(troubles.values())

    async with (
        create_pool(settings) as pool,
        serve(settings.worker_http_host, settings.worker_http_port, in_the_way),
        watched_database(str(settings.database_url), metrics.DATABASE_REACHABLE.set),
    ):
        await unless_stopped(stop, retry_until_it_works(troubles, "prepare", check_schema, pool))
        del troubles["start"]
        dispatcher = JobDispatcher(settings, pool, troubles)
        job_files = JobFiles(settings, pool)

        async def sweep() -> None:
            while True:
                await retry_until_it_works(troubles, "delete files of jobs", job_files.sweep)
                await asyncio.sleep(SWEEP_S)

        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(process.restart_on_defect("files", sweep, metrics.DEFECTS), name="files"),
                group.create_task(
                    process.restart_on_defect("plot hours", make_plot_hours, metrics.DEFECTS), name="plot hours"
                ),
                group.create_task(watch_event_loop(metrics.EVENT_LOOP_LAG.observe), name="event loop"),
            ]
            await process.restart_on_defect("jobs", lambda: dispatcher.run(stop), metrics.DEFECTS, stop)
            for task in beside:
                task.cancel()


def create_pool(settings: WorkerSettings) -> Pool:
    named = {"application_name": "biogate-worker", "timezone": "UTC", **FAST_LOSS}
    return asyncpg.create_pool(
        str(settings.database_url), min_size=0, max_size=3, command_timeout=30, timeout=10, server_settings=named
    )


def main() -> int:
    try:
        settings = WorkerSettings()
    except ValidationError as error:
        process.say_wrong("worker", error)
        return 2
    logs.configure(settings.log_level)
    return process.exit_status(run(settings), "stopped")


if __name__ == "__main__":
    sys.exit(main())
