"""One who listens: from where on, what is still to be sent to them, and why there may be nothing more."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod

from api.live.forms import Form


class Wake:
    """Wakes one task that waits, which also wakes by itself in time. Hot path: most waits end by their time, and an
    exception for each would take longer than a message."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        self._is_set = True
        self._finish()

    def clear(self) -> None:
        self._is_set = False

    def set_at(self, moment: float) -> None:
        """Wake at this moment of the monotonic clock, instead of later."""
        if self._timer is None or moment <= self._loop.time():
            self.set()
        else:
            self._timer.cancel()
            self._timer = self._loop.call_at(moment, self._finish)

    async def wait(self, seconds: float) -> None:
        """Return when it is set, or after so many seconds."""
        if self._is_set:
            return
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._finish)
        try:
            await self._waiter
        finally:
            self._timer.cancel()
            self._timer = self._waiter = None

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class FeedMember(ABC):
    """Filled by its feed, emptied by whoever sends; neither waits for the other."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        """Why nothing new can be told at the moment."""
        self.too_slow = False
        self.ended: str | None = None
        """Why there will be nothing more."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is known from where on it goes; or why it cannot be known."""
        self.wake = Wake()

    @abstractmethod
    def take(self, form: Form) -> bytes | None:
        """Remove and return the next message; None: there is none now."""

    @abstractmethod
    def recovered(self, form: Form) -> bytes:
        """Return the message that trouble is over."""

    @abstractmethod
    def heartbeat(self, form: Form) -> bytes:
        """Return the message that all is well though there is no news."""

    @property
    def rest_s(self) -> float:
        """After how many seconds to ask again for a message, if nothing wakes it before."""
        return math.inf

    @property
    def alone(self) -> str | None:
        """The device that it follows, if it is one alone."""
        return None

    def admit(self) -> None:
        if not self.admitted.done():
            self.admitted.set_result(None)

    def disturb(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.wake.set()

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.wake.set()
