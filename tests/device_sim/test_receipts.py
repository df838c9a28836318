"""What a device keeps, forgets, and sends again when it is asked or was off."""

from __future__ import annotations

import msgspec
import pytest

from schema.messages import Event, Status
from schema.topics import Kind
from tests.device_sim.line import NOW, Bench

bench = Bench.with_device


# Store and receipts


def test_a_receipt_makes_the_device_forget_whatever_was_acknowledged() -> None:
    dev = bench()
    dev.connect()
    dev.produce(5)
    dev.flush()
    dev.acknowledge(1, 2)
    dev.receipt((7, 2))
    assert dev.device.store.total == 2
    assert (dev.counts.receipted, dev.counts.acknowledged) == (3, 3)
    status = msgspec.msgpack.decode(dev.device.status("online", NOW), type=Status)
    assert status.oldest == 3
    dev.receipt((7, 4))
    assert msgspec.msgpack.decode(dev.device.status("online", NOW), type=Status).oldest == 5
    assert (dev.counts.acknowledged, dev.device.store.unacknowledged) == (5, 0)


def test_a_receipt_for_frames_that_were_never_produced_is_not_believed() -> None:
    dev = bench()
    dev.produce(3)
    for _ in range(2):
        dev.receipt((7, 3), (8, 0))
    assert dev.device.store.total == 3
    assert dev.said == [
        "dev: a receipt covers frames that were not produced, boot 7 seq 3: ignored",
        "dev: a receipt covers frames that were not produced, boot 8 seq 0: ignored",
    ]


@pytest.mark.parametrize("payload", [b"", b"[[7]]", b'[["7", 1]]', b"\xff", b"{}"])
def test_what_cannot_be_read_is_reported_and_changes_nothing(payload: bytes) -> None:
    dev = bench()
    dev.produce(2)
    dev.device.receipt(payload, NOW)
    dev.device.backfill(payload, NOW)
    assert dev.device.store.total == 2
    assert len(dev.said) == 2


def test_a_full_store_loses_the_oldest_and_says_so_by_name() -> None:
    dev = bench(keep=3)
    dev.produce(5)
    assert (dev.counts.produced, dev.counts.lost, dev.device.lost) == (5, 2, 2)
    assert dev.said == ["dev: store full, losing frames from boot 7 seq 0 on"]
    line = dev.connect()
    dev.wait(1)
    assert line.seqs() == [2, 3, 4]
    assert msgspec.msgpack.decode(line.sent[0].payload, type=Status).oldest == 2


def test_what_the_gateway_asks_for_is_sent_again_as_history() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(10)
    dev.flush()
    dev.acknowledge()
    dev.ask(7, (2, 4), (8, 8))
    dev.wait(1)
    assert line.seqs(Kind.HISTORY) == [2, 3, 4, 8]
    assert (dev.counts.asked, dev.counts.unavailable, dev.counts.acknowledged) == (4, 0, 10)
    assert line.sent[-2].telemetry.v == [[39.0, 7.0], [40.0, 7.0], [41.0, 7.0]]


def test_what_it_does_not_have_any_more_is_reported_as_lost() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(10)
    dev.flush()
    dev.acknowledge()
    dev.receipt((7, 3))
    dev.ask(7, (2, 4))
    dev.ask(5, (0, 99))
    dev.wait(1)
    results = [sent.result for sent in line.sent if sent.kind is Kind.BACKFILL_RESULT]
    assert [(result.boot, result.ranges) for result in results] == [(7, [(2, 3)]), (5, [(0, 99)])]
    assert line.seqs(Kind.HISTORY) == [4]
    assert (dev.counts.asked, dev.counts.unavailable) == (103, 102)


def test_frames_that_are_still_to_come_are_never_reported_as_lost() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(2)
    dev.ask(7, (1, 50), (2, 2))
    dev.ask(8, (0, 3))
    dev.wait(1)
    assert not [sent for sent in line.sent if sent.kind is Kind.BACKFILL_RESULT]


def test_a_frame_that_is_withheld_comes_only_when_asked_for() -> None:
    dev = bench(drop=0.5)
    line = dev.connect()
    dev.produce(20)
    dev.wait(30)
    withheld = sorted(set(range(20)) - set(line.seqs()))
    assert len(withheld) == dev.counts.held_back > 0
    dev.ask(7, *((seq, seq) for seq in withheld))
    dev.wait(5)
    assert sorted(line.seqs()) == list(range(20))
    assert dev.counts.acknowledged == 20


def test_the_last_frame_is_sent_even_if_it_was_withheld() -> None:
    dev = bench(drop=1.0)
    line = dev.connect()
    dev.produce(5)
    dev.device.finish()
    dev.wait(1)
    assert line.seqs() == [4]


def test_without_receipts_for_long_the_newest_frame_is_sent_again() -> None:
    dev = bench(resend_after=60)
    line = dev.connect()
    dev.produce(5)
    dev.flush()
    dev.acknowledge()
    dev.wait(59)
    assert line.seqs(Kind.HISTORY) == []
    dev.wait(3)
    assert line.seqs(Kind.HISTORY) == [4]
    dev.receipt((7, 4))
    dev.wait(200)
    assert line.seqs(Kind.HISTORY) == [4]


# Boots


def test_after_a_reboot_old_frames_that_were_not_acknowledged_are_sent_as_history() -> None:
    dev = bench()
    line = dev.connect()
    dev.produce(4)
    dev.device.event(NOW, "dosing", {})
    dev.flush()
    dev.acknowledge(*range(1, len(line.sent) - 2))
    dev.device.reboot(8)
    dev.produce(2)
    again = dev.connect()
    dev.wait(1)
    assert again.frames(Kind.TELEMETRY) == [(8, 0), (8, 1)]
    assert again.frames(Kind.HISTORY) == [(7, seq) for seq in range(4) if (7, seq) not in line.frames()[:2]]
    assert (dev.counts.events_lost, dev.counts.reboots) == (0, 1)
    dev.receipt((7, 3), (8, 0))
    assert dev.device.store.total == 1


def test_a_reboot_loses_events_that_were_not_acknowledged() -> None:
    dev = bench()
    dev.device.event(NOW, "dosing", {})
    dev.device.reboot(8)
    assert dev.counts.events_lost == 1
    assert not dev.device.outbox.pending


def test_a_wrong_clock_shows_in_frames_and_events_and_not_in_statuses() -> None:
    dev = bench()
    dev.device.step_clock(-5000)
    line = dev.connect()
    dev.produce(1)
    dev.device.event(NOW, "dosing", {})
    dev.flush()
    event, frame = line.sent[1:]
    assert frame.telemetry.t == NOW - 5000
    assert msgspec.msgpack.decode(event.payload, type=Event).t == NOW - 5000
    assert msgspec.msgpack.decode(line.sent[0].payload, type=Status).t == NOW
    assert frame.kind is Kind.TELEMETRY
