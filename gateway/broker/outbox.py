"""Holds the latest message of each topic that is to be published, until the broker has acknowledged it.

Receipts are cumulative and requests are repeated, so that only the newest message of a topic counts. The number of
devices thus bounds the outbox, however long the broker is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import mqtt5


class Outbox:
    def __init__(self) -> None:
        self._waiting: dict[str, tuple[bytes, bool]] = {}
        self._under_way: dict[int, tuple[str, bytes, bool]] = {}
        self._last_id = 1
        self.empty = asyncio.Event()
        """Set while the outbox is empty."""
        self.empty.set()

    def put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self._waiting[topic] = payload, retain
        self.empty.clear()

    def packets(self, most_under_way: int) -> Iterator[bytes]:
        """Yield PUBLISH packets to send now, until `most_under_way` messages are unacknowledged."""
        while self._waiting and len(self._under_way) < most_under_way:
            topic = next(iter(self._waiting))
            payload, retain = self._waiting.pop(topic)
            self._last_id = packet_id = self._free_id()
            self._under_way[packet_id] = topic, payload, retain
            yield mqtt5.PublishPacket(
                topic,
                payload,
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain=retain,
                packet_id=packet_id,
                content_type="application/json",
            ).write()

    def acknowledged(self, packet_id: int) -> str | None:
        """Forget a message that the broker has taken or refused; return its topic."""
        sent = self._under_way.pop(packet_id, None)
        if not self._under_way and not self._waiting:
            self.empty.set()
        return sent[0] if sent else None

    def connection_lost(self) -> None:
        """Have messages without acknowledgement sent again, unless a newer one waits for their topic."""
        for topic, payload, retain in self._under_way.values():
            self._waiting.setdefault(topic, (payload, retain))
        self._under_way.clear()

    def _free_id(self) -> int:
        """The next free packet id of 2 to 65535; 1 is the SUBSCRIBE's."""
        packet_id = self._last_id
        while True:
            packet_id = packet_id + 1 if packet_id < 65535 else 2
            if packet_id not in self._under_way:
                return packet_id
