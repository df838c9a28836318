"""One simulated controller: it numbers frames, keeps what the broker has not acknowledged, and says what to send.

No I/O and no clock of its own: time is an argument, and a link (a connection, while there is one) takes the messages.
"""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import mqtt5
import msgpack

from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, GOOD
from schema.topics import Kind, topic

FIRMWARE = "biogate-sim 1"
WINDOW = 100
"""Messages in flight, at most; the broker's Receive Maximum may be lower."""
LATE_AFTER = 30_000.0
"""A frame that was not sent for so long (ms) goes to the history topic, and so does what is sent again."""
REFUSED_PAUSE = 1_000.0
"""How long (ms) to send nothing after the broker said that nobody has the message."""
HELD_BACK = 3
"""The late fault sends a frame after so many later ones."""


class Format(Enum):
    MSGPACK = "msgpack"
    JSON = "json"

    @property
    def content_type(self) -> str:
        return CONTENT_MSGPACK if self is Format.MSGPACK else CONTENT_JSON

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Encode with a second implementation, not the gateway's: what both understand is the standard."""
        if self is Format.MSGPACK:
            packed: bytes = msgpack.packb(message)
            return packed
        return json.dumps(message, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Habits:
    """How all devices of a fleet behave."""

    format: Format = Format.MSGPACK
    block: int = 1
    """Frames a message."""
    keep: int = 1000
    """Messages kept while they are not acknowledged; then the oldest is lost."""
    duplicates: float = 0.0
    """Faults: the part of the telemetry messages that is sent twice, and that is sent out of order."""
    late: float = 0.0


@dataclass
class Counts:
    """Frames; the events among the messages are counted apart."""

    produced: int = 0
    acknowledged: int = 0
    not_delivered: int = 0
    """How often the broker said of a frame that nobody has it; each was sent again."""
    lost: int = 0
    resent: int = 0
    duplicates: int = 0
    """Acknowledged copies that the fault made."""
    events_produced: int = 0
    events_acknowledged: int = 0
    events_lost: int = 0


class Link(Protocol):
    @property
    def room(self) -> int: ...
    def publish(self, topic: str, payload: bytes, *, content_type: str, retain: bool = False) -> int: ...
    def flush(self) -> None: ...


@dataclass(slots=True, eq=False)
class Message:
    number: int
    """Position in the order of first sending."""
    kind: Kind
    payload: bytes
    time: float
    seq: int
    frames: int
    """0: an event, a status or a copy."""
    copy: bool = False
    sent: bool = False


@dataclass(eq=False)
class Device:
    name: str
    boot: int
    habits: Habits
    counts: Counts
    chance: random.Random
    report: Callable[[str], None]
    """Takes a line about what a person should know."""
    seq: int = 0
    link: Link | None = None
    session: float = 0.0
    """When the current connection was begun, ms."""
    waiting: deque[Message] = field(default_factory=deque)
    in_flight: dict[int, Message] = field(default_factory=dict)
    refused_until: float = 0.0
    lost: int = 0
    _number: int = 0
    _refused: list[Message] = field(default_factory=list)
    _late: deque[tuple[int, Message]] = field(default_factory=deque)
    _block: list[tuple[float, list[float | None], list[int]]] = field(default_factory=list)
    _losing: bool = False

    # Producing

    def frame(
        self, time: float, channels: Sequence[str], values: list[float], bad: tuple[int, int] | None = None
    ) -> None:
        """Number and queue what the instruments show at `time` (ms); NaN is no value; `bad` is (column, quality)."""
        row = [None if math.isnan(value) else value for value in values]
        self.counts.produced += 1
        if self.habits.block == 1:
            message: dict[str, Any] = {"boot": self.boot, "seq": self.seq, "t": time}
            message["v"] = dict(zip(channels, row, strict=True))
            if bad:
                message["q"] = {channels[bad[0]]: bad[1]}
            self.seq += 1
            self._telemetry(message, time, self.seq - 1, 1)
            return
        quality = [GOOD] * len(channels)
        if bad:
            quality[bad[0]] = bad[1]
        self._block.append((time, row, quality))
        self.seq += 1
        if len(self._block) == self.habits.block:
            self._finish_block(channels)

    def event(self, time: float, type_: str, data: Mapping[str, Any]) -> None:
        message = {"t": time, "type": type_, "boot": self.boot, "data": data}
        self.counts.events_produced += 1
        self._keep(Message(self._next(), Kind.EVENT, self.habits.format.encode(message), time, self.seq, 0))

    def finish(self, channels: Sequence[str]) -> None:
        """No frames will follow: queue what was still being collected or held back."""
        if self._block:
            self._finish_block(channels)
        while self._late:
            self._keep(self._late.popleft()[1])

    def _finish_block(self, channels: Sequence[str]) -> None:
        times, rows, quality = zip(*self._block, strict=True)
        first = self.seq - len(self._block)
        message: dict[str, Any] = {"boot": self.boot, "seq": first, "ch": channels, "t": times, "v": rows}
        if any(any(row) for row in quality):
            message["q"] = quality
        self._telemetry(message, times[-1], first, len(self._block))
        self._block.clear()

    def _telemetry(self, content: Mapping[str, Any], time: float, seq: int, frames: int) -> None:
        payload = self.habits.format.encode(content)
        message = Message(self._next(), Kind.TELEMETRY, payload, time, seq, frames)
        if self.habits.late and self.chance.random() < self.habits.late:
            message.kind = Kind.HISTORY
            self._late.append((self._number + HELD_BACK, message))
        else:
            self._keep(message)
            if self.habits.duplicates and self.chance.random() < self.habits.duplicates:
                self._keep(Message(self._next(), Kind.TELEMETRY, payload, time, seq, 0, copy=True))
        while self._late and self._late[0][0] < self._number:
            self._keep(self._late.popleft()[1])

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _keep(self, message: Message) -> None:
        self.waiting.append(message)
        if len(self.waiting) + len(self._refused) + len(self.in_flight) <= self.habits.keep:
            self._losing = False
        else:
            oldest = self._refused.pop(0) if self._refused else self.waiting.popleft()
            self.counts.lost += oldest.frames
            self.lost += oldest.frames
            self.counts.events_lost += oldest.kind is Kind.EVENT
            if not self._losing:
                self.report(f"{self.name}: queue full, losing frames from boot {self.boot} seq {oldest.seq} on")
            self._losing = True

    # Sending

    @property
    def pending(self) -> int:
        """Messages not acknowledged yet, those being held back among them."""
        return len(self.waiting) + len(self._refused) + len(self.in_flight) + len(self._late)

    def status(self, word: str, time: float) -> bytes:
        """The content of a status message of the connection that was begun at `time`."""
        message = {"status": word, "t": time, "boot": self.boot, "firmware": FIRMWARE}
        kept = [m.seq for m in self._kept() if m.frames]
        if self._block:
            kept.append(self.seq - len(self._block))
        if kept:
            message["oldest"] = min(kept)
        return self.habits.format.encode(message)

    def connected(self, link: Link, begun: float, now: float) -> None:
        """Say that we are there, then send what waits."""
        self.link, self.session = link, begun
        self._status("online", begun)
        self.flush(now)

    def disconnected(self) -> None:
        """Take back what was in flight: it is sent again, in its old place."""
        self.link = None
        again = [m for m in self.in_flight.values() if m.kind is not Kind.STATUS and not m.copy]
        self._take_back(again + self._refused)
        self._refused.clear()
        self.in_flight.clear()

    def sign_off(self, now: float) -> bool:
        """Say that we leave, later than the will of this connection, so that it wins; False if there is no room."""
        if self.link is None or self.link.room == 0:
            return False
        self._status("offline", max(now, self.session + 1))
        self.link.flush()
        return True

    def acknowledged(self, packet_id: int, code: mqtt5.PubAckReasonCode, now: float) -> None:
        message = self.in_flight.pop(packet_id, None)
        if message is None or message.kind is Kind.STATUS:
            return  # a retained message is kept by the broker, whoever subscribes
        if code == mqtt5.PubAckReasonCode.SUCCESS:
            self.counts.acknowledged += message.frames
            self.counts.events_acknowledged += message.kind is Kind.EVENT
            self.counts.duplicates += message.copy
            return
        self.counts.not_delivered += message.frames
        self.refused_until = now + REFUSED_PAUSE
        if not message.copy:
            self._refused.append(message)

    def flush(self, now: float) -> None:
        """Send what waits, as far as the link and the window allow."""
        if self.link is None or now < self.refused_until:
            return
        if self._refused:
            self._take_back(self._refused)
            self._refused.clear()
        window = min(WINDOW, self.habits.keep - 1)  # so that of what is kept, something is not in flight
        for _ in range(min(self.link.room, window - len(self.in_flight), len(self.waiting))):
            self._send(self.waiting.popleft(), now)
        self.link.flush()

    def _send(self, message: Message, now: float) -> None:
        assert self.link
        if message.sent:
            self.counts.resent += message.frames
        late = message.sent or now - message.time > LATE_AFTER
        kind = Kind.HISTORY if late and message.kind is Kind.TELEMETRY else message.kind
        message.sent = True
        content_type = self.habits.format.content_type
        packet_id = self.link.publish(topic(self.name, kind), message.payload, content_type=content_type)
        self.in_flight[packet_id] = message

    def _status(self, word: str, time: float) -> None:
        assert self.link
        payload, content_type = self.status(word, time), self.habits.format.content_type
        name = topic(self.name, Kind.STATUS)
        packet_id = self.link.publish(name, payload, content_type=content_type, retain=True)
        self.in_flight[packet_id] = Message(0, Kind.STATUS, payload, time, self.seq, 0)

    def _take_back(self, messages: list[Message]) -> None:
        self.waiting = deque(sorted([*messages, *self.waiting], key=lambda message: message.number))

    def _kept(self) -> list[Message]:
        held_back = [message for _, message in self._late]
        return [*self.in_flight.values(), *self._refused, *self.waiting, *held_back]
