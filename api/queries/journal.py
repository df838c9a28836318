"""Device events and the quarantine, newest first."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from api import times
from api.database import Database
from api.problems import NotFound
from api.queries import load

SQL = load("journal")
SHOWN = 16 * 1024
"""Bytes of payload up to which a list shows it: 200 of them stay an answer of a few MB."""
AFTER_ALL_DIGESTS = b"\xff" * 65
LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Window:
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of a list, and the key at which the page after it begins."""

    item: dict[str, Any]
    key: tuple[datetime, bytes | int]


async def events(
    database: Database, device_id: int, window: Window, before: Sequence[Any], *, kind: str | None, limit: int
) -> list[Entry]:
    """Events in the window that come after the key `before` (time, digest), perhaps only those of type `kind`."""
    rows = await database.fetch(SQL["events"], device_id, window.begin, window.end, *before, kind, limit)
    return [Entry(_event(row), (row["time"], row["digest"])) for row in rows]


def _event(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "time": times.text(row["time"]),
        "type": row["type"],
        "boot": row["boot"],
        "data": msgspec.Raw(row["data"].encode()),  # jsonb comes as text and goes out as it is
        "received_at": times.text(row["received_at"]),
    }


async def quarantine(
    database: Database,
    reasons: Sequence[str],
    states: Sequence[str],
    window: Window,
    before: Sequence[Any],
    *,
    device: str | None,
    limit: int,
) -> list[Entry]:
    """Messages rejected for `reasons`, now in `states`, in the window, after the key `before` (received_at, id)."""
    arguments = (list(reasons), list(states), window.begin, window.end, *before, limit, SHOWN)
    if device is None:
        rows = await database.fetch(SQL["quarantine"], *arguments)
    else:
        rows = await database.fetch(SQL["quarantine_of_device"], *arguments, device)
    return [Entry(_quarantined(row), (row["received_at"], row["quarantine_id"])) for row in rows]


async def quarantined(database: Database, number: int) -> dict[str, Any]:
    row = await database.fetchrow(SQL["quarantined"], number)
    if row is None:
        raise NotFound(f"nothing of number {number} is in quarantine; /api/v1/quarantine lists what is")
    return _quarantined(row)


def _quarantined(row: asyncpg.Record) -> dict[str, Any]:
    payload = row["payload"]
    return {
        "id": row["quarantine_id"],
        "received_at": times.text(row["received_at"]),
        "device": row["device"],
        "topic": row["topic"],
        "reason": row["reason"],
        "detail": row["detail"],
        "content_type": row["content_type"],
        "bytes": row["bytes"],
        "state": row["state"],
        "settled_at": None if row["settled_at"] is None else times.text(row["settled_at"]),
        "payload": None if payload is None else base64.b64encode(payload).decode(),
    }
