"""`python -m api.jobs`: a job on standard input, its result on standard output."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

import msgspec
import structlog

from api.database import Server
from api.jobs.job import Job, TrialResult
from api.jobs.trial import evaluate
from api.problems import ApiError
from api.settings import ApiSettings

NICE = 10
"""The intake and the API come first."""
LINES: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(ensure_ascii=False),
]
"""What is logged here stands in the API's log: standard output has the result and nothing else."""


async def run(job: Job) -> TrialResult:
    settings = ApiSettings(
        database_url=job.database_url,
        api_database_url=job.database_url,
        api_statement_timeout=job.statement_timeout,
        api_pool_size=2,
    )
    async with Server(settings) as server:
        try:
            database = server.of(job.organization_id)
            return TrialResult([looked async for looked in evaluate(database, job, datetime.now(UTC))])
        except ApiError as error:
            return TrialResult(error=(error.slug, error.detail))


def main() -> None:
    os.nice(NICE)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    structlog.contextvars.bind_contextvars(request_id=job.request_id)
    structlog.configure(processors=LINES, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(job))))


if __name__ == "__main__":
    main()
