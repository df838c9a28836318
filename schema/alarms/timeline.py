"""Decides which of a device's frames is the newest, and keeps what is known then. Pure.

Newest is what came last and is not history. Numbers (boot, seq) decide nothing about it: a counter that was reset, or a
board that was swapped, changes neither time nor receipt. A frame, in the order of receipt, is

* **newest**, if its time is greater than all before. If it came more than 30 s later than is usual for the device
  (lateness.py), it is a backlog: its values are taken, but it says nothing of now;
* **a part of the newest**, if it has the same time: channels that had not come are taken;
* **older**: only those of its channels are taken whose known value is older still, as of a block of other channels.
  The rest is history, unless the device's **clock was set back**: at once, if its number follows the newest one and it
  is older by more than 30 s; else when a minute has brought no newer frame, and the frames come no less late. Then all
  times in memory move along with the clock, and frames received before that have no say any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, NamedTuple

from schema.alarms.lateness import LATE, SETTLED, Lag, Lateness
from schema.alarms.snapshot import LARGEST, Snapshot, Value, usual, usual_times
from schema.messages import BAD

TOLERANCE = 1e-6
"""Seconds. Times are exact to a microsecond."""


@dataclass(frozen=True, slots=True)
class CommittedFrame:
    """A frame as it was committed. Times are in s since 1970."""

    time: float
    received: float
    boot: int | None
    seq: int | None
    values: Sequence[tuple[str, float | None, int]]
    """(channel, value, quality) of the channels that were sent."""


class Position(NamedTuple):
    """The position of a device's evaluation: its newest frame. Times are in s since 1970."""

    time: float
    received: float
    before_set_back: float
    """The greatest time that the clock showed before it was set back; 0 if it never was."""


class Taken(NamedTuple):
    """What a frame has changed."""

    is_news: bool
    """Whether rules are to be evaluated."""
    is_late: bool = False
    """Whether the frame is of a backlog."""
    moved: float = 0.0
    """Seconds by which the times in memory moved, because the clock was set back."""


BEGUN = ("time", "received", "heard", "now", "boot", "seq", "period")
"""What is remembered of a snapshot."""
NOTHING = Taken(is_news=False)


