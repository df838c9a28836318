"""Tests of conditions that look back: rate of change, frozen value, gaps, skew of the clock.

A window is kept in at most 21 parts, so that neither a fast device nor a long window needs more memory. The sums are
exact; the begin of the window is exact to a twentieth of its length.
"""

from __future__ import annotations

from schema.alarms.rules import Frozen, RateOfChange, SequenceGap, Skew
from schema.alarms.snapshot import ConditionTest, Memory, Snapshot, in_words, towards

PARTS, SHORTEST = 20, 0.001


class RateTest(ConditionTest):
    """Tests the slope. A part of the window: [its number, samples, Σt, Σv, Σt², Σtv, first t, last t], t in s in it."""

    LARGEST = 1e100  # its square can still be summed

    def __init__(self, when: RateOfChange, stale_after: float, memory: Memory) -> None:
        super().__init__([when.channel], stale_after)
        self._when = when
        self._width = max(when.window / PARTS, SHORTEST)
        self._parts: list[list[float]] = [list(part) for part in memory.get("parts", [])]
        self._newest: float | None = memory.get("newest")
        self._closed = self._sum_of_closed()

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        when = self._when
        value = self._known(seen, when.channel)
        if value is None or abs(value) > self.LARGEST:
            self.value = None
            return None
        self._add(seen.values[when.channel].time, value)
        self.value = slope = self._slope()
        if slope is None:
            return None
        return towards(slope, when.direction) > (when.limit - when.deadband if active else when.limit)

    def _add(self, time: float, value: float) -> None:
        if time == self._newest:
            return
        if self._newest is not None and time < self._newest:  # the clock was set back
            self._parts.clear()
        self._newest = time
        number = time // self._width
        t = time - number * self._width
        if not self._parts or self._parts[-1][0] != number:
            self._parts = [part for part in self._parts if part[0] > number - PARTS - 1]
            self._parts.append([number, 0, 0.0, 0.0, 0.0, 0.0, t, t])
            self._closed = self._sum_of_closed()
        part = self._parts[-1]
        part[1] += 1
        part[2] += t
        part[3] += value
        part[4] += t * t
        part[5] += t * value
        part[7] = t

    def _sum_of_closed(self) -> tuple[float, float, float, float, float]:
        """n, Σt, Σv, Σt², Σtv of all parts but the last, with t in s since the begin of the last."""
        n = st = sv = stt = stv = 0.0
        for number, k, t, v, tt, tv, _, _ in self._parts[:-1]:
            d = (number - self._parts[-1][0]) * self._width
            n, st, sv = n + k, st + t + k * d, sv + v
            stt, stv = stt + tt + 2 * d * t + k * d * d, stv + tv + d * v
        return n, st, sv, stt, stv

    def _slope(self) -> float | None:
        """The slope by least squares, per minute; None until the samples span half of the window."""
        first, last = self._parts[0], self._parts[-1]
        if (last[0] - first[0]) * self._width + last[7] - first[6] < self._when.window / 2:
            return None
        n, st, sv, stt, stv = self._closed
        n, st, sv, stt, stv = n + last[1], st + last[2], sv + last[3], stt + last[4], stv + last[5]
        return 60 * (n * stv - st * sv) / (n * stt - st * st)

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        newest = seen.values[self._when.channel].value
        if newest is not None and abs(newest) > self.LARGEST:
            return f"{in_words(newest)} is beyond {self.LARGEST:g}"
        if outcome is None:
            return f"too few values of {self._when.channel} within {in_words(self._when.window)} s"
        limit = self._when.limit if outcome else self._when.limit - self._when.deadband
        return f"{in_words(self.value)} a minute, {'more' if outcome else 'not more'} than {in_words(limit)}"

    def memory(self) -> Memory:
        return {"parts": [list(part) for part in self._parts], "newest": self._newest}


