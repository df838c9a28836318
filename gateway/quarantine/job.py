"""Does a job of kind `replay`: takes messages of the quarantine in again, as `biogate quarantine replay` would."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import AnyUrl

from gateway.quarantine import resolution
from gateway.quarantine.clock import TimeUnit
from gateway.quarantine.replay import CELL, ROW_TIMEOUT_S, Replay, ReplayResult
from gateway.quarantine.resolution import AuditSignature, RejectFilter
from gateway.runtime.database import PoolConnection, create_pool
from gateway.settings import Settings
from schema.jobs import JobFailed, RunningJob


async def run(running: RunningJob) -> Mapping[str, Any]:
    """Replay the messages that the request names; the numbers of those stored, of those rejected again with the
    reasons, and of those that were not open any more. Raises JobFailed, and what the job's progress raises."""
    job, told = running.job, running.progress
    settings = Settings(mqtt_url=AnyUrl("mqtts://unused"), cell=CELL)
    signed = AuditSignature(job.who, job.request["why"])
    told.unit, told.total = "messages", len(job.request["messages"])
    stored, rejected = 0, 0
    reasons: dict[str, None] = {}
    async with create_pool(settings, purpose="replay") as pool:
        tool = Replay(settings, pool, TimeUnit.MS)
        await tool.start()

        async def settle(connection: PoolConnection, page: list[int]) -> None:
            nonlocal stored, rejected
            results: dict[int, ReplayResult] = {}
            for number in page:
                told.check()
                row = await resolution.whole(connection, number)
                try:
                    async with asyncio.timeout(ROW_TIMEOUT_S):
                        results[number] = result = await tool.replay(row, 0.0)
                except TimeoutError as error:
                    raise JobFailed(f"message {number} was not stored within {ROW_TIMEOUT_S} s: try again") from error
                told.done += 1
                if result.rejected:
                    rejected += 1
                    reasons[result.why] = None
                else:
                    stored += 1
            await resolution.mark_replayed(connection, results, signed)

        owned = await resolution.owned(pool, job.organization_id, job.request["messages"])
        if owned:
            await resolution.each_page(pool, RejectFilter(owned, None, None, None, None), None, settle)
        await tool.merge()
    missed = told.total - stored - rejected
    return {"stored": stored, "rejected": rejected, "not_open": missed, "reasons": [*reasons][:3]}
