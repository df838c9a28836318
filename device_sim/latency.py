"""Measures how long frames take from their production to PUBACK and receipt: one frame of each device at a time."""

from __future__ import annotations

import math

STEP = math.log(1.1)
LEAST = 0.1
"""Ms: the upper end of the first class."""
CLASSES = 200


class Latencies:
    """Counts durations in classes, each a tenth wider than the one before: quantiles are right within 10 %."""

    def __init__(self) -> None:
        self._counts = [0] * CLASSES
        self.total = 0

    def add(self, ms: float) -> None:
        place = 0 if ms <= LEAST else math.ceil(math.log(ms / LEAST) / STEP)
        self._counts[min(place, CLASSES - 1)] += 1
        self.total += 1

    def quantile(self, part: float) -> float | None:
        """The upper end of the class in which the quantile lies, in ms; None if there was nothing."""
        wanted, seen = part * self.total, 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return round(LEAST * math.exp(place * STEP), 1)
        return None

    def summary(self, name: str) -> dict[str, float | None]:
        return {f"{name}_ms_{word}": self.quantile(part) for word, part in (("p50", 0.5), ("p99", 0.99))}


class FrameProbe:
    """Follows one live frame of a device to its PUBACK and its receipt, then the next."""

    __slots__ = ("_acknowledged", "_at", "_boot", "_receipted", "_seq", "_waits")

    def __init__(self, acknowledged: Latencies, receipted: Latencies) -> None:
        self._acknowledged, self._receipted = acknowledged, receipted
        self._boot, self._seq, self._at, self._waits = -1, -1, 0.0, False

    def produced(self, boot: int, seq: int, now: float) -> None:
        """Follow this frame, unless another is under way; of another boot none comes back for sure."""
        if self._boot != boot:
            self._boot, self._seq, self._at, self._waits = boot, seq, now, True

    def acknowledged(self, boot: int, last: int, now: float) -> None:
        if self._waits and boot == self._boot and last >= self._seq:
            self._waits = False
            self._acknowledged.add(now - self._at)

    def receipted(self, boot: int, last: int, now: float) -> None:
        if boot == self._boot and last >= self._seq:
            self._receipted.add(now - self._at)
            self._boot = -1
