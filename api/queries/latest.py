"""The newest value of every channel, of one device or of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from api import times
from api.database import Database
from api.queries import load

SQL = load("latest")


async def latest(
    database: Database,
    devices: Sequence[tuple[int, str]],
    within: timedelta,
    *,
    channels: list[str] | None,
    everything: bool,
) -> list[dict[str, Any]]:
    """For each of `devices` (id, name), in their order, its newest frame's time and each channel's newest sample."""
    rows = await database.fetch(SQL["latest"], [number for number, _ in devices], within, channels, everything)
    newest: dict[int, str] = {}
    values: dict[int, dict[int, dict[str, Any]]] = {number: {} for number, _ in devices}
    for row in rows:
        newest[row["device_id"]] = times.text(row["newest"])
        # Of several layouts with the channel the last row is the newest.
        values[row["device_id"]][row["channel_id"]] = {
            "channel": row["name"],
            "unit": row["unit"],
            "value": row["value"],
            "quality": None if row["time"] is None else row["quality"] or 0,
            "time": times.optional_text(row["time"]),
        }
    return [
        {"device": name, "time": newest.get(number), "values": list(values[number].values())}
        for number, name in devices
    ]
