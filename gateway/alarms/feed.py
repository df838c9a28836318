"""Reads the frames and phases committed since the last reading, for the devices under rules.

`frames` has no commit order, so a device's frames are read by time, from its newest evaluated frame on: every frame
with a newer time, and every further part of the newest (the same time, another layout). The gateway notes frames that
cannot be found so, because a newer one is stored (gateway/storage/late.py): a block of other channels, or a clock that
was set back. They are read by these notes. Within one reading the engine gets all of them in the order of receipt.
Notes and frames are read in one transaction, as they were at one moment: of what is committed between two queries, the
engine would get the end before the beginning.

After a clock was set back, the notes alone lead to the device's frames until its clock shows a time that it never did.

The feed leaves out frames that were imported from a file, and those that are older by the device's clock than
BIOGATE_ALARMS_CATCH_UP_S. For a device that it sees for the first time, it begins with that device's newest frame. It
may give a frame twice after a restart, which changes nothing.

Of phases that devices tell, it gives the events newer than the last one; if it gave none yet, the newest event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple, TypeAlias

import asyncpg
import structlog

from gateway.alarms.watch import DeviceWatch
from gateway.runtime.database import Pool, PoolConnection
from schema.alarms.engine import moment
from schema.alarms.timeline import Position

log = structlog.get_logger()

PIECE = 20
"""Frames of one device in one reading. A backlog is read in pieces of this size, for all devices alike."""
NEAR_S = 7200.0
"""Seconds. Devices whose newest frame is older have a query of their own, because it has to open older chunks."""
FAR_S, LIVELY_S = 2.0, 60.0
"""Seconds between two queries for far devices, and seconds for which one that was heard is in every reading."""
NOTES_AT_ONCE = 1000
"""Notes of late frames in one reading."""
UNSEEN_S = 20.0
"""Seconds for which a note is looked for: its transaction may commit after those of later ones."""

# The bound $4 is a constant to the planner, so that earlier chunks are not opened. Each device is read by its key from
# its own bound `since` on. Layouts `{null}`: no part of the newest frame is wanted.
NEWS = """
select f.device_id, f.time, f.layout_id, f.boot, f.seq, f.received_at, f.values, f.quality
  from unnest($1::int[], $2::timestamptz[], $3::text[]) as d (device_id, since, layouts)
 cross join lateral (
       select * from frames f
        where f.device_id = d.device_id and f.time >= d.since and f.time >= $4
          and (f.time > d.since or f.layout_id <> all (d.layouts::int[]))
          and not is_imported(f.device_id, f.received_at)
        order by f.time limit $5) f"""
NOTES = """
select l.late_id, l.device_id, l.begins, l.ends, l.first_received, l.last_received
  from late_arrivals l join unnest($1::int[], $2::bigint[]) as d (device_id, read_until) using (device_id)
 where l.noted_at >= $3 and l.late_id > d.read_until order by l.late_id limit $4"""
LATE = """
select f.device_id, f.time, f.layout_id, f.boot, f.seq, f.received_at, f.values, f.quality
  from unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
       as n (device_id, begins, ends, first_received, last_received)
 cross join lateral (
       select * from frames f
        where f.device_id = n.device_id and f.time between n.begins and n.ends and f.time between $6 and $7
          and f.received_at between n.first_received and n.last_received
          and not is_imported(f.device_id, f.received_at)) f"""
FIRST = """
select f.* from unnest($1::int[]) as d (device_id)
 cross join lateral (select * from frames f where f.device_id = d.device_id order by f.time desc limit 1) f
 where not is_imported(f.device_id, f.received_at)"""
PHASES = """
select e.device_id, e.time, e.received_at, e.data ->> 'phase' as phase
  from unnest($1::int[], $2::timestamptz[]) as d (device_id, since)
 cross join lateral (
       select * from device_events e
        where e.device_id = d.device_id and e.type = 'phase' and e.time > d.since and e.time >= $3
        order by e.time limit $4) e"""
FIRST_PHASES = """
select e.device_id, e.time, e.received_at, e.data ->> 'phase' as phase
  from unnest($1::int[]) as d (device_id)
 cross join lateral (select * from device_events e where e.device_id = d.device_id and e.type = 'phase'
                      order by e.time desc limit 1) e"""
LAYOUTS = """
select lc.layout_id, array_agg(c.name order by lc.ordinal) as names
  from layout_channels lc join channels c using (channel_id)
 where lc.layout_id = any ($1::int[]) group by lc.layout_id"""


LateNotes: TypeAlias = dict[int, list[asyncpg.Record]]
"""Rows of late_arrivals by device_id, in order."""


class FeedReading(NamedTuple):
    first: list[asyncpg.Record]
    """The newest frames of devices that the feed sees for the first time."""
    frames: dict[int, list[asyncpg.Record]]
    """Frames by device_id, in the order of receipt."""
    phases: dict[int, list[asyncpg.Record]]
    complete: list[DeviceWatch]
    """Devices of which everything was read."""
    more: list[DeviceWatch]
    """Devices of which more can be read. (Some are not asked for at each reading.)"""


class FrameFeed:
    def __init__(self, pool: Pool, catch_up_s: float) -> None:
        self._pool = pool
        self._catch_up_s = catch_up_s
        self.layouts: dict[int, Sequence[str]] = {}
        """Names of a layout's channels by layout_id."""
        self._far_due = 0.0
        self._noted_since: float | None = None

    def begins_at(self, position: Position, now: float) -> float:
        """The device's time, in s since 1970, before which its frames are not evaluated any more."""
        return now - (position.received - position.time) - self._catch_up_s

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PoolConnection]:
        """A transaction that shows the database as it is at its first query. A turn reads all by it."""
        async with self._pool.acquire() as snapshot, snapshot.transaction(isolation="repeatable_read", readonly=True):
            yield snapshot

    async def read(
        self, snapshot: PoolConnection, watches: Sequence[DeviceWatch], notes: LateNotes, now: float
    ) -> FeedReading:
        """Read what is new for `watches`. `now` is the database's clock, in s since 1970, read before; `notes` are of
        the same snapshot."""
        first = await self._first(snapshot, [watch for watch in watches if watch.is_new])
        phases = await self._phases(snapshot, watches)
        frames: dict[int, list[asyncpg.Record]] = {}
        complete: list[DeviceWatch] = []
        more: list[DeviceWatch] = []
        for lane in self._lanes([watch for watch in watches if not watch.is_new], now):
            for row in await self._news(snapshot, lane, now):
                frames.setdefault(row["device_id"], []).append(row)
            for watch in lane:
                (complete if len(frames.get(watch.device.device_id, ())) < PIECE else more).append(watch)
        await self._late(snapshot, watches, notes, first, frames)
        for rows in frames.values():
            rows.sort(key=receipt)
        await self._learn_layouts(snapshot, [*first, *(row for rows in frames.values() for row in rows)])
        for watch in watches:
            watch.is_new = False
        return FeedReading(first, frames, phases, complete, more)

    async def notes(self, snapshot: PoolConnection, watches: Collection[DeviceWatch], now: float) -> LateNotes:
        """Notes of late frames of `watches` that were not read yet, by device_id, in order."""
        since = now - self._catch_up_s if self._noted_since is None else self._noted_since
        read_until = [watch.late_id for watch in watches]
        rows = await snapshot.fetch(NOTES, _ids(watches), read_until, moment(since), NOTES_AT_ONCE)
        notes: LateNotes = {}
        for row in rows:
            notes.setdefault(row["device_id"], []).append(row)
        if len(rows) < NOTES_AT_ONCE:
            self._noted_since = now - UNSEEN_S
        return notes

    # -- frames

    def _lanes(self, watches: Sequence[DeviceWatch], now: float) -> list[list[DeviceWatch]]:
        """Split `watches` into groups that one query can ask for now."""
        near, far = [], []
        far_too = now >= self._far_due
        for watch in watches:
            position = watch.engine.position
            if position is None or position.time > now - NEAR_S or self.begins_at(position, now) > now - NEAR_S:
                near.append(watch)
            elif far_too or position.received > now - LIVELY_S:
                far.append(watch)
        if far_too:
            self._far_due = now + FAR_S
        return [lane for lane in (near, far) if lane]

    async def _news(self, snapshot: PoolConnection, lane: Sequence[DeviceWatch], now: float) -> list[asyncpg.Record]:
        since, layouts = [], []
        for watch in lane:
            position = watch.engine.position
            begin = now - self._catch_up_s if position is None else self.begins_at(position, now)
            is_newest = position is not None and position.time >= max(position.before_set_back, begin)
            newest = begin if position is None else max(position.time, position.before_set_back, begin)
            since.append(moment(newest))
            layouts.append("{" + ",".join(map(str, watch.layouts)) + "}" if is_newest else "{null}")
        return list(await snapshot.fetch(NEWS, _ids(lane), since, layouts, min(since), PIECE))

    async def _late(
        self,
        snapshot: PoolConnection,
        watches: Sequence[DeviceWatch],
        notes: LateNotes,
        first: Sequence[asyncpg.Record],
        frames: dict[int, list[asyncpg.Record]],
    ) -> None:
        """Add the frames of `notes` to `frames`: not those received before the frame in `first`, nor any received after
        what is still to be read of the device."""
        chosen = []
        begun = {row["device_id"]: row["received_at"] for row in first}
        for watch in watches:
            device_id = watch.device.device_id
            news = frames.get(device_id, [])
            until = news[-1]["received_at"] if len(news) >= PIECE else None
            for note in notes.get(device_id, ()):
                if until is not None and note["last_received"] > until:
                    break
                watch.late_id = note["late_id"]
                if device_id not in begun or note["last_received"] > begun[device_id]:
                    chosen.append(note)
        if not chosen:
            return
        names = ("device_id", "begins", "ends", "first_received", "last_received")
        columns = [[note[name] for note in chosen] for name in names]
        bounds = min(columns[1]), max(columns[2])
        known = {(row["device_id"], row["time"], row["layout_id"]) for rows in frames.values() for row in rows}
        for row in await snapshot.fetch(LATE, *columns, *bounds):
            if (key := (row["device_id"], row["time"], row["layout_id"])) not in known:
                known.add(key)
                frames.setdefault(row["device_id"], []).append(row)

    async def _first(self, snapshot: PoolConnection, watches: Sequence[DeviceWatch]) -> list[asyncpg.Record]:
        return list(await snapshot.fetch(FIRST, _ids(watches))) if watches else []

    async def _learn_layouts(self, snapshot: PoolConnection, rows: Iterable[asyncpg.Record]) -> None:
        unknown = {row["layout_id"] for row in rows} - self.layouts.keys()
        if unknown:
            for layout_id, names in await snapshot.fetch(LAYOUTS, list(unknown)):
                self.layouts[layout_id] = tuple(names)

    # -- phases

    async def _phases(
        self, snapshot: PoolConnection, watches: Sequence[DeviceWatch]
    ) -> dict[int, list[asyncpg.Record]]:
        followed = [watch for watch in watches if watch.follows_phases]
        rows: list[asyncpg.Record] = []
        if begun := [watch for watch in followed if watch.phases.told.since]:
            since = [moment(watch.phases.told.since) for watch in begun]
            rows += await snapshot.fetch(PHASES, _ids(begun), since, min(since), PIECE)
        if others := [watch for watch in followed if not watch.phases.told.since]:
            rows += await snapshot.fetch(FIRST_PHASES, _ids(others))
        phases: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            phases.setdefault(row["device_id"], []).append(row)
        return phases


def _ids(watches: Collection[DeviceWatch]) -> list[int]:
    return [watch.device.device_id for watch in watches]


def receipt(row: asyncpg.Record) -> tuple[datetime, int, int, datetime, int]:
    boot, seq = row["boot"], row["seq"]
    return (
        row["received_at"],
        -1 if boot is None else boot,
        -1 if seq is None else seq,
        row["time"],
        row["layout_id"],
    )
