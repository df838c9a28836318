"""The newest message of each topic is published until the broker has it, whatever becomes of connections."""

from __future__ import annotations

from collections.abc import Iterable

import mqtt5

from gateway.broker.outbox import Outbox


def read(packets: Iterable[bytes]) -> list[tuple[int, str, bytes, bool]]:
    """Packet id, topic, payload, and whether it is retained."""
    found = []
    for data in packets:
        packet, _ = mqtt5.read(memoryview(data))
        assert isinstance(packet, mqtt5.PublishPacket)
        assert packet.packet_id is not None
        found.append((packet.packet_id, packet.topic, bytes(packet.payload), packet.retain))
    return found


def test_it_is_empty_once_the_broker_has_all() -> None:
    outbox = Outbox()
    assert outbox.empty.is_set()
    outbox.put("a", b"1", retain=True)
    outbox.put("b", b"2", retain=False)
    assert not outbox.empty.is_set()
    assert read(outbox.packets(10)) == [(2, "a", b"1", True), (3, "b", b"2", False)]
    assert not outbox.empty.is_set(), "nothing is acknowledged"
    assert outbox.acknowledged(2) == "a"
    assert not outbox.empty.is_set()
    outbox.put("c", b"3", retain=False)
    assert outbox.acknowledged(3) == "b"
    assert not outbox.empty.is_set(), "one waits"
    read(outbox.packets(10))
    assert outbox.acknowledged(4) == "c"
    assert outbox.empty.is_set()
    assert outbox.acknowledged(4) is None


def test_no_more_are_under_way_than_may_be_and_the_newest_of_a_topic_replaces_one_that_waits() -> None:
    outbox = Outbox()
    for topic in ("a", "b", "c"):
        outbox.put(topic, b"1", retain=True)
    assert [topic for _, topic, *_ in read(outbox.packets(2))] == ["a", "b"]
    outbox.put("c", b"2", retain=True)
    assert read(outbox.packets(2)) == []
    outbox.acknowledged(2)
    assert read(outbox.packets(2)) == [(4, "c", b"2", True)]


def test_what_was_not_acknowledged_is_sent_again_unless_there_is_a_newer_one() -> None:
    outbox = Outbox()
    for topic in ("a", "b"):
        outbox.put(topic, b"old", retain=True)
    read(outbox.packets(10))
    outbox.put("b", b"new", retain=False)
    outbox.connection_lost()
    assert sorted(one[1:] for one in read(outbox.packets(10))) == [("a", b"old", True), ("b", b"new", False)]
    assert not outbox.empty.is_set()


def test_a_packet_id_is_free_and_never_that_of_the_subscribe() -> None:
    outbox = Outbox()
    outbox.put("first", b"", retain=False)
    [(first, *_)] = read(outbox.packets(1))
    used = set()
    for n in range(70_000):
        outbox.put(f"{n}", b"", retain=False)
        [(packet_id, *_)] = read(outbox.packets(2))
        used.add(packet_id)
        outbox.acknowledged(packet_id)
    assert used == {*range(2, 65_536)} - {first}
