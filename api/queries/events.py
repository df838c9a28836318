"""Events of devices, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from api.database import Database
from api.http.description import raw
from api.http.times import Span
from api.queries import load
from api.shapes.events import EventAnswer

SQL = load("events")
AFTER_ALL_DIGESTS = b"\xff" * 65


async def events(
    database: Database, device_id: int, window: Span, before: Sequence[Any], *, kind: str | None, limit: int
) -> list[asyncpg.Record]:
    """Events in the window that come after the key `before` (time, digest), perhaps only those of type `kind`."""
    return await database.fetch(SQL["events"], device_id, window.begin, window.end, *before, kind, limit)


def item(row: asyncpg.Record) -> EventAnswer:
    return EventAnswer.of(row, data=raw(row["data"]))
