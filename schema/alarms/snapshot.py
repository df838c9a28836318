"""Holds what is known of a device when its rules are evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Value:
    """The newest value of a channel; a null `value` or a `quality` other than 0 is bad."""

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
    well_since: float = 0.0
    """Since when the intake has stored all that was sent; infinity: it does not."""
    is_estimate: bool = False
    """Whether no frame came: `time` is what the device's clock must show."""
    boot: int | None = None
    seq: int | None = None
    phase: str | None = None
    values: dict[str, Value] = field(default_factory=dict)


def known(seen: Snapshot, channel: str, stale_after: float) -> float | None:
    """The newest value of a channel, if it is good and not older than `stale_after` seconds; else None."""
    newest = seen.values.get(channel)
    if newest is None or newest.quality or seen.time - newest.time > stale_after:
        return None
    return newest.value


def why_unknown(seen: Snapshot, channels: Iterable[str], stale_after: float) -> str:
    for channel in sorted(channels):
        newest = seen.values.get(channel)
        if newest is None:
            return f"{channel} has not come yet"
        if seen.time - newest.time > stale_after:
            return f"{channel} has not come for {seen.time - newest.time:.0f} s"
        if newest.quality or newest.value is None:
            return f"{channel} is of bad quality ({newest.quality})"
    return ""


def in_words(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


def towards(change: float, direction: str) -> float:
    if direction == "both":
        return abs(change)
    return -change if direction in ("below", "falling") else change
