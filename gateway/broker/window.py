"""Counts the bytes of messages that are not yet committed, bounds them, and holds messages that wait to be decoded.

The number of unacknowledged QoS 1 messages is bounded by Receive Maximum, which the broker keeps. The bytes are bounded
here: when `full`, the session stops reading its socket, which is also the only brake on QoS 0.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway import metrics
from gateway.items import Delivery

OVERHEAD = 256
"""Bytes that a message takes beside its payload and topic, roughly, so that small messages do not escape the bound."""


class IntakeWindow:
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._waiting: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self.on_room: Callable[[], None] | None = None
        """Called when a full window has room again."""
        self._full = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Messages received and not yet decoded."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return self._full

    def add(self, *deliveries: Delivery) -> None:
        """Add the messages of one read of the socket. Never waits."""
        arrived = 0
        for delivery in deliveries:
            delivery.weight = weight = len(delivery.payload) + len(delivery.topic) + OVERHEAD
            arrived += weight
        self._waiting += deliveries
        self.bytes += arrived
        if self.bytes >= self.max_bytes and not self._full:
            self._full = True
            metrics.WINDOW_FULL.inc()
        self._arrived.set()

    async def take(self, limit: int, max_bytes: int) -> list[Delivery]:
        """Wait for messages and take them in the order of receipt: at most `limit`, and none after the message that
        reaches `max_bytes`. Returns an empty list when the window is closed and empty."""
        while not self._waiting:
            if self._closed:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        waiting = self._waiting
        taken: list[Delivery] = []
        size = 0
        while waiting and len(taken) < limit and size < max_bytes:
            delivery = waiting.popleft()
            taken.append(delivery)
            size += delivery.weight
        return taken

    def release(self, released: int) -> None:
        """Free `released` bytes, whose messages are committed."""
        self.bytes -= released
        if self._full and self.bytes <= self.max_bytes // 2:
            self._full = False
            if self.on_room is not None:
                self.on_room()

    def close(self) -> None:
        """Add no more messages: `take` returns none once the rest is taken."""
        self._closed = True
        self._arrived.set()
