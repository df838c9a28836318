"""Notes frames that are stored long after their receipt, in the transaction of the frames: replayed ones of the
quarantine, and those that waited for the database.

A seal covers what was stored until its time, and every other frame counts as stored when it was received. Frames of an
import do so when it has ended, and have no note.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.items import Frame, moment
from gateway.runtime.database import PoolConnection

SOON_MS = 600_000
"""A frame that is stored within this time after its receipt needs no note. Hours are sealed much later: see
gateway/evidence/sealing.py."""
# A duplicate, which is not stored again, has another receipt than the stored frame. Bounds of time spare the search
# those chunks that have none of the frames.
NOTE = """
insert into stored_late (device_id, time, layout_id)
select f.device_id, f.time, f.layout_id
  from unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) as g (device_id, time, received_at)
  join frames f on f.device_id = g.device_id and f.time = g.time and f.received_at = g.received_at
 where f.time between $4 and $5 and f.device_id = any ($1)
    on conflict do nothing"""


def held(frames: Sequence[Frame], now_ms: float) -> list[Frame]:
    """Return those frames that were received long before `now_ms`: mostly none."""
    return [frame for frame in frames if frame.received_ms < now_ms - SOON_MS]


async def note(connection: PoolConnection, frames: Sequence[Frame]) -> None:
    """Note these frames, which have just been stored or found to be stored already."""
    times = [moment(frame.t) for frame in frames]
    receipts = [moment(frame.received_ms) for frame in frames]
    devices = [frame.route.device.device_id for frame in frames]
    await connection.execute(NOTE, devices, times, receipts, min(times, default=None), max(times, default=None))
