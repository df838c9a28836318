"""Stores notes of frames that are older than what is stored of their device, in the transaction of the frames.

The evaluator of alarms reads frames by their time, from the newest on; without the notes it would not find these.
History topics are left out: what comes there is history by contract. A device has few notes: a block of other channels,
a clock that was set back, and the first frames of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.items import Frame, moment
from gateway.runtime.database import PoolConnection
from schema.topics import Kind

CLOSE_MS = 60_000.0
"""Frames of a device further apart than this have a note each: a note is read by its range of times."""
NO_FRAME = float("inf")

NEWEST = """
select d.device_id, n.time, n.received_at from unnest($1::int[]) as d (device_id)
 cross join lateral (select * from frames f where f.device_id = d.device_id order by f.time desc limit 1) n
 where not is_imported(n.device_id, n.received_at)"""
"""A device whose newest frame was imported counts as one that has none."""
NOTE = """
insert into late_arrivals
       (device_id, begins, ends, first_received, last_received, last_time, newest_time, newest_received)
select * from unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                     $6::timestamptz[], $7::timestamptz[], $8::timestamptz[])"""


@dataclass(slots=True)
class LateNote:
    """Frames of one device; times are ms since 1970."""

    device_id: int
    begins: float
    ends: float
    first_received: float
    last_received: float
    last_time: float
    newest: tuple[float, float] | None
    """Time and receipt of the newest frame that is stored of the device."""

    def takes(self, t: float) -> bool:
        return self.begins - CLOSE_MS <= t <= self.ends + CLOSE_MS


async def late(connection: PoolConnection, frames: Sequence[Frame]) -> list[LateNote]:
    """The notes of `frames`, which are about to be stored. Afterwards their devices know their newest frame; if the
    transaction fails, call `forget_newest`."""
    unknown = {device.device_id: device for frame in frames if (device := frame.route.device).newest is None}
    if unknown:
        for device in unknown.values():
            device.newest = NO_FRAME  # so that its first frames are noted
        for device_id, time, received in await connection.fetch(NEWEST, list(unknown)):
            unknown[device_id].newest = time.timestamp() * 1000
            unknown[device_id].newest_received = received.timestamp() * 1000
    notes: dict[int, list[LateNote]] = {}
    for frame in frames:
        device, t = frame.route.device, frame.t
        newest = device.newest
        if newest is not None and t >= newest:  # nearly always
            device.newest, device.newest_received = t, frame.received_ms
        elif frame.route.kind is Kind.TELEMETRY or newest == NO_FRAME:
            _note(notes.setdefault(device.device_id, []), frame)
    for device in unknown.values():
        if device.newest == NO_FRAME:
            device.newest, device.newest_received = max(
                (frame.t, frame.received_ms) for frame in frames if frame.route.device is device
            )
    return [note for of_device in notes.values() for note in of_device]


def forget_newest(frames: Sequence[Frame]) -> None:
    """Have the newest frames of these devices read again: what became of `frames` is not known."""
    for frame in frames:
        frame.route.device.newest = None


async def note(connection: PoolConnection, notes: Sequence[LateNote]) -> None:
    """Store notes."""
    times = [(n.begins, n.ends, n.first_received, n.last_received, n.last_time) for n in notes]
    columns = [list(map(moment, column)) for column in zip(*times, strict=True)] or [[]] * 5
    newest = [[n.newest and moment(n.newest[which]) for n in notes] for which in (0, 1)]
    await connection.execute(NOTE, [n.device_id for n in notes], *columns, *newest)


def _note(notes: list[LateNote], frame: Frame) -> None:
    t, received, device = frame.t, frame.received_ms, frame.route.device
    if not (notes and notes[-1].takes(t)):
        newest = None
        if device.newest is not None and device.newest != NO_FRAME:
            newest = device.newest, device.newest_received
        notes.append(LateNote(device.device_id, t, t, received, received, t, newest))
        return
    last = notes[-1]
    last.begins, last.ends = min(last.begins, t), max(last.ends, t)
    last.last_received, last.last_time = received, t
