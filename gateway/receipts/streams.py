"""Keeps account of the seqs that have arrived of each boot of a device; PostgreSQL does the set arithmetic.

The invariant of receipts: every seq that a receipt covers is the number of a stored frame, of a message that the
quarantine has or that a person has discarded from there, or is in `lost`. What the quarantine had no room for is none
of these: it stays a hole, the device keeps the frame and is asked for it, until there is room or the device gives up.

Seqs of settled items are collected and merged at an interval, after the commit. Seqs that were not merged when the
gateway died show as holes at the next start: the device is asked for them, and its frames come as duplicates.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import islice
from typing import NamedTuple

import asyncpg

from gateway import metrics
from gateway.items import Item, NumberedFrames, by_type
from gateway.receipts.holes import SeqRange, Stream
from gateway.runtime.database import Pool

MOST_RANGES = 256
"""Ranges kept for a boot of a device. The newest beyond them are left out, so that the device is asked for them."""
MOST_HOLES = 64
"""Holes of a boot that are looked at together, the oldest first."""
MOST_AHEAD = 10_000_000
"""How far above all that has arrived of a boot frames can be given up. Whoever names a greater seq has a fault in a
counter: nothing is lost by it, or no frame that is missing in this boot would ever be asked for again."""
OPEN_BOOTS = 8
"""Newest boots of a device that have receipts and backfill, beside those of which something has just arrived: after a
board was swapped these may be older."""

# A receipt ends with what has arrived, whatever is lost: the device forgets nothing of what it has still to send.
# A range takes 16 bytes or more: a small multirange has few. Counting its ranges would be most of the work.
MERGE = """
with given as materialized (
    select device_id, boot, seqs::int8multirange as seqs
      from unnest($1::int[], $2::bigint[], $3::text[]) as g (device_id, boot, seqs)
), merged as (
    insert into device_streams as s (device_id, boot, received)
    select device_id, boot, case when pg_column_size(seqs) > 16 * $4 then oldest_ranges(seqs, $4) else seqs end
      from given order by device_id, boot
    on conflict (device_id, boot) do update
       set received = case when pg_column_size(s.received + excluded.received) > 16 * $4
                           then oldest_ranges(s.received + excluded.received, $4)
                           else s.received + excluded.received end,
           changed_at = now()
    returning device_id, boot, received
)
select count(*) from merged join given using (device_id, boot) where not received @> seqs"""
STATES = """
select s.device_id, d.name, s.boot,
       (select least(upper(r), upper(s.received)) - 1 from unnest(s.received + s.lost) r
         where r @> 0::bigint and not isempty(s.received)) as receipt,
       case when isempty(s.received) then '{}'
            else array(select array[lower(h), upper(h) - 1]
                         from unnest(int8multirange(int8range(0, upper(s.received))) - s.received - s.lost) h
                        order by h limit $3) end as holes
  from unnest($1::int[]) as w (device_id)
  join devices d using (device_id)
  cross join lateral (
        (select * from device_streams s where s.device_id = w.device_id order by s.boot desc limit $2)
        union
        select s.* from device_streams s
          join unnest($4::int[], $5::bigint[]) as n (device_id, boot) using (device_id, boot)
         where s.device_id = w.device_id) s
 order by s.device_id, s.boot"""
RECENT = "select device_id, boot from device_streams where changed_at > now() - interval '1 day'"


class StreamState(NamedTuple):
    """The seq up to which a boot of a device is complete (None: not even its first frame is there), and its holes."""

    stream: Stream
    device: str
    receipt: int | None
    holes: list[SeqRange]


class Streams:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: defaultdict[Stream, list[SeqRange]] = defaultdict(list)
        self._touched: set[int] = set()
        self._returned: set[int] = set()

    def note(self, items: Sequence[Item], unkept: Sequence[NumberedFrames] = ()) -> None:
        """Note settled items but for frames `unkept`. Called for each batch, between commit and acknowledgement."""
        frames, statuses, _, given_up, _, rejects = by_type(items)
        noted = defaultdict(list) if unkept else self._noted
        for frame in frames:
            seq = frame.seq
            if seq is not None and frame.boot is not None:
                ranges = noted[frame.route.device.device_id, frame.boot]
                if ranges and ranges[-1][1] == seq - 1:  # nearly always
                    ranges[-1] = ranges[-1][0], seq
                else:
                    ranges.append((seq, seq))
        for reject in rejects:
            if reject.numbers is not None:
                device, boot, first, last = reject.numbers
                noted[device.device_id, boot].append((first, last))
        if unkept:
            gone: defaultdict[Stream, list[SeqRange]] = defaultdict(list)
            for device, boot, first, last in unkept:
                gone[device.device_id, boot].append((first, last))
            for stream, ranges in noted.items():
                if kept := without(ranges, gone[stream]):
                    self._noted[stream] += kept
        routes = [*(lost.route for lost in given_up), *(status.route for status in statuses)]
        self._touched.update(route.device.device_id for route in routes)  # lost frames count as settled too
        self._returned.update(status.route.device.device_id for status in statuses if status.online)

    def returned(self) -> set[int]:
        """Devices that came online since the last call."""
        returned, self._returned = self._returned, set()
        return returned

    def look_again(self, device_ids: Collection[int]) -> None:
        """Have the next `merge` return the states of these devices too."""
        self._touched.update(device_ids)

    @property
    def waiting(self) -> int:
        """The number of streams with seqs that are noted and not merged."""
        return len(self._noted)

    async def merge(self, most: int | None = None) -> list[StreamState]:
        """Merge noted seqs of the `most` streams that wait longest; return the states of their devices."""
        noted = {stream: self._noted.pop(stream) for stream in [*islice(self._noted, most)]}
        touched, self._touched = self._touched | {device_id for device_id, _ in noted}, set()
        try:
            if noted:
                overflowed = await self._pool.fetchval(
                    MERGE,
                    *_columns(noted),
                    [multirange(ranges) for ranges in noted.values()],
                    MOST_RANGES,
                )
                metrics.STREAMS_OVERFLOWED.inc(overflowed)
            return await self.states(touched, noted)
        except BaseException:  # the seqs stay noted
            for stream, ranges in noted.items():
                self._noted[stream] += ranges
            self._touched |= touched
            raise

    async def states(self, device_ids: Collection[int], streams: Collection[Stream] = ()) -> list[StreamState]:
        """The states of the OPEN_BOOTS newest boots of these devices, and of those of `streams` that are theirs."""
        if not device_ids:
            return []
        rows = await self._pool.fetch(STATES, list(device_ids), OPEN_BOOTS, MOST_HOLES, *_columns(streams))
        return [
            StreamState((row["device_id"], row["boot"]), row["name"], row["receipt"], [(a, b) for a, b in row["holes"]])
            for row in rows
        ]

    async def recent(self) -> list[StreamState]:
        """The states of all devices with data of the last day: at the start, and after a broker lost its receipts."""
        streams = [(row["device_id"], row["boot"]) for row in await self._pool.fetch(RECENT)]
        return await self.states({device_id for device_id, _ in streams}, streams)


def _columns(streams: Collection[Stream]) -> tuple[list[int], list[int]]:
    return [device_id for device_id, _ in streams], [boot for _, boot in streams]


class NewlyLost(NamedTuple):
    """What became of ranges that were given up."""

    frames: int
    """How many frames are lost for the first time."""
    unbelieved: list[int]
    """Ids of the devices with a range that ends more than MOST_AHEAD above all that has arrived of its boot."""


async def add_lost(connection: asyncpg.Connection, lost: Sequence[tuple[int, int, int, int]]) -> NewlyLost:
    """Store ranges (device id, boot, first, last) as lost, but for those that are not believed."""
    row = await connection.fetchrow(
        """with given as (
               select g.device_id, g.boot, int8range(g.first, g.last, '[]') as range,
                      g.last < coalesce(upper(s.received), 0) + $6 as believed
                 from unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) as g (device_id, boot, first, last)
                 left join device_streams s using (device_id, boot)
           ), believed as (
               select device_id, boot, range_agg(range) as ranges from given where believed
                group by device_id, boot order by device_id, boot
           ), news as (
               select b.ranges - coalesce(s.lost, '{}') - coalesce(s.received, '{}') as ranges
                 from believed b left join device_streams s using (device_id, boot)
           ), merged as (
               insert into device_streams as s (device_id, boot, lost)
               select device_id, boot, oldest_ranges(ranges, $5) from believed
               on conflict (device_id, boot) do update
                  set lost = oldest_ranges(s.lost + (excluded.lost - s.received), $5), changed_at = now()
           )
           select (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from news, unnest(ranges) r) as frames,
                  array(select distinct device_id from given where not believed) as unbelieved""",
        *(list(column) for column in zip(*lost, strict=True)),
        MOST_RANGES,
        MOST_AHEAD,
    )
    return NewlyLost(row["frames"], row["unbelieved"])


def multirange(ranges: Sequence[SeqRange]) -> str:
    """The text of an int8multirange of these ranges."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in join(ranges)) + "}"


def join(ranges: Sequence[SeqRange]) -> list[SeqRange]:
    """The same seqs in ascending ranges that neither overlap nor touch."""
    joined: list[SeqRange] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def without(ranges: Sequence[SeqRange], gone: Sequence[SeqRange]) -> list[SeqRange]:
    """The seqs of `ranges` that are not in `gone`."""
    cuts, kept = join(gone), []
    firsts = [first for first, _ in cuts]
    for first, last in ranges:
        for cut_first, cut_last in cuts[max(bisect_right(firsts, first) - 1, 0) : bisect_right(firsts, last)]:
            if first < cut_first:
                kept.append((first, cut_first - 1))
            first = max(first, cut_last + 1)  # noqa: PLW2901 - the rest, behind the cut
        if first <= last:
            kept.append((first, last))
    return kept
