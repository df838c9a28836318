"""SQL for jobs: they are made and cancelled here, and done by the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from api.database import Database
from api.http.description import raw
from api.problems import NotFound
from api.queries import load
from api.shapes.jobs import JobAnswer, JobParameters
from schema.jobs import JobKind

SQL = load("jobs")
LAST_ID = UUID(int=2**128 - 1)


async def page(database: Database, asked: JobParameters, before: Sequence[Any], limit: int) -> list[asyncpg.Record]:
    """Return jobs after the key `before` (created_at, id), newest first."""
    return await database.fetch_planned(SQL["page"], asked.kind, asked.state or None, *before, limit)


async def one(database: Database, job: UUID) -> JobAnswer:
    """Return one job. Raises NotFound."""
    return item(await database.one(SQL["one"], job, absent=NotFound(f"there is no job {job}")))


async def make(
    database: Database,
    kind: JobKind,
    request: Mapping[str, Any],
    who: str,
    *,
    job: UUID | None = None,
    file_bytes: int = 0,
) -> JobAnswer:
    """Ask for a job. Raises Conflict if too many of the organization wait already.

    A job that begins with files has its id from the caller, who has put so many bytes into its directory.
    """
    number = uuid4() if job is None else job
    async with database.change() as connection:
        content = msgspec.json.encode(request).decode()
        await connection.execute(SQL["make"], number, kind, content, file_bytes, who)
        return item(await connection.fetchrow(SQL["one"], number))


async def cancel(database: Database, job: UUID, who: str, why: str) -> JobAnswer:
    """Ask to cancel a job. Raises NotFound, and Conflict if it has ended."""
    return await _changed(database, "cancel", job, who, why)


async def drop_files(database: Database, job: UUID, who: str, why: str) -> JobAnswer:
    """Let the worker delete the files of a job that has ended. Raises NotFound, and Conflict if it has not."""
    return await _changed(database, "drop_files", job, who, why)


async def _changed(database: Database, statement: str, job: UUID, who: str, why: str) -> JobAnswer:
    async with database.change() as connection:
        await connection.execute(SQL[statement], job, who, why)
        return item(await connection.fetchrow(SQL["one"], job))


def item(row: asyncpg.Record) -> JobAnswer:
    return JobAnswer.of(
        row,
        id=str(row["job_id"]),
        request=raw(row["request"]),
        result=raw(row["result"]),
        cancelling=row["state"] == "running" and row["cancel_asked_at"] is not None,
    )
