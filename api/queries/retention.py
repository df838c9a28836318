"""SQL for holds, which keep data from being dropped, however old they are."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from api.database import Database
from api.queries import load
from api.shapes.retention import Hold

SQL = load("retention")


async def holds(database: Database, before: int, limit: int) -> list[asyncpg.Record]:
    """Return holds with a smaller number than `before`, newest first."""
    return await database.fetch(SQL["holds"], before, limit)


async def make(
    database: Database, device: str | None, span: tuple[datetime | None, datetime | None], who: str, why: str
) -> Hold:
    async with database.change() as connection:
        number = await connection.fetchval(SQL["make"], device, *span, who, why)
        return Hold.of(await connection.fetchrow(SQL["hold"], number))


async def end(database: Database, number: int, who: str, why: str) -> None:
    await database.execute(SQL["end"], number, who, why)
