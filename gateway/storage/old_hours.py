"""Marks the hours of frames that are stored when their hour is over, in the transaction of the frames.

What is kept of each hour for plots (`plot_hours`) does not hold for a marked one: it is made anew, from the frames. By
a trigger the same marks say which hours are to be sealed again (`seals_stale`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.items import Frame, moment
from gateway.runtime.database import PoolConnection

HOUR_MS = 3_600_000
SETTLES_MS = 600_000
"""So long after its end frames of an hour come without a mark. What is kept of it is made later than that: see
`deploy/worker/plot_hours.py`."""
MARK = "insert into plot_hours_stale (device_id, hour) select * from unnest($1::int[], $2::timestamptz[])"
OldHour = tuple[int, float]
"""A device_id and the begin of an hour, in ms since 1970."""


def old_hours(frames: Sequence[Frame], now_ms: float) -> set[OldHour]:
    """Return the hours of these frames that are over: mostly none."""
    over = (now_ms - SETTLES_MS) // HOUR_MS * HOUR_MS
    return {(frame.route.device.device_id, _begin(frame.t)) for frame in frames if frame.t < over}


def _begin(t: float) -> float:
    """Return the begin of the hour in which a frame of that time is stored, which is to the microsecond."""
    return round(t * 1000) // (HOUR_MS * 1000) * HOUR_MS


async def mark(connection: PoolConnection, hours: Collection[OldHour]) -> None:
    """Store marks."""
    await connection.execute(MARK, [device_id for device_id, _ in hours], [moment(begin) for _, begin in hours])
