"""Tells live frames from history that raises no alarm. Pure: it decides by the frames' own times alone."""

from __future__ import annotations

from enum import Enum
from typing import Any

LATE = 30.0
"""Seconds. A frame that took so much longer than is usual for its device is history. A clock may be set back by so much
without being noticed."""
SETTLED = 60.0
"""Seconds of receipt after which a delay that does not shrink is the usual one: a clock was set, or a slow line."""
SHRINKS = 0.1
"""A backlog that is being worked off shrinks by more than this, in s per s."""
PERIOD = 600.0
"""Seconds. The usual lag is the least of the current period of this length and the one before."""


class Lateness(Enum):
    """What the lag of a frame says about it."""

    LIVE = "live"
    LATE = "late"
    SETTLED = "settled"
    """The frame is late, as all frames of the last minute are: this lag is the usual one from now on."""


class Lag:
    """The lag of a device, received − time, and what of it is usual. A device counts as having the right clock until it
    has shown another: so even a backlog that comes first is recognized."""

    def __init__(self, memory: dict[str, Any] | None = None) -> None:
        memory = memory or {}
        self._least: float = memory.get("least", 0.0)
        self._before: float = memory.get("before", 0.0)
        self._turned: float = memory.get("turned", 0.0)
        self._behind: list[float] | None = memory.get("behind")
        self.late_since: float | None = memory.get("late_since")
        """When the first of the frames was received that are late without one in time between them."""

    def judge(self, time: float, received: float) -> Lateness:
        """Judge a frame. Call it once for each frame, in order. Times are in s since 1970."""
        lag = received - time
        if lag <= min(self._least, self._before) + LATE:
            self._behind = self.late_since = None
            if received - self._turned >= PERIOD:
                self._before, self._least, self._turned = self._least, lag, received
            elif lag < self._least:
                self._least = lag
            return Lateness.LIVE
        if self._behind is None or self.late_since is None:
            self._behind, self.late_since = [received, lag], received
        begun, first = self._behind
        is_settled = received - begun >= SETTLED
        if first - lag > SHRINKS * (received - begun) + (0.0 if is_settled else LATE):
            self._behind = [received, lag]
        elif is_settled:
            self.take(time, received)
            return Lateness.SETTLED
        return Lateness.LATE

    def take(self, time: float, received: float) -> None:
        """Take the frame's lag as the usual one, because the clock was set."""
        self._least = self._before = received - time
        self._turned, self._behind, self.late_since = received, None, None

    def memory(self) -> dict[str, Any]:
        return {
            "least": self._least,
            "before": self._before,
            "turned": self._turned,
            "behind": self._behind,
            "late_since": self.late_since,
        }
