"""Which frames are news, and which are history that raises no live alarm. Pure: from the frames' own times alone."""

from __future__ import annotations

from typing import Any

LATE = 30.0
"""s: a frame that needed so much longer than is usual for its device is history; so far a clock may be set back without
being noticed as a new one."""
SETTLED = 60.0
"""s of receipt after which a delay that does not shrink is the usual one: a clock was set, or the line is that slow."""
SHRINKS = 0.1
"""A backlog that is being worked off shrinks by more than this, s per s."""
PERIOD = 600.0
"""s: the usual is the least of this long and of as long before."""


class Lag:
    """received − time, and what of it is usual. Until a device has shown another clock it is taken to have the right
    one: so a backlog is known as one even when it is the first that comes."""

    def __init__(self, memory: dict[str, Any] | None = None) -> None:
        memory = memory or {}
        self._least: float = memory.get("least", 0.0)
        self._before: float = memory.get("before", 0.0)
        self._turned: float = memory.get("turned", 0.0)
        self._behind: list[float] | None = memory.get("behind")

    def is_live(self, time: float, received: float) -> bool:
        """Not history. Call it once for each frame, in order."""
        lag = received - time
        if lag <= min(self._least, self._before) + LATE:
            self._behind = None
            if received - self._turned >= PERIOD:
                self._before, self._least, self._turned = self._least, lag, received
            elif lag < self._least:
                self._least = lag
            return True
        if self._behind is None:
            self._behind = [received, lag]
        begun, first = self._behind
        if received - begun < SETTLED:
            return False
        if first - lag > SHRINKS * (received - begun):
            self._behind = [received, lag]
            return False
        self.take(time, received)
        return True

    def take(self, time: float, received: float) -> None:
        """The clock was set: this is the usual now."""
        self._least = self._before = received - time
        self._turned, self._behind = received, None

    def memory(self) -> dict[str, Any]:
        return {"least": self._least, "before": self._before, "turned": self._turned, "behind": self._behind}