class Timeline:
    """The newest frame of a device, the newest value of each of the channels `used`, and its clock. `live=False` takes
    every frame as news: for stored frames, in order of time."""

    def __init__(self, used: Collection[str], memory: Mapping[str, Any], *, live: bool) -> None:
        self._used, self._live = used, live
        self._lag = Lag(memory.get("lag"))
        self._before_set_back: float
        self.set_back_at: float
        """When the device's clock was found to be set back last; 0 if it never was."""
        self._before_set_back, self.set_back_at = memory.get("set_back", (0.0, 0.0))
        self.seen = Snapshot(**memory.get("seen", {}))
        self.seen.values = {
            channel: Value(*value) for channel, value in memory.get("values", {}).items() if channel in used
        }
        self.has_begun = bool(memory.get("seen"))
        self._waiting_since: float | None = memory.get("waiting_since")
        self.numbers_back_at: float = memory.get("numbers_back_at", 0.0)
        """When the device's numbers went back last, though the frame was newer; 0 if they never did."""

    @property
    def position(self) -> Position | None:
        seen = self.seen
        return Position(seen.time, seen.received, self._before_set_back) if self.has_begun else None

    @property
    def late_for(self) -> float:
        """Seconds for which all frames have been late; 0 if the newest frame was in time."""
        since = self._lag.late_since
        return 0.0 if since is None else self.seen.heard - since

    def waits_since(self, now: float) -> float:
        """Since when there was no newer frame, by the clock of `now`. A device that has never sent is waited for since
        this was asked first."""
        if self.has_begun:
            return self.seen.received if self._live else self.seen.heard
        if self._waiting_since is None:
            self._waiting_since = now
        return self._waiting_since

    def is_newer(self, frame: CommittedFrame) -> bool:
        """Whether the frame, which is not taken yet, will be the newest."""
        is_from_before = self._live and self._is_from_before(frame, follows=self._follows(frame))
        return self.has_begun and frame.time > self.seen.time and not is_from_before

    def take(self, frame: CommittedFrame) -> Taken:
        """Take a frame, in the order of receipt."""
        seen, time = self.seen, frame.time
        is_first, moved = not self.has_begun, 0.0
        follows = self._follows(frame)
        if self._live and not is_first:
            if self._is_from_before(frame, follows=follows):
                return NOTHING
            if time < seen.time and self._is_set_back(frame, follows=follows):
                moved = self._set_back(frame)
        is_newest = is_first or time > seen.time
        is_part = time == seen.time
        took = self._take_values(frame)
        heard = frame.received if self._live else time
        if is_first or heard > seen.heard:
            seen.heard = heard
        if not (is_newest or took or follows):
            return NOTHING
        if is_newest or follows:
            if self._goes_back(frame):
                self.numbers_back_at = frame.received
            seen.boot, seen.seq = frame.boot, frame.seq
        if is_newest:
            if frame.received > seen.received > 0:
                seen.period = usual(seen.period, frame.received - seen.received)
            seen.time, seen.received = time, frame.received
        seen.now, self.has_begun = seen.heard, True
        is_judged = self._live and (is_newest or is_part) and not moved
        is_late = is_judged and self._lag.judge(time, frame.received) is Lateness.LATE
        return Taken(is_news=True, is_late=is_late, moved=moved)

    def later(self, now: float) -> tuple[float, Snapshot]:
        """What the device's clock must show at `now`, and the snapshot then. A frame may be under way for LATE seconds,
        and values count as stale only if they would be so even then; else a device that sends once a minute would be
        unknown for a moment before each frame."""
        seen, waits_since = self.seen, self.waits_since(now)
        grace = max(LATE, usual_times(seen.period)) if self._live else 0.0
        if not self.has_begun:
            return now, Snapshot(time=now, heard=waits_since, now=now, is_estimate=True)
        time = seen.time + (now - waits_since)
        later = replace(seen, time=max(time - grace, seen.time), now=now, is_estimate=True)
        return time, later

    def memory(self) -> dict[str, Any]:
        seen = self.seen
        memory: dict[str, Any] = {
            "lag": self._lag.memory(),
            "waiting_since": self._waiting_since,
            "set_back": [self._before_set_back, self.set_back_at],
            "numbers_back_at": self.numbers_back_at,
            "values": {channel: list(astuple(value)) for channel, value in seen.values.items()},
        }
        if self.has_begun:
            memory["seen"] = {name: getattr(seen, name) for name in BEGUN}
        return memory

    def _follows(self, frame: CommittedFrame) -> bool:
        """Whether the frame follows the newest one by its number, which a clock that is set does not change."""
        seen = self.seen
        if frame.boot is None or frame.seq is None or seen.boot is None or seen.seq is None:
            return False
        return (frame.boot, frame.seq) > (seen.boot, seen.seq)

    def _goes_back(self, frame: CommittedFrame) -> bool:
        """Whether the frame has a lower number than the newest one, though it came later and is newer."""
        seen = self.seen
        if frame.boot is None or frame.seq is None or seen.boot is None or seen.seq is None:
            return False
        return (frame.boot, frame.seq) < (seen.boot, seen.seq)

    def _is_from_before(self, frame: CommittedFrame, *, follows: bool) -> bool:
        """Whether the frame was measured before the clock was set back: it was received before that, or its number is
        lower and the clock was ahead. Such a frame counts all the same if nothing else has come for a minute."""
        received = frame.received
        if frame.time <= self._before_set_back and received <= self.set_back_at:
            return received < self.set_back_at or not follows
        since = received - self.seen.received
        return since < SETTLED and self._goes_back(frame) and frame.time > self.seen.time + since + LATE

    def _is_set_back(self, frame: CommittedFrame, *, follows: bool) -> bool:
        """Whether an older frame shows that the clock was set back."""
        values, time = self.seen.values, frame.time
        known = [values.get(channel) for channel, _, _ in frame.values if channel in self._used]
        if follows and time < self.seen.time - LATE and any(value and value.time > time for value in known):
            return True
        if frame.received <= self.seen.heard or any(value is None or value.time < time for value in known):
            return False
        return self._lag.judge(time, frame.received) is Lateness.SETTLED

    def _set_back(self, frame: CommittedFrame) -> float:
        seen = self.seen
        step = frame.time - seen.time - TOLERANCE  # now older than this frame, so that its values are news
        self._before_set_back = max(self._before_set_back, seen.time)
        self.set_back_at = frame.received
        for value in seen.values.values():
            if value.time > frame.time:
                value.time += step
        seen.time += step
        self._lag.take(frame.time, frame.received)
        return step

    def _take_values(self, frame: CommittedFrame) -> bool:
        """Take the frame's values; return whether any was new. The first value of a channel at one time stays."""
        values, time, took = self.seen.values, frame.time, False
        for channel, value, quality in frame.values:
            if channel not in self._used:
                continue
            newest = values.get(channel)
            if newest is None:
                newest = values[channel] = Value(time, None, BAD)
            elif newest.time >= time:
                continue
            else:
                newest.period_before, newest.time_before = newest.period, newest.time
                newest.period = usual(newest.period, time - newest.time)
            is_number = value is not None and -LARGEST <= value <= LARGEST  # NaN is not
            newest.time = time
            newest.value = value if is_number else None
            newest.quality = quality
            took = True
        return took
