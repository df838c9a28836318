"""Events of devices, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from api.database import Database
from api.http import times
from api.http.times import Span
from api.queries import load

SQL = load("events")
AFTER_ALL_DIGESTS = b"\xff" * 65


async def events(
    database: Database, device_id: int, window: Span, before: Sequence[Any], *, kind: str | None, limit: int
) -> list[asyncpg.Record]:
    """Events in the window that come after the key `before` (time, digest), perhaps only those of type `kind`."""
    return await database.fetch(SQL["events"], device_id, window.begin, window.end, *before, kind, limit)


def item(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "time": times.text(row["time"]),
        "type": row["type"],
        "boot": row["boot"],
        "data": msgspec.Raw(row["data"].encode()),  # jsonb comes as text and goes out as it is
        "received_at": times.text(row["received_at"]),
    }