class FrozenTest(ConditionTest):
    """Tests for how long the value has not moved. A gap for which the value was not known begins anew."""

    def __init__(self, when: Frozen, stale_after: float, memory: Memory) -> None:
        super().__init__([when.channel], stale_after)
        self._when = when
        self._since: float | None = memory.get("since")
        self._newest: float = memory.get("newest", 0.0)
        self._low: float = memory.get("low", 0.0)
        self._high: float = memory.get("high", 0.0)

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        self.value = value = self._known(seen, self._when.channel)
        if value is None:
            return None
        time = seen.values[self._when.channel].time
        low, high = min(self._low, value), max(self._high, value)
        gap = time - self._newest
        if self._since is None or high - low > self._when.tolerance or not 0 <= gap <= self.longest_gap(seen):
            self._since, self._low, self._high = time, value, value
        else:
            self._low, self._high = low, high
        self._newest = time
        return time - self._since >= self._when.after

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        if not outcome or self._since is None:
            return f"{in_words(self.value)}: the value moves"
        return f"{in_words(self.value)} for {self._newest - self._since:.0f} s"

    def memory(self) -> Memory:
        return {"since": self._since, "newest": self._newest, "low": self._low, "high": self._high}


class GapTest(ConditionTest):
    """Counts missing frames. A part of the window: [its number, the time of its last gap, missing numbers].

    Numbers that come later count as missing all the same. Without a sequence the condition is unknown."""

    def __init__(self, when: SequenceGap, memory: Memory) -> None:
        super().__init__()
        self._when = when
        self._width = max(when.window / PARTS, SHORTEST)
        self._boot: int | None = memory.get("boot")
        self._seq: int | None = memory.get("seq")
        self._parts: list[list[float]] = [list(part) for part in memory.get("parts", [])]

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        if seen.seq is None:
            self.value = None
            return None
        if seen.seq != self._seq or seen.boot != self._boot:
            self._count(seen.time, seen.boot, seen.seq)
        while self._parts and not seen.time - self._when.window < self._parts[0][1] <= seen.time:
            del self._parts[0]  # out of the window, or from before the clock was set back
        self.value = sum(part[2] for part in self._parts)
        return self.value >= self._when.frames

    def _count(self, time: float, boot: int | None, seq: int) -> None:
        missing = 0
        if self._seq is not None and boot == self._boot:
            missing = seq - self._seq - 1
        elif self._seq is not None and not (boot or 0) < (self._boot or 0):  # if they went back nobody can tell
            missing = seq  # a new boot counts from 0
        self._boot, self._seq = boot, seq
        if missing <= 0:
            return
        number = time // self._width
        if self._parts and self._parts[-1][0] == number:
            self._parts[-1][1:] = [time, self._parts[-1][2] + missing]
        else:
            self._parts.append([number, time, missing])

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        if outcome is None:
            return "the device does not number its frames"
        return f"{in_words(self.value)} frames missing within {in_words(self._when.window)} s"

    def memory(self) -> Memory:
        return {"boot": self._boot, "seq": self._seq, "parts": [list(part) for part in self._parts]}


class SkewTest(ConditionTest):
    """Tests the clock by the best of each 10 s of receipt, for a minute: [their number, received − time]."""

    WIDTH, KEPT = 10.0, 6

    def __init__(self, when: Skew, memory: Memory) -> None:
        super().__init__()
        self._limit = when.limit
        self._parts: list[list[float]] = [list(part) for part in memory.get("parts", [])]

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        if not seen.is_estimate:
            self._add(seen.received, seen.received - seen.time)
        if not self._parts:
            self.value = None
            return None
        self.value = min((difference for _, difference in self._parts), key=abs)
        return abs(self.value) > self._limit

    def _add(self, received: float, difference: float) -> None:
        number = received // self.WIDTH
        if not self._parts or self._parts[-1][0] != number:
            self._parts = [part for part in self._parts if number - self.KEPT < part[0] < number]
            self._parts.append([number, difference])
        elif abs(difference) < abs(self._parts[-1][1]):
            self._parts[-1][1] = difference

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        if self.value is None:
            return ""
        return f"the device's clock is {abs(self.value):.1f} s {'behind' if self.value > 0 else 'ahead'}"

    def memory(self) -> Memory:
        return {"parts": [list(part) for part in self._parts]}
