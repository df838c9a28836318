"""Reads the frames and phases committed since the last reading, for the devices under rules.

`frames` has no commit order, so a device's frames are read by time, from the newest evaluated frame on. Within one
reading the engine gets, in the order of receipt,

* every frame with a newer time than all before, and every further part of the newest (the same time, another layout);
* from a device that numbers its frames, also those with a newer number and an older time: a block of other channels, or
  a clock that was set back. `device_streams` says that such frames exist; the gateway merges into it what it has
  committed, usually within 1 s and at most after 10 s. The feed then searches around the newest frame, in rings that
  grow to hours, a day and a month; after a find, every reading searches again. Numbers that are not found are searched
  for more and more rarely: numbers of messages in quarantine look the same.

The feed leaves out what the engine would ignore, older times without newer numbers: late history, frames that another
gateway committed in between, and frames after a clock was set back on a device without numbers. It also leaves out
frames that are older by the device's clock than BIOGATE_ALARMS_CATCH_UP_S. For a device that it sees for the first
time, it begins with that device's newest frame. It may give a frame twice after a restart, which changes nothing.

Of phases, it gives the events of type `phase` newer than the last one; if it gave none yet, the newest event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg
import structlog

from gateway.alarms.watch import Watch
from gateway.runtime.database import Pool
from schema.alarms.engine import moment
from schema.alarms.timeline import Position

log = structlog.get_logger()

PIECE = 20
"""Frames of one device in one reading. A backlog is read in pieces of this size, for all devices alike."""
NEAR_S = 7200.0
"""Seconds. Devices whose newest frame is older have a query of their own, because it has to open older chunks."""
FAR_S, LIVELY_S = 2.0, 60.0
"""Seconds between two queries for far devices; and the time for which a far device that was heard is in every
reading."""
HEADS_S = 2.0
BESIDE_S = 60.0
"""After a clock was set back: seconds beyond the newest frame that are read, among frames evaluated before."""
RINGS_S = (120.0, 5400.0, 93_600.0, 32 * 86_400.0)
SEARCH_COST = (1, 2, 5, 10)
SEARCHES = 10
"""Cost of all searches that one reading may make."""
RING_AGAIN_S = 1.0
SEARCH_TIMEOUT_S = 2.0
REACHES_S = 600.0
"""Seconds after a find in which every reading searches near the newest frame."""
SEARCH_AGAIN_S = (2.0, 600.0)
AHEAD_S = 366 * 86_400.0

# The bounds $7 are constants to the planner, so that earlier chunks are not opened. Each device is read by its key from
# its own bound `since` on. What the engine would ignore is left out, or it would be read again and again.
NEWS = """
select f.device_id, f.time, f.layout_id, f.boot, f.seq, f.received_at, f.values, f.quality
  from unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[],
              $8::text[])
       as d (device_id, since, newest, until, boot, seq, layouts)
 cross join lateral (
       select * from frames f
        where f.device_id = d.device_id and f.time >= d.since and f.time >= $7 and f.time <= d.until
          and (f.time > d.newest and coalesce(f.boot >= d.boot, true) or (f.boot, f.seq) > (d.boot, d.seq)
               or f.time = d.newest and f.layout_id <> all (d.layouts::int[]))
        order by f.time limit $9) f"""
FIRST = """
select f.* from unnest($1::int[]) as d (device_id)
 cross join lateral (select * from frames f where f.device_id = d.device_id order by f.time desc limit 1) f"""
AROUND = """
select device_id, time, layout_id, boot, seq, received_at, values, quality from frames
 where device_id = $1 and time >= $2 and time <= $3 and (boot, seq) > ($4::bigint, $5::bigint)
 order by received_at, boot, seq limit $6"""
HEADS = """
select d.device_id, s.boot, s.seq
  from unnest($1::int[]) as d (device_id)
 cross join lateral (
       select boot, upper(received) - 1 as seq from device_streams s
        where s.device_id = d.device_id and not isempty(received) order by boot desc limit 1) s"""
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


class FeedReading(NamedTuple):
    first: list[asyncpg.Record]
    """The newest frames of devices that the feed sees for the first time."""
    frames: dict[int, list[asyncpg.Record]]
    """Frames by device_id, in the order of receipt."""
    phases: dict[int, list[asyncpg.Record]]
    complete: list[Watch]
    """Devices of which everything was read."""
    more: list[Watch]
    """Devices of which more can be read. (Some are not asked for at each reading.)"""


@dataclass(slots=True)
class Search:
    """The state of a search for frames of one device with newer numbers and older times."""

    head: tuple[int, int] = (-1, -1)
    """(boot, seq) of the newest frame that is known to be stored."""
    ring: int = 0
    due: float = 0.0
    wait: float = SEARCH_AGAIN_S[0]


class FrameFeed:
    def __init__(self, pool: Pool, catch_up_s: float) -> None:
        self._pool = pool
        self._catch_up_s = catch_up_s
        self.layouts: dict[int, Sequence[str]] = {}
        """Names of a layout's channels by layout_id."""
        self._searches: defaultdict[int, Search] = defaultdict(Search)
        self._reach: dict[int, tuple[float, float]] = {}
        """By device_id: how many seconds before the newest frame every reading begins, and until when it does so."""
        self._far_due = self._heads_due = 0.0

    def begins_at(self, position: Position, now: float) -> float:
        """The device's time, in s since 1970, before which its frames are not evaluated any more."""
        return now - (position.received - position.time) - self._catch_up_s

    async def read(self, watches: Sequence[Watch], now: float) -> FeedReading:
        """Read what is new for `watches`. `now` is the database's clock, in s since 1970, read before."""
        first = await self._first([watch for watch in watches if watch.is_new])
        phases = await self._phases(watches)
        frames: dict[int, list[asyncpg.Record]] = {}
        complete: list[Watch] = []
        more: list[Watch] = []
        for lane in self._lanes([watch for watch in watches if not watch.is_new], now):
            for row in await self._news(lane, now):
                frames.setdefault(row["device_id"], []).append(row)
            for watch in lane:
                rows = frames.get(watch.device.device_id, [])
                if self._may_lack(watch, rows, now):
                    del frames[watch.device.device_id]
                    more.append(watch)
                else:
                    (complete if len(rows) < PIECE else more).append(watch)
        for rows in frames.values():
            rows.sort(key=receipt)
        await self._learn_layouts([*first, *(row for rows in frames.values() for row in rows)])
        for watch in watches:
            watch.is_new = False
        return FeedReading(first, frames, phases, complete, more)

    async def heads(self, watches: Iterable[Watch], now: float) -> None:
        """Read up to which number the frames of `watches` are stored. Call it before `read`."""
        if now < self._heads_due:
            return
        self._heads_due = now + HEADS_S
        numbered = [watch.device.device_id for watch in watches if _is_numbered(watch.engine.position)]
        for device_id, boot, seq in await self._pool.fetch(HEADS, numbered):
            search = self._searches[device_id]
            if (boot, seq) != search.head:
                search.head, search.ring = (boot, seq), 0

    async def search(self, watches: Iterable[Watch], now: float) -> dict[int, list[asyncpg.Record]]:
        """Search for stored frames that `read` could not find by their times. Call it after those of `read` were
        evaluated. It searches for some devices at a time."""
        found: dict[int, list[asyncpg.Record]] = {}
        left = SEARCHES
        for watch in watches:
            device_id, position = watch.device.device_id, watch.engine.position
            search = self._searches.get(device_id)
            if search is None or position is None or position.boot is None or position.seq is None:
                continue
            if search.head <= (position.boot, position.seq) or search.ring == len(RINGS_S) or now < search.due:
                continue
            left -= SEARCH_COST[search.ring]
            if left < 0:
                break
            rows = await self._around(device_id, position, RINGS_S[search.ring])
            if rows:
                found[device_id] = rows
                search.wait, search.ring = SEARCH_AGAIN_S[0], 0
                if position.time - min(row["time"].timestamp() for row in rows) <= RINGS_S[0]:
                    self._reach[device_id] = RINGS_S[0], now + REACHES_S
                continue
            search.ring += 1
            search.due = now + RING_AGAIN_S
            if search.ring == len(RINGS_S):  # waits for a newer head, and then for search.wait
                search.due, search.wait = now + search.wait, min(2 * search.wait, SEARCH_AGAIN_S[1])
        await self._learn_layouts(row for rows in found.values() for row in rows)
        return found

    # -- frames

    def _lanes(self, watches: Sequence[Watch], now: float) -> list[list[Watch]]:
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

    async def _news(self, lane: Sequence[Watch], now: float) -> list[asyncpg.Record]:
        ids, since, newest, until, boots, seqs, layouts = [], [], [], [], [], [], []
        for watch in lane:
            ids.append(watch.device.device_id)
            position = watch.engine.position
            if position is None:
                begin = high = now - self._catch_up_s
                end, boot, seq = now + AHEAD_S, None, None
            else:
                _, _, boot, seq, set_back_from = position
                begin = max(position.time, self.begins_at(position, now))
                high, end = begin, now + AHEAD_S
                if set_back_from > position.time and _is_numbered(position):
                    high, end = set_back_from, begin + BESIDE_S
                reach, expires = self._reach.get(watch.device.device_id, (0.0, 0.0))
                begin -= reach if now < expires else 0.0
            since.append(moment(begin))
            newest.append(moment(high))
            until.append(moment(end))
            boots.append(boot)
            seqs.append(seq)
            layouts.append("{" + ",".join(map(str, watch.layouts)) + "}")
        return list(await self._pool.fetch(NEWS, ids, since, newest, until, boots, seqs, min(since), layouts, PIECE))

    def _may_lack(self, watch: Watch, rows: Sequence[asyncpg.Record], now: float) -> bool:
        """Whether `rows` may be the tail of a block whose earlier rows are older than the newest frame. If so, the
        device is read again from further back, but only once: the numbers in between may be missing for good."""
        position, device_id = watch.engine.position, watch.device.device_id
        if not rows or position is None or position.seq is None or position.boot is None:
            return False
        newest = moment(position.time)
        _, expires = self._reach.get(device_id, (0.0, 0.0))
        if any(row["time"] < newest for row in rows):
            self._reach[device_id] = RINGS_S[0], now + REACHES_S
        if now < expires:
            return False
        parts = [row for row in rows if row["time"] == newest and row["seq"] is not None]
        if not any((row["boot"], row["seq"]) > (position.boot, position.seq + 1) for row in parts):
            return False
        self._reach[device_id] = RINGS_S[0], now + REACHES_S
        return True

    async def _first(self, watches: Sequence[Watch]) -> list[asyncpg.Record]:
        if not watches:
            return []
        return list(await self._pool.fetch(FIRST, [watch.device.device_id for watch in watches]))

    async def _around(self, device_id: int, position: Position, ring: float) -> list[asyncpg.Record]:
        begin, end = position.time - ring, position.time
        if position.set_back_from > end:  # the next frame may have any time, and _news does not look far
            end += ring
        bounds = moment(begin), moment(end), position.boot, position.seq
        try:
            return list(await self._pool.fetch(AROUND, device_id, *bounds, 10 * PIECE, timeout=SEARCH_TIMEOUT_S))
        except TimeoutError:
            log.warning("search for late frames took too long", device_id=device_id, seconds=ring)
            return []

    async def _learn_layouts(self, rows: Iterable[asyncpg.Record]) -> None:
        unknown = {row["layout_id"] for row in rows} - self.layouts.keys()
        if unknown:
            for layout_id, names in await self._pool.fetch(LAYOUTS, list(unknown)):
                self.layouts[layout_id] = tuple(names)

    # -- phases

    async def _phases(self, watches: Sequence[Watch]) -> dict[int, list[asyncpg.Record]]:
        followed = [watch for watch in watches if watch.follows_phases]
        rows: list[asyncpg.Record] = []
        if begun := [watch for watch in followed if watch.engine.phase_time]:
            since = [moment(watch.engine.phase_time) for watch in begun]
            rows += await self._pool.fetch(PHASES, _ids(begun), since, min(since), PIECE)
        if others := [watch for watch in followed if not watch.engine.phase_time]:
            rows += await self._pool.fetch(FIRST_PHASES, _ids(others))
        phases: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            phases.setdefault(row["device_id"], []).append(row)
        return phases


def _ids(watches: Collection[Watch]) -> list[int]:
    return [watch.device.device_id for watch in watches]


def _is_numbered(position: Position | None) -> bool:
    return position is not None and position.boot is not None and position.seq is not None


def receipt(row: asyncpg.Record) -> tuple[datetime, int, int, datetime, int]:
    boot, seq = row["boot"], row["seq"]
    return (
        row["received_at"],
        -1 if boot is None else boot,
        -1 if seq is None else seq,
        row["time"],
        row["layout_id"],
    )
