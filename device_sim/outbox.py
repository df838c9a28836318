"""Decides what a device sends, in which order, and what it sends again.

Live frames and notes (events and the like) go first. All other frames come from the store, on the history topic, at a
limited rate. After a PUBACK a frame is not sent again by itself; it stays in the store until a receipt covers it. The
outbox has no clock: time is an argument, in ms. A link (the connection, while there is one) takes the messages.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import mqtt5

from device_sim.frame_store import FrameStore
from device_sim.frames import SimulatedFrame, message
from device_sim.habits import DeviceCounts, Habits, happens
from device_sim.latency import FrameProbe
from schema.messages import CONTENT_JSON
from schema.topics import Kind, topic

WINDOW = 100
"""Messages in flight, at most; the broker's Receive Maximum may be lower. Half of it is reserved for live messages."""
LIVE = 100
"""Frames that may wait to be sent live; further ones are sent from the store."""
NOTES = 1000
"""Notes that are kept until they are acknowledged; they are lost with the power."""
REPLAY_BLOCK = 50
"""Frames in a message from the store, at most."""
HURRY_BLOCK, HURRY_WINDOW = 250, 10
"""Frames in a message from the store, and messages in flight, at most, while a device tells its past."""
LATE_AFTER = 30_000.0
"""A frame that was not sent for so long (ms) goes to the history topic."""
REFUSED_PAUSE = 1_000.0
"""Time (ms) in which nothing is sent after the broker has reported a message without a subscriber."""
UPKEEP = 1_000.0
"""Interval (ms) at which the frames' states are saved and missing receipts are looked for."""


class DeviceLink(Protocol):
    @property
    def room(self) -> int: ...
    def publish(self, topic: str, payload: bytes, *, content_type: str, retain: bool = False) -> int: ...
    def flush(self) -> None: ...


class Sort(Enum):
    FRAMES = auto()
    COPY = auto()
    POISON = auto()
    EVENT = auto()
    RESULT = auto()
    STATUS = auto()


@dataclass(slots=True, eq=False)
class OutboxMessage:
    sort: Sort
    kind: Kind
    payload: bytes = b""
    """Empty for frames in flight, because the store has them."""
    boot: int = 0
    first: int = 0
    frames: int = 0

    @property
    def last(self) -> int:
        return self.first + self.frames - 1


