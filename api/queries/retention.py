"""Holds: what may not be dropped, however old it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from api.database import Database
from api.http import times
from api.queries import load

SQL = load("retention")
TIMES = ("begins", "ends", "made_at", "ended_at", "dropped_until")


async def holds(database: Database, before: int, limit: int) -> list[dict[str, Any]]:
    """Those with a smaller number, newest first."""
    return [_plain(row) for row in await database.fetch(SQL["holds"], before, limit)]


async def make(
    database: Database, device: str | None, span: tuple[datetime | None, datetime | None], who: str, why: str
) -> dict[str, Any]:
    async with database.change() as connection:
        number = await connection.fetchval(SQL["make"], device, *span, who, why)
        return _plain(await connection.fetchrow(SQL["hold"], number))


async def end(database: Database, number: int, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["end"], number, who, why)


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {**row, **{name: times.optional_text(row[name]) for name in TIMES}}
