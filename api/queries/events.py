"""SQL for events of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from api.database import Database
from api.http.description import raw
from api.queries import load
from api.shapes.events import EventAnswer, EventParameters

SQL = load("events")
AFTER_ALL_DIGESTS = b"\xff" * 65


async def events(
    database: Database, device_id: int, asked: EventParameters, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return events of a device after the key `before` (time, digest), newest first."""
    span = asked.span()
    return await database.fetch(SQL["events"], device_id, span.begin, span.end, *before, asked.type, limit)


def item(row: asyncpg.Record) -> EventAnswer:
    return EventAnswer.of(row, data=raw(row["data"]))
