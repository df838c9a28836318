"""Starts the process that tries a rule, bounds how many run and for how long, and ends it when nobody waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

import api
from api.jobs.job import Job, Looked, TrialResult
from api.problems import ApiError, Busy, NotFound, TooLong, TooMany, Unavailable
from api.settings import ApiSettings
from api.trace import CURRENT

MOST = 2
"""Processes at a time, each for another organization: each takes a core."""
GRACE_S = 15.0
"""Seconds beyond the job's own, for the start of the process and for the statement that it is in."""
LOOK_S = 0.5
PROBLEMS: dict[str, type[ApiError]] = {kind.slug: kind for kind in (NotFound, TooLong, Unavailable)}


class Trials:
    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._running: set[int] = set()
        """Ids of the organizations for which a process runs."""

    async def run(
        self,
        organization_id: int,
        rule: bytes,
        devices: list[str],
        span: tuple[int, int],
        gone: Callable[[], Awaitable[bool]],
    ) -> list[Looked]:
        """Try the rule and return what was found of each device. `span`: microseconds since 1970. Raises TooMany, Busy,
        TooLong, and the ApiErrors of the database."""
        settings, trace = self._settings, CURRENT.get()
        if organization_id in self._running or len(self._running) >= MOST:
            whose = "your organization tries a rule" if organization_id in self._running else "rules are being tried"
            wait = round(settings.api_trial_seconds)
            raise TooMany(f"{whose} already: wait until that has ended", headers={"Retry-After": str(max(wait, 1))})
        job = Job(
            settings.api_database_url or settings.database_url,
            settings.api_statement_timeout,
            organization_id,
            rule,
            devices,
            *span,
            settings.api_trial_seconds,
            "" if trace is None else trace.request_id,
        )
        self._running.add(organization_id)
        try:
            result = msgspec.json.decode(await _asked(job, gone), type=TrialResult)
        finally:
            self._running.discard(organization_id)
        if result.error is not None:
            slug, detail = result.error
            raise PROBLEMS.get(slug, ApiError)(detail)
        return result.devices


async def _asked(job: Job, gone: Callable[[], Awaitable[bool]]) -> bytes:
    """Run the job in a process of its own and return its output. The process never outlives this call."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api.jobs"),
        cwd=Path(api.__path__[0]).parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    talk = asyncio.ensure_future(child.communicate(msgspec.json.encode(job)))
    try:
        for _ in range(round((job.seconds + GRACE_S) / LOOK_S)):
            done, _ = await asyncio.wait({talk}, timeout=LOOK_S)
            if done:
                said: bytes = talk.result()[0]
                if child.returncode is not None and child.returncode < 0:
                    detail = "the process that tries rules was killed, perhaps for want of memory: try again"
                    raise Busy(detail, headers={"Retry-After": "5"})
                if child.returncode:  # it has said why, in the log
                    raise RuntimeError(f"the process that tries rules ended with {child.returncode}")
                return said
            if await gone():
                break
        raise TooLong("it took too long: try fewer devices or a shorter time")
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await talk
