"""A device with a link that only remembers what it was given."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from mqtt5 import PubAckReasonCode

from device_sim.firmware import SimulatedDevice
from device_sim.frame_store import FrameStore
from device_sim.frames import Packing
from device_sim.habits import DeviceCounts, Habits
from device_sim.journal import Journal
from schema.messages import CONTENT_JSON, BackfillResult, Telemetry
from schema.topics import Kind, parse

CHANNELS = ("temperature", "ph")
NOW = 1_750_000_000_000.0
OK, NOBODY = PubAckReasonCode.SUCCESS, PubAckReasonCode.NO_MATCHING_SUBSCRIBERS


@dataclass
class Sent:
    topic: str
    payload: bytes
    content_type: str
    retain: bool

    @property
    def kind(self) -> Kind:
        parts = parse(self.topic)
        assert parts
        return parts[1]

    @property
    def telemetry(self) -> Telemetry:
        decode = msgspec.json.decode if self.content_type == CONTENT_JSON else msgspec.msgpack.decode
        return decode(self.payload, type=Telemetry)

    @property
    def result(self) -> BackfillResult:
        return msgspec.json.decode(self.payload, type=BackfillResult)


@dataclass
class Line:
    """A link that remembers; the packet id is the position, from 0."""

    capacity: int = 100_000
    sent: list[Sent] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.capacity - len(self.sent)

    def publish(self, topic: str, payload: bytes, *, content_type: str, retain: bool = False) -> int:
        self.sent.append(Sent(topic, payload, content_type, retain))
        return len(self.sent) - 1

    def flush(self) -> None:
        pass

    def frames(self, kind: Kind | None = None) -> list[tuple[int, int]]:
        """Boot and seq of what was sent as telemetry or history, or of one of these."""
        kinds = (kind,) if kind else (Kind.TELEMETRY, Kind.HISTORY)
        found: list[tuple[int, int]] = []
        for message in (sent.telemetry for sent in self.sent if sent.kind in kinds):
            assert message.boot is not None
            assert message.seq is not None
            count = len(message.t) if isinstance(message.t, list) else 1
            found += ((message.boot, message.seq + i) for i in range(count))
        return found

    def seqs(self, kind: Kind | None = None) -> list[int]:
        return [seq for _, seq in self.frames(kind)]


@dataclass
class Bench:
    """A device on the bench: no clock, no broker."""

    device: SimulatedDevice
    counts: DeviceCounts
    said: list[str]
    now: float = NOW

    @classmethod
    def with_device(
        cls,
        boot: int = 7,
        *,
        keep: int = 1000,
        directory: Path | None = None,
        journal: Journal | None = None,
        **habits: object,
    ) -> Bench:
        counts, said, store = DeviceCounts(), list[str](), FrameStore(Packing(CHANNELS), keep, directory)
        device = SimulatedDevice(
            "dev",
            boot,
            store,
            Habits(**habits),  # type: ignore[arg-type]
            counts,
            chance=random.Random(1),
            report=said.append,
            journal=journal,
        )
        return cls(device, counts, said)

    def connect(self) -> Line:
        """A new connection, its status acknowledged, so that the packet ids of what follows begin at 1."""
        line = Line()
        self.device.connected(line, self.now, self.now)
        self.device.outbox.acknowledged(0, OK, self.now)
        return line

    def produce(self, count: int, *, every: float = 1) -> None:
        for _ in range(count):
            self.device.frame(self.now, [37.0 + self.device.seq, 7.0])
            self.now += every

    def flush(self) -> None:
        self.device.outbox.flush(self.now)

    def acknowledge(self, *packet_ids: int, code: PubAckReasonCode = OK) -> None:
        for packet_id in packet_ids or tuple(self.device.outbox.in_flight):
            self.device.outbox.acknowledged(packet_id, code, self.now)

    def wait(self, seconds: float, *, acknowledge: bool = True) -> None:
        """Let time pass, with what happens in it."""
        for _ in range(round(seconds * 5)):
            self.now += 200
            self.device.outbox.tick(self.now, self.device.clock)
            if acknowledge:
                self.acknowledge()

    def receipt(self, *pairs: tuple[int, int]) -> None:
        self.device.receipt(msgspec.json.encode(pairs), self.now)

    def ask(self, boot: int, *ranges: tuple[int, int]) -> None:
        self.device.backfill(msgspec.json.encode({"boot": boot, "ranges": ranges}), self.now)
