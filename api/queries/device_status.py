"""SQL for the presence of all devices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from api.database import Database
from api.queries import load
from api.shapes.device_status import Freshness, LivePresence

SQL = load("device_status")
SILENT = timedelta(minutes=1)
"""A device of which nothing was heard for longer is silent; the gateway notes who was heard every half minute."""


async def presence(database: Database, names: Sequence[str] | None) -> list[LivePresence]:
    """Return how the devices with these names are doing, or all, in the order of their names."""
    now = datetime.now(UTC)
    rows = await database.fetch(SQL["presence"], names)
    return [LivePresence.of(row, freshness=_freshness(row, now)) for row in rows]


def _freshness(row: asyncpg.Record, now: datetime) -> Freshness:
    if row["last_seen"] is None:
        return "never"
    return "silent" if now - row["last_seen"] > SILENT else "fresh"
