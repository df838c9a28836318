"""The simulated clock: which time it is in the plant, at any speed, never ahead of the wall clock.

A frame that is ahead of the wall clock would go to quarantine. So a fast plant begins in the past, and where it meets
the wall clock it goes on with it. Times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

AS_FAST_AS_POSSIBLE = math.inf
DAY = 86_400_000.0


def wall_ms() -> int:
    """The time of this machine."""
    return time.time_ns() // 1_000_000


class SimulatedClock:
    """Runs from `begin` at `speed` times the speed of the wall clock, until it meets the wall clock."""

    def __init__(
        self, begin: float, speed: float = 1.0, *, wall: float | None = None, passed: Callable[[], float] | None = None
    ) -> None:
        """`wall` is the wall clock's time now; `passed` counts seconds, and is never set. A begin in the future begins
        now."""
        self._passed = passed or time.monotonic
        self._wall_begin = float(wall_ms() if wall is None else wall)
        self._zero = self._passed()
        self.begin, self.speed = min(begin, self._wall_begin), speed

    def wall(self) -> float:
        """The wall clock, as it goes on since this one was made: a step of the machine's clock is none of the plant."""
        return self._wall_begin + (self._passed() - self._zero) * 1000

    def now(self) -> float:
        """The time in the plant."""
        wall = self.wall()
        if self.speed == AS_FAST_AS_POSSIBLE:
            return wall
        return min(wall, self.begin + (wall - self._wall_begin) * self.speed)

    def seconds_until(self, time: float) -> float:
        """Real seconds until it is `time` in the plant; negative: it was so long ago."""
        real = time - self._wall_begin
        if self.speed != AS_FAST_AS_POSSIBLE:
            real = max(real, (time - self.begin) / self.speed)
        return real / 1000 - (self._passed() - self._zero)


def begin_of(wall: float, speed: float, length: float | None) -> float:
    """The begin of a run at `speed` for which nobody named one: at its end, after `length` ms of the plant's time, it
    meets the wall clock. A run without an end begins a day before, and meets it sooner or later; one that is not faster
    than the wall clock begins now."""
    if speed <= 1:
        return wall
    if speed == AS_FAST_AS_POSSIBLE:
        return wall - (DAY if length is None else length)
    return wall - (DAY if length is None else length * (1 - 1 / speed))
