"""Holds what is known of a device when its rules are evaluated, and the base of the tests that read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schema.alarms.intake import WELL, Intake

LARGEST = 1e300
"""A greater value counts as none: so differences stay finite, and can be written as JSON."""
Memory = dict[str, Any]
"""A test's memory as JSON: numbers, null, lists."""


@dataclass(slots=True)
class Value:
    """The newest value of a channel; a null `value` or a `quality` other than 0 is bad. A good value that cannot be
    compared is null, too."""

    time: float
    """The device's time, s since 1970."""
    value: float | None
    quality: int


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
    values: dict[str, Value] = field(default_factory=dict)


class ConditionTest:
    """The base of the tests of conditions: each tests one rule on one device. Its memory outlives the process."""

    value: float | None = None
    """The value that it compared last, for people."""

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
        unknown = self._why_unknown(seen) if outcome is None else ""
        return unknown or self._compared(seen, outcome)

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        raise NotImplementedError

    def memory(self) -> Memory:
        return {}

    def _known(self, seen: Snapshot, channel: str) -> float | None:
        """The newest value of a channel, if it is good and not older than `stale_after` seconds; else None."""
        newest = seen.values.get(channel)
        if newest is None or newest.quality or seen.time - newest.time > self._stale_after:
            return None
        return newest.value

    def _why_unknown(self, seen: Snapshot) -> str:
        for channel in sorted(self.channels):
            newest = seen.values.get(channel)
            if newest is None:
                return f"{channel} has not come yet"
            if seen.time - newest.time > self._stale_after:
                return f"{channel} has not come for {seen.time - newest.time:.0f} s"
            if newest.quality or newest.value is None:
                return why_bad(channel, newest)
        return ""


def why_bad(channel: str, newest: Value) -> str:
    """Why a value cannot be compared: what the device says of it, or what it is."""
    if newest.quality:
        return f"{channel} is of bad quality ({newest.quality})"
    return f"{channel} is not a number between {-LARGEST:g} and {LARGEST:g}"


def in_words(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


def towards(change: float, direction: str) -> float:
    if direction == "both":
        return abs(change)
    return -change if direction in ("below", "falling") else change
