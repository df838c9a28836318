"""Decides which holes in a stream to ask for, and when. Pure: time is an argument, in seconds.

A hole is declared once it is older than the reorder window: until then its frames may be late. The device is asked for
a declared hole, and again after a time that doubles, until it is filled or the device says that it cannot be.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SeqRange = tuple[int, int]
"""First and last seq, both included."""
Stream = tuple[int, int]
"""Device id and boot."""

LONGEST_RETRY_S = 3600.0
MOST_COUNTED = 10_000_000
"""Frames that a hole counts at most: one seq that is far off, by a fault in a counter, would hide all other holes."""


@dataclass
class Hole:
    first: int
    last: int
    declare_at: float
    ask_at: float
    asked: int = 0

    @property
    def frames(self) -> int:
        return self.last - self.first + 1


class Holes:
    def __init__(self, reorder_window_s: float, retry_s: float) -> None:
        self._window_s = reorder_window_s
        self._retry_s = retry_s
        self._streams: dict[Stream, list[Hole]] = {}

    def update(self, stream: Stream, ranges: Sequence[SeqRange], now: float) -> None:
        """Replace the stream's holes by `ranges`, in ascending order.

        A hole that overlaps old holes takes the age and the next asking time of the oldest of them.
        """
        old = self._streams.pop(stream, [])
        new = []
        for first, last in ranges:
            parents = [hole for hole in old if hole.first <= last and first <= hole.last]
            if parents:
                eldest = min(parents, key=lambda hole: hole.declare_at)
                new.append(Hole(first, last, eldest.declare_at, eldest.ask_at, eldest.asked))
            else:
                new.append(Hole(first, last, now + self._window_s, now + self._window_s))
        if new:
            self._streams[stream] = new

    def ask_again(self, device_id: int, now: float) -> None:
        """Ask a device that came back, without delay, for every hole that it was asked for in vain."""
        for (of, _), holes in self._streams.items():
            if of == device_id:
                for hole in holes:
                    if hole.asked:
                        hole.ask_at, hole.asked = now, 0

    def waiting(self, now: float, most_streams: int) -> list[Stream]:
        """At most `most_streams` streams with holes to ask for now. Streams that have waited longest come first, or a
        few that always have new holes would starve the others."""
        waiting = [(min(hole.ask_at for hole in holes), stream) for stream, holes in self._streams.items()]
        return [stream for _, stream in heapq.nsmallest(most_streams, (pair for pair in waiting if pair[0] <= now))]

    def due(self, now: float, most_streams: int, most_frames: int) -> Iterator[tuple[Stream, list[SeqRange]]]:
        """Yield ranges to ask for now, which count as asked for: `most_frames` a stream at most, lowest seqs first."""
        for stream in self.waiting(now, most_streams):
            room, ranges, holes = most_frames, [], self._streams[stream]
            for hole in holes:
                if hole.ask_at > now or room <= 0:
                    continue
                last = min(hole.last, hole.first + room - 1)
                ranges.append((hole.first, last))
                room -= last - hole.first + 1
                hole.ask_at = now + min(self._retry_s * 2.0 ** min(hole.asked, 20), LONGEST_RETRY_S)
                hole.asked += 1
            yield stream, ranges

    def declared(self, now: float) -> tuple[int, int]:
        """The number of declared holes, and of the frames in them, of each at most MOST_COUNTED."""
        holes = [hole for holes in self._streams.values() for hole in holes if hole.declare_at <= now]
        return len(holes), sum(min(hole.frames, MOST_COUNTED) for hole in holes)

    @property
    def streams(self) -> list[Stream]:
        """The streams that have holes."""
        return [*self._streams]

    def oldest_s(self, now: float) -> float:
        """Seconds for which the oldest declared hole is known; 0 if no hole is declared."""
        known = (hole.declare_at for holes in self._streams.values() for hole in holes if hole.declare_at <= now)
        return max((now - at + self._window_s for at in known), default=0.0)
