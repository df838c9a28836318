"""SQL for clocks of devices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from api.database import Database
from api.queries import load
from api.shapes.device_clocks import DeviceClockAnswer
from schema import times
from schema.times import Span

SQL = load("device_clocks")


async def hours(
    database: Database, device_id: int, span: Span, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return the hours of a device before the key `before`, newest first."""
    return await database.fetch(SQL["hours"], device_id, span.begin, span.end, *before, limit)


async def newest(database: Database, device_id: int) -> list[DeviceClockAnswer]:
    """Return the newest hour of a device, and those of the 24 h before it, newest first."""
    rows = await database.fetch(SQL["hours"], device_id, datetime.min.replace(tzinfo=UTC), *[times.LAST] * 2, 24)
    return [item(row) for row in rows if row["hour"] > rows[0]["hour"] - timedelta(days=1)]


def item(row: asyncpg.Record) -> DeviceClockAnswer:
    return DeviceClockAnswer.of(row, ahead_at_least_s=-row["least_delay_s"])