class DeviceOutbox:
    def __init__(
        self, device: str, habits: Habits, counts: DeviceCounts, store: FrameStore, chance: random.Random
    ) -> None:
        self.link: DeviceLink | None = None
        self.notes: deque[OutboxMessage] = deque()
        self.in_flight: dict[int, OutboxMessage] = {}
        self.refused_until = 0.0
        self.heard: dict[int, float] = {}
        """For each boot, when (ms) the broker or the gateway last answered for it."""
        self.finished = False
        """Whether no frames will follow, so that an incomplete block is sent, too."""
        self.habits = habits
        self.hurry = False
        """Whether a past is told: the store's frames go out as fast as the broker takes them."""
        self.pace: float | None = None
        """Fault: messages a second that the link carries."""
        self.probe: FrameProbe | None = None
        self._counts, self._store, self._chance = counts, store, chance
        self.rename(device)
        self._live: deque[SimulatedFrame] = deque()
        self._allowance = self._credit = 0.0
        self._ticked = self._upkept = 0.0

    def rename(self, device: str) -> None:
        self._topics = {kind: topic(device, kind) for kind in Kind}

    @property
    def pending(self) -> bool:
        """Whether anything is unacknowledged."""
        return bool(self._store.unacknowledged or self.notes or self.in_flight)

    # Messages to send

    def live(self, frame: SimulatedFrame) -> None:
        """Send a frame live; the store holds it."""
        self._live.append(frame)
        if len(self._live) > min(LIVE, self._store.limit):
            oldest = self._live.popleft()
            self._store.send_again(oldest.boot, oldest.seq, oldest.seq)

    def note(self, note: OutboxMessage) -> None:
        self.notes.append(note)
        if len(self.notes) > NOTES:
            self._counts.events_lost += self.notes.popleft().sort is Sort.EVENT

    def connected(self, link: DeviceLink, status: bytes) -> None:
        self.link = link
        self.heard.clear()
        self.status(status)

    def status(self, payload: bytes) -> None:
        self._publish(OutboxMessage(Sort.STATUS, Kind.STATUS, payload), payload)

    # Sending

    def flush(self, now: float, clock: int = 0) -> None:
        """Send waiting live frames and notes, as far as link and window allow; `clock`: the clock's error (ms)."""
        if self.link is None or now < self.refused_until:
            return
        while (self.notes or self._block_ready) and self._room > 0:
            if self.notes:
                note = self.notes.popleft()
                self._counts.poison += note.sort is Sort.POISON
                self._publish(note, note.payload)
            else:
                self._send_live(now + clock)
        self.link.flush()

    def tick(self, now: float, clock: int = 0) -> None:
        """Send as many frames from the store as the rate allows; call it every now and then."""
        rate = self.habits.replay_rate
        if self.pace is not None:
            self._credit = min(max(self.pace, 1.0), self._credit + self.pace * (now - self._ticked) / 1000)
        self._allowance = min(max(rate, 1.0), self._allowance + rate * (now - self._ticked) / 1000)
        self._ticked = now
        if now - self._upkept >= UPKEEP:
            self._upkept = now
            self._store.save()
            if self.link:
                self._probe(now)
        if self.notes or self._live:
            self.flush(now, clock)
        if self.hurry:
            self.send_past(now)
            return
        if self.link is None or now < self.refused_until or not self._store.waiting:
            return
        while self._room > WINDOW // 2 and self._allowance >= 1:
            frames, channels = self._store.take(min(REPLAY_BLOCK, int(self._allowance)))
            if not frames:
                break
            self._allowance -= len(frames)
            self._counts.replayed += len(frames)
            self._send(frames, channels, Kind.HISTORY)
        self.link.flush()

    def send_past(self, now: float) -> None:
        """Send frames from the store, as far as the window for a past allows."""
        if self.link is None or now < self.refused_until:
            return
        while self._room > 0 and len(self.in_flight) < HURRY_WINDOW:
            frames, channels = self._store.take(HURRY_BLOCK)
            if not frames:
                break
            self._counts.replayed += len(frames)
            self._send(frames, channels, Kind.HISTORY)
        self.link.flush()

    @property
    def _room(self) -> int:
        if self.link is None or (self.pace is not None and self._credit < 1):
            return 0
        return min(self.link.room, WINDOW - len(self.in_flight))

    @property
    def _block_ready(self) -> bool:
        return len(self._live) >= self.habits.block or (self.finished and bool(self._live))

    def _send_live(self, clock: float) -> None:
        frames = [self._live.popleft()]
        while self._live and len(frames) < self.habits.block and self._live[0].seq == frames[-1].seq + 1:
            frames.append(self._live.popleft())
        late = clock - frames[-1].time > LATE_AFTER
        self._send(frames, self._store.channels, Kind.HISTORY if late else Kind.TELEMETRY)

    def _send(self, frames: Sequence[SimulatedFrame], channels: Sequence[str], kind: Kind) -> None:
        payload = self.habits.format.encode(message(frames, channels))
        self._publish(OutboxMessage(Sort.FRAMES, kind, b"", frames[0].boot, frames[0].seq, len(frames)), payload)
        if happens(self.habits.duplicates, self._chance):
            self.notes.appendleft(OutboxMessage(Sort.COPY, kind, payload, frames=len(frames)))

    def _publish(self, message: OutboxMessage, payload: bytes) -> None:
        assert self.link
        content_type = CONTENT_JSON if message.sort is Sort.RESULT else self.habits.format.content_type
        self._credit -= 1
        retain = message.sort is Sort.STATUS
        name = self._topics[message.kind]
        self.in_flight[self.link.publish(name, payload, content_type=content_type, retain=retain)] = message

    def _probe(self, now: float) -> None:
        """Send the newest frame of a boot that was long silent: the gateway then sees a hole before it, and asks."""
        boots = self._store.boots
        self.heard = {boot: self.heard.get(boot, now) for boot in boots}
        for boot, heard in self.heard.items():
            newest = self._store.newest(boot)
            if newest is not None and now - heard >= self.habits.resend_after * 1000:
                self._store.send_again(boot, newest, newest)
                self.heard[boot] = now

    # Outcomes

    def acknowledged(self, packet_id: int, code: mqtt5.PubAckReasonCode, now: float) -> None:
        message, counts = self.in_flight.pop(packet_id, None), self._counts
        if message is None or message.sort is Sort.STATUS:
            return  # the broker keeps a retained message, even without a subscriber
        delivered = code == mqtt5.PubAckReasonCode.SUCCESS
        if not delivered:
            self.refused_until = now + REFUSED_PAUSE
        match message.sort:
            case Sort.FRAMES if delivered:
                counts.acknowledged += self._store.acknowledge(message.boot, message.first, message.last)
                self.heard[message.boot] = now
                if self.probe:
                    self.probe.acknowledged(message.boot, message.last, now)
            case Sort.FRAMES:
                counts.not_delivered += message.frames
                self._store.send_again(message.boot, message.first, message.last)
            case Sort.COPY:
                counts.duplicates += message.frames * delivered
            case Sort.POISON:
                counts.poison_acknowledged += delivered
            case _ if delivered:
                counts.events_acknowledged += message.sort is Sort.EVENT
            case _:
                self.notes.appendleft(message)

    def disconnected(self) -> None:
        """Take back what was in flight, so that it is sent again."""
        self.link = None
        again = [message for message in self.in_flight.values() if message.sort in (Sort.EVENT, Sort.RESULT)]
        self.notes = deque(note for note in (*again, *self.notes) if note.sort is not Sort.COPY)
        self.in_flight.clear()
        self._store.release()
        for frame in self._live:
            self._store.hold(frame.boot, frame.seq, frame.seq)

    def lose_power(self) -> None:
        for note in (*self.notes, *self.in_flight.values()):
            self._counts.events_lost += note.sort is Sort.EVENT
        self.notes.clear()
        self.in_flight.clear()
        self._live.clear()
        self.disconnected()
