"""What a device sends, keeps and loses; the link here is a list."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest
from mqtt5 import PubAckReasonCode

from device_sim.firmware import LATE_AFTER, REFUSED_PAUSE, Counts, Device, Format, Habits
from schema.messages import BAD, CONTENT_JSON, CONTENT_MSGPACK, UNCERTAIN, Event, Status, Telemetry
from schema.topics import Kind

NAN = float("nan")
CHANNELS = ("temperature", "ph")
NOW = 1_750_000_000_000
OK, NOBODY = PubAckReasonCode.SUCCESS, PubAckReasonCode.NO_MATCHING_SUBSCRIBERS


@dataclass
class Sent:
    topic: str
    payload: bytes
    content_type: str
    retain: bool

    @property
    def kind(self) -> str:
        return self.topic.rsplit("/", 1)[1]

    @property
    def telemetry(self) -> Telemetry:
        decode = msgspec.json.decode if self.content_type == CONTENT_JSON else msgspec.msgpack.decode
        return decode(self.payload, type=Telemetry)


@dataclass
class Line:
    """A link that remembers; the packet id is the position, from 0."""

    room: int = 1000
    sent: list[Sent] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes, *, content_type: str, retain: bool = False) -> int:
        self.sent.append(Sent(topic, payload, content_type, retain))
        return len(self.sent) - 1

    def flush(self) -> None:
        pass


def device(**habits: object) -> Device:
    return Device("dev", 7, Habits(**habits), Counts(), random.Random(1), said.append)  # type: ignore[arg-type]


said: list[str] = []


def connect(dev: Device, now: float = NOW) -> Line:
    """Connect and acknowledge the status, so that what follows on the line are other messages."""
    line = Line()
    dev.connected(line, now, now)
    dev.acknowledged(0, OK, now)
    return line


def produce(dev: Device, count: int, first: float = NOW) -> None:
    for i in range(count):
        dev.frame(first + i, CHANNELS, [37.0 + i, 7.0])


def seqs(line: Line) -> list[int | None]:
    return [sent.telemetry.seq for sent in line.sent if sent.kind in (Kind.TELEMETRY, Kind.HISTORY)]


@pytest.mark.parametrize(("format_", "content_type"), [(Format.MSGPACK, CONTENT_MSGPACK), (Format.JSON, CONTENT_JSON)])
def test_frames_are_numbered_and_read_as_the_contract_says(format_: Format, content_type: str) -> None:
    dev = device(format=format_)
    line = connect(dev)
    dev.frame(NOW, CHANNELS, [37.01, 7.0])
    dev.frame(NOW + 1000, CHANNELS, [NAN, 7.0], (1, UNCERTAIN))
    dev.flush(NOW)
    first, second = line.sent[1:]
    assert first.topic == "bioreactors/dev/telemetry"
    assert first.content_type == content_type
    assert first.telemetry == Telemetry(t=NOW, v={"temperature": 37.01, "ph": 7.0}, boot=7, seq=0)
    assert second.telemetry == Telemetry(
        t=NOW + 1000, v={"temperature": None, "ph": 7.0}, boot=7, seq=1, q={"ph": UNCERTAIN}
    )


@pytest.mark.parametrize("format_", list(Format))
def test_a_block_carries_its_frames_and_the_last_one_may_be_short(format_: Format) -> None:
    dev = device(block=2, format=format_)
    line = connect(dev)
    produce(dev, 2)
    dev.frame(NOW + 2, CHANNELS, [NAN, 7.0], (0, BAD))
    dev.finish(CHANNELS)
    dev.flush(NOW)
    full, short = (sent.telemetry for sent in line.sent[1:])
    assert full == Telemetry(t=[NOW, NOW + 1], v=[[37.0, 7.0], [38.0, 7.0]], boot=7, seq=0, ch=["temperature", "ph"])
    assert short == Telemetry(t=[NOW + 2], v=[[None, 7.0]], boot=7, seq=2, q=[[BAD, 0]], ch=["temperature", "ph"])
    assert dev.counts.produced == 3


def test_what_was_in_flight_is_sent_again_in_order_as_history_with_the_same_content() -> None:
    dev = device()
    line = connect(dev)
    produce(dev, 3)
    dev.flush(NOW)
    dev.acknowledged(2, OK, NOW)  # seq 1
    dev.disconnected()
    produce(dev, 1)
    again = connect(dev, NOW + 500)
    assert seqs(again) == [0, 2, 3]
    assert [sent.kind for sent in again.sent[1:]] == [Kind.HISTORY, Kind.HISTORY, Kind.TELEMETRY]
    assert again.sent[1].payload == line.sent[1].payload
    assert (dev.counts.acknowledged, dev.counts.resent) == (1, 2)


def test_what_waited_long_goes_to_the_history_topic() -> None:
    dev = device()
    produce(dev, 1)
    produce(dev, 1, first=NOW + LATE_AFTER)
    line = connect(dev, NOW + LATE_AFTER + 1)
    assert [sent.kind for sent in line.sent[1:]] == [Kind.HISTORY, Kind.TELEMETRY]


def test_what_nobody_received_is_sent_again_later_and_in_order() -> None:
    dev = device()
    line = connect(dev)
    produce(dev, 3)
    dev.flush(NOW)
    for packet_id, code in ((1, NOBODY), (2, OK), (3, NOBODY)):
        dev.acknowledged(packet_id, code, NOW)
    produce(dev, 1)
    dev.flush(NOW + REFUSED_PAUSE - 1)
    assert len(line.sent) == 4
    dev.flush(NOW + REFUSED_PAUSE)
    assert seqs(line)[3:] == [0, 2, 3]
    assert (dev.counts.acknowledged, dev.counts.not_delivered) == (1, 2)
    for packet_id in range(4, 7):
        dev.acknowledged(packet_id, OK, NOW)
    assert dev.counts.acknowledged == 4
    assert dev.pending == 0


def test_a_full_queue_loses_the_oldest_and_says_so_by_name() -> None:
    said.clear()
    dev = device(keep=3)
    produce(dev, 5)
    assert dev.counts.lost == 2
    assert said == ["dev: queue full, losing frames from boot 7 seq 0 on"]
    line = connect(dev)
    dev.flush(NOW)
    assert seqs(line) == [2, 3]  # the last stays behind the window
    assert dev.counts.produced == 5


def test_the_window_of_the_link_is_kept() -> None:
    dev = device()
    line = connect(dev)
    line.room = 2
    produce(dev, 5)
    dev.flush(NOW)
    assert seqs(line) == [0, 1]


def test_a_duplicate_is_the_same_message_twice_and_counts_once() -> None:
    dev = device(duplicates=1.0)
    line = connect(dev)
    produce(dev, 2)
    dev.flush(NOW)
    assert seqs(line) == [0, 0, 1, 1]
    for packet_id in range(1, 5):
        dev.acknowledged(packet_id, OK, NOW)
    assert (dev.counts.produced, dev.counts.acknowledged, dev.counts.duplicates) == (2, 2, 2)


def test_late_frames_come_out_of_order_and_all_of_them_come() -> None:
    dev = device(late=0.3)
    line = connect(dev)
    produce(dev, 50)
    dev.finish(CHANNELS)
    dev.flush(NOW)
    assert seqs(line) != list(range(50))
    assert sorted(seqs(line)) == list(range(50))  # type: ignore[type-var]
    assert Kind.HISTORY in {sent.kind for sent in line.sent}


def test_online_and_will_carry_the_time_of_the_connection_and_the_goodbye_a_later_one() -> None:
    dev = device()
    produce(dev, 3)
    will = msgspec.msgpack.decode(dev.status("offline", NOW), type=Status)
    line = Line()
    dev.connected(line, NOW, NOW + 5)
    online = msgspec.msgpack.decode(line.sent[0].payload, type=Status)
    assert (online.status, online.t, online.boot, online.oldest) == ("online", NOW, 7, 0)
    assert (will.status, will.t, will.boot) == ("offline", NOW, 7)
    dev.sign_off(NOW)
    goodbye = msgspec.msgpack.decode(line.sent[-1].payload, type=Status)
    assert (goodbye.status, goodbye.t) == ("offline", NOW + 1)
    assert line.sent[-1].retain


def test_an_event_reads_as_the_contract_says_and_waits_like_a_frame() -> None:
    dev = device()
    dev.event(NOW, "phase", {"phase": "batch", "previous": None})
    line = connect(dev)
    event = msgspec.msgpack.decode(line.sent[1].payload, type=Event)
    assert event == Event(t=NOW, type="phase", boot=7, data={"phase": "batch", "previous": None})
    dev.acknowledged(1, OK, NOW)
    assert (dev.counts.events_produced, dev.counts.events_acknowledged) == (1, 1)
