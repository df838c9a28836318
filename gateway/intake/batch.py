"""Batches of items for one commit. They grow while the writer is busy, within bounds; a linger bounds their rate."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from gateway.items import Acknowledger, Delivery, Item


class Batch:
    """Items in the order of receipt, and the messages to acknowledge once all of them are committed."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.bytes = 0
        self.acks: defaultdict[Acknowledger, list[int]] = defaultdict(list)

    def add(self, deliveries: Iterable[Delivery], items: Sequence[Item]) -> None:
        """Add messages with all their items."""
        self.items += items
        for delivery in deliveries:
            self.bytes += delivery.weight
            if delivery.packet_id:
                self.acks[delivery.connection].append(delivery.packet_id)


class Batcher:
    """Holds the open batch between the decoder, which adds, and the writer, which takes; both wait here."""

    def __init__(self, max_frames: int, max_bytes: int, linger_s: float) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._open = Batch()
        self._changed = asyncio.Condition()
        self._taken_at = float("-inf")
        self._closed = False

    @property
    def full(self) -> bool:
        return len(self._open.items) >= self._max_frames or self._open.bytes >= self._max_bytes

    async def room(self) -> None:
        """Wait until the open batch can take more. (The one decoder calls this, and then adds without waiting.)"""
        if self.full:
            async with self._changed:
                await self._changed.wait_for(lambda: not self.full)

    def add(self, deliveries: Iterable[Delivery], items: Sequence[Item]) -> None:
        self._open.add(deliveries, items)

    async def flush(self) -> None:
        """Tell the writer that something was added."""
        async with self._changed:
            self._changed.notify_all()

    async def close(self) -> None:
        """Add no more items: the writer ends after the last batch."""
        self._closed = True
        await self.flush()

    async def take(self) -> Batch | None:
        """Wait for a batch that has items, at least the linger after the last; None when closed and empty."""
        loop = asyncio.get_running_loop()
        async with self._changed:
            await self._changed.wait_for(lambda: self._open.items or self._closed)
            wait = self._taken_at + self._linger_s - loop.time()
            if wait > 0 and not self._closed:
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait_for(lambda: self.full or self._closed)
                except TimeoutError:
                    pass
            if not self._open.items:
                return None
            batch, self._open = self._open, Batch()
            self._taken_at = loop.time()
            self._changed.notify_all()
        return batch
