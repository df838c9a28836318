"""Holds what is known of a device when its rules are evaluated, and the base of the tests that read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schema.alarms.intake import WELL, Intake
from schema.messages import GOOD, UNCERTAIN

TIMES, MOST, FIRST_PERIOD = 3, 1800.0, 30.0
"""A value is not stale before TIMES of the usual intervals of its channel, or MOST seconds. The first interval counts
for FIRST_PERIOD seconds at most."""
LARGEST = 1e300
"""A greater value counts as none: so differences stay finite, and can be written as JSON."""
Memory = dict[str, Any]
"""A test's memory as JSON: numbers, null, lists."""


@dataclass(slots=True)
class Value:
    """The newest value of a channel; a null `value` or a `quality` other than good and uncertain is bad. A value that
    cannot be compared is null, too."""

    time: float
    """The device's time, s since 1970."""
    value: float | None
    quality: int
    period: float = 0.0
    """The usual time between two values, s; 0 if it is not known yet."""
    period_before: float = 0.0
    """What was usual before this value came."""
    time_before: float = 0.0
    """The time of the value before it."""


@dataclass(slots=True)
class Snapshot:
    """The state of a device at a moment: each frame changes it in place, all rules read it. Times in s since 1970."""

    time: float = 0.0
    """The device's time of the newest frame; between frames, what its clock must show by now."""
    received: float = 0.0
    """When the gateway received that frame."""
    heard: float = 0.0
    """When the device last sent a frame, by the clock of `now`."""
    now: float = 0.0
    """The evaluator's clock; while a frame is evaluated, the time of its receipt."""
    intake: Intake = WELL
    is_estimate: bool = False
    """Whether no frame came: `time` is what the device's clock must show."""
    boot: int | None = None
    seq: int | None = None
    phase: str | None = None
    period: float = 0.0
    """The usual time between the receipts of newer frames, s."""
    values: dict[str, Value] = field(default_factory=dict)


class ConditionTest:
    """The base of the tests of conditions: each tests one rule on one device. Its memory outlives the process."""

    value: float | None = None
    """The value that it compared last, for people."""
    marks_uncertain = True
    """Whether its words tell which channels are uncertain."""

    def __init__(self, channels: Iterable[str] = (), stale_after: float = 0.0) -> None:
        self.channels = frozenset(channels)
        """The channels that it reads."""
        self._stale_after = stale_after

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        """Evaluate after a new frame, or as time passes; None for unknown. `active` says whether the condition holds
        already (for deadbands and `clear`). The same snapshot gives the same result."""
        raise NotImplementedError

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        """Describe for people what the step with this outcome compared, or why it is unknown."""
        if outcome is None and (unknown := self._why_unknown(seen)):
            return unknown
        values = [(channel, seen.values.get(channel)) for channel in sorted(self.channels) if self.marks_uncertain]
        uncertain = [channel for channel, value in values if value is not None and value.quality == UNCERTAIN]
        return self._compared(seen, outcome) + (f" ({', '.join(uncertain)}: uncertain)" if uncertain else "")

    def longest_gap(self, seen: Snapshot) -> float:
        """Seconds before the newest values for which those before them were known."""
        values = (seen.values.get(channel) for channel in self.channels)
        return max([self._stale_after, *(usual_times(value.period_before) for value in values if value is not None)])

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        raise NotImplementedError

    def memory(self) -> Memory:
        return {}

    def _known(self, seen: Snapshot, channel: str) -> float | None:
        """The newest value of a channel, if it is good or uncertain and not stale; else None. It is stale when it is
        older than `stale_after`, and than three of the channel's usual intervals."""
        newest = seen.values.get(channel)
        if newest is None or (newest.quality and newest.quality != UNCERTAIN) or self._is_stale(seen, newest):
            return None
        return newest.value

    def _is_stale(self, seen: Snapshot, newest: Value) -> bool:
        age = seen.time - newest.time
        return age > self._stale_after and age > usual_times(newest.period)

    def _why_unknown(self, seen: Snapshot) -> str:
        for channel in sorted(self.channels):
            newest = seen.values.get(channel)
            if newest is None:
                return f"{channel} has not come since the rule is evaluated"
            if self._is_stale(seen, newest):
                return f"{channel} has not come for {seen.time - newest.time:.0f} s"
            if newest.quality not in (GOOD, UNCERTAIN) or newest.value is None:
                return why_bad(channel, newest)
        return ""


def why_bad(channel: str, newest: Value) -> str:
    """Why a value cannot be compared: what the device says of it, or what it is."""
    if newest.quality not in (GOOD, UNCERTAIN):
        return f"{channel} is of bad quality ({newest.quality})"
    return f"{channel} is not a number between {-LARGEST:g} and {LARGEST:g}"


def usual(period: float, interval: float) -> float:
    """The usual interval, s, after another one. It follows slowly, so that a pause does not count for much."""
    return min(max(interval, period / 2), max(2 * period, FIRST_PERIOD))


def usual_times(period: float) -> float:
    return min(TIMES * period, MOST)


def in_words(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


def towards(change: float, direction: str) -> float:
    if direction == "both":
        return abs(change)
    return -change if direction in ("below", "falling") else change
