"""What a device sends, and sends again when it did not arrive; the link here is a list."""

from __future__ import annotations

import msgspec
import pytest

from device_sim.frames import Format
from device_sim.outbox import LATE_AFTER, REFUSED_PAUSE, WINDOW
from schema.messages import BAD, CONTENT_JSON, CONTENT_MSGPACK, UNCERTAIN, Event, Status, Telemetry
from schema.topics import Kind
from tests.device_sim.line import NOBODY, NOW, OK, Bench, Line

NAN = float("nan")
bench = Bench.with_device


# Live


@pytest.mark.parametrize(("format_", "content_type"), [(Format.MSGPACK, CONTENT_MSGPACK), (Format.JSON, CONTENT_JSON)])
def test_frames_are_numbered_and_read_as_the_contract_says(format_: Format, content_type: str) -> None:
    dev = bench(format=format_)
    line = dev.connect()
    dev.device.frame(NOW, [37.01, 7.0])
    dev.device.frame(NOW + 1000, [NAN, 7.0], (1, UNCERTAIN))
    dev.flush()
    first, second = line.sent[1:]
    assert first.topic == "bioreactors/dev/telemetry"
    assert first.content_type == content_type
    assert first.telemetry == Telemetry(t=NOW, v={"temperature": 37.01, "ph": 7.0}, boot=7, seq=0)
    assert second.telemetry == Telemetry(
        t=NOW + 1000, v={"temperature": None, "ph": 7.0}, boot=7, seq=1, q={"ph": UNCERTAIN}
    )


@pytest.mark.parametrize("format_", list(Format))
def test_a_block_carries_its_frames_and_the_last_one_may_be_short(format_: Format) -> None:
    dev = bench(block=2, format=format_)
    line = dev.connect()
    dev.produce(3)
    dev.device.frame(NOW + 3, [NAN, 7.0], (0, BAD))
    dev.device.frame(NOW + 4, [41.0, 7.0])
    dev.flush()
    assert line.seqs() == [0, 1, 2, 3]
    dev.device.finish()
    dev.flush()
    full, bad, short = (sent.telemetry for sent in line.sent[1:])
    channels = ["temperature", "ph"]
    assert full == Telemetry(t=[NOW, NOW + 1], v=[[37.0, 7.0], [38.0, 7.0]], boot=7, seq=0, ch=channels)
    assert (bad.v, bad.q) == ([[39.0, 7.0], [None, 7.0]], [[0, 0], [BAD, 0]])
    assert short == Telemetry(t=NOW + 4, v={"temperature": 41.0, "ph": 7.0}, boot=7, seq=4)


def test_what_waited_long_goes_to_the_history_topic() -> None:
    dev = bench()
    dev.produce(1, every=LATE_AFTER)
    dev.produce(1)
    line = dev.connect()
    assert [sent.kind for sent in line.sent[1:]] == [Kind.HISTORY, Kind.TELEMETRY]


def test_the_window_of_the_link_is_kept() -> None:
    dev = bench()
    line = dev.connect()
    line.capacity = 3  # the status was one
    dev.produce(5)
    dev.flush()
    assert line.seqs() == [0, 1]


def test_a_duplicate_is_the_same_message_twice_and_counts_once() -> None:
    dev = bench(duplicates=1.0)
    line = dev.connect()
    dev.produce(2)
    dev.flush()
    assert line.seqs() == [0, 0, 1, 1]
    dev.acknowledge()
    assert (dev.counts.produced, dev.counts.acknowledged, dev.counts.duplicates) == (2, 2, 2)


def test_an_event_reads_as_the_contract_says_and_waits_like_a_frame() -> None:
    dev = bench()
    dev.device.event(NOW, "phase", {"phase": "batch", "previous": None})
    line = dev.connect()
    event = msgspec.msgpack.decode(line.sent[1].payload, type=Event)
    assert event == Event(t=NOW, type="phase", boot=7, data={"phase": "batch", "previous": None})
    dev.acknowledge(1)
    assert (dev.counts.events_produced, dev.counts.events_acknowledged) == (1, 1)


