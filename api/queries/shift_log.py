"""SQL for the log of the shifts. An entry is never changed; a handover is accepted by whom it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from api.database import Database
from api.problems import NotFound
from api.queries import load
from api.shapes.shift_log import NewShiftEntry, ShiftEntry, ShiftLogParameters

SQL = load("shift_log")
LAST_ID = 2**63 - 1


async def page(
    database: Database, wanted: ShiftLogParameters, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return entries after the key `before` (at, id), newest first."""
    filters = wanted.from_, wanted.to, wanted.location, wanted.device, wanted.waiting
    return await database.fetch_planned(SQL["page"], *before, limit, *filters)


async def add(database: Database, given: NewShiftEntry, who: str) -> ShiftEntry:
    """Write an entry. Raises NotFound for a device or a member that is none."""
    said = given.text, given.location or None, sorted(set(given.devices)), given.handed_to, who
    async with database.change() as connection:
        number = await connection.fetchval(SQL["add"], *said)
        return item(await connection.fetchrow(SQL["one"], number))


async def one(database: Database, number: int) -> ShiftEntry:
    return item(await database.one(SQL["one"], number, absent=NotFound(f"there is no entry {number} of the shift log")))


async def accept(database: Database, number: int, who: str) -> ShiftEntry:
    """Accept a shift that is handed over to `who`. Raises NotFound, Conflict."""
    async with database.change() as connection:
        await connection.execute(SQL["accept"], number, who)
        return item(await connection.fetchrow(SQL["one"], number))


def item(row: asyncpg.Record) -> ShiftEntry:
    return ShiftEntry.of(row, id=row["entry_id"])