def test_online_and_will_carry_the_time_of_the_connection_and_the_goodbye_a_later_one() -> None:
    dev = bench()
    dev.produce(3)
    will = msgspec.msgpack.decode(dev.device.status("offline", NOW), type=Status)
    line = Line()
    dev.device.connected(line, NOW, NOW + 5)
    online = msgspec.msgpack.decode(line.sent[0].payload, type=Status)
    assert (online.status, online.t, online.boot, online.oldest) == ("online", NOW, 7, 0)
    assert (will.status, will.t, will.boot) == ("offline", NOW, 7)
    dev.device.sign_off(NOW)
    goodbye = msgspec.msgpack.decode(line.sent[-1].payload, type=Status)
    assert (goodbye.status, goodbye.t) == ("offline", NOW + 1)
    assert line.sent[-1].retain


# Again


def test_what_was_in_flight_is_sent_again_as_history_with_the_same_content() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(3)
    dev.flush()
    dev.acknowledge(2)  # seq 1
    dev.device.disconnected()
    dev.produce(1)
    again = dev.connect()
    dev.wait(0.2)
    assert again.seqs(Kind.TELEMETRY) == [3]
    assert again.seqs(Kind.HISTORY) == [0, 2]
    assert again.sent[2].payload == line.sent[1].payload
    assert (dev.counts.acknowledged, dev.counts.replayed) == (4, 2)
    assert not dev.device.outbox.pending


def test_acknowledged_frames_are_kept_and_not_sent_again_by_themselves() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(3)
    dev.flush()
    dev.acknowledge()
    dev.device.disconnected()
    again = dev.connect()
    dev.wait(30)
    assert (line.seqs(), again.seqs()) == ([0, 1, 2], [])
    assert dev.device.store.total == 3


def test_what_nobody_received_is_sent_again_later() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(3)
    dev.flush()
    for packet_id, code in ((1, NOBODY), (2, OK), (3, NOBODY)):
        dev.acknowledge(packet_id, code=code)
    dev.produce(1)
    dev.flush()
    dev.wait(REFUSED_PAUSE / 1000 - 0.2, acknowledge=False)
    assert len(line.sent) == 4
    dev.wait(0.4)
    assert line.seqs()[3:] == [3, 0, 2]
    assert (dev.counts.acknowledged, dev.counts.not_delivered) == (4, 2)


def test_an_event_that_nobody_received_is_sent_again() -> None:
    dev = bench()
    dev.device.event(NOW, "dosing", {})
    line = dev.connect()
    dev.acknowledge(code=NOBODY)
    dev.wait(2)
    assert [sent.kind for sent in line.sent[1:]] == [Kind.EVENT, Kind.EVENT]
    assert dev.counts.events_acknowledged == 1


def test_what_is_replayed_does_not_hold_up_live_frames_and_keeps_its_rate() -> None:
    dev = bench(replay_rate=10)
    dev.produce(500)
    line = dev.connect()
    dev.acknowledge()
    dev.wait(1)
    before = len(line.seqs(Kind.HISTORY))
    dev.wait(10)
    assert 90 <= len(line.seqs(Kind.HISTORY)) - before <= 110
    dev.produce(1)
    dev.flush()
    assert line.seqs()[-1] == 500


def test_a_replay_leaves_half_of_the_window_to_live_frames() -> None:
    dev = bench(replay_rate=1e6, keep=20_000)
    dev.produce(10_000)
    line = dev.connect()
    dev.acknowledge()
    dev.wait(1, acknowledge=False)
    replayed = [sent for sent in line.sent if sent.kind is Kind.HISTORY]
    assert 0 < len(replayed) <= WINDOW // 2
    dev.produce(20)
    dev.flush()
    assert line.seqs()[-20:] == list(range(10_000, 10_020))


def test_late_frames_come_out_of_order_and_all_of_them_come() -> None:
    dev = bench(late=0.3)
    line = dev.connect()
    for _ in range(50):
        dev.produce(1)
        dev.wait(0.2)
    dev.device.finish()
    dev.wait(1)
    assert line.seqs() != list(range(50))
    assert sorted(line.seqs()) == list(range(50))
    assert line.seqs(Kind.HISTORY)
