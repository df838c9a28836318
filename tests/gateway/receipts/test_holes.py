"""When holes are declared, asked for, and forgotten; and the texts and packets that come of it."""

from __future__ import annotations

import itertools
import re

import mqtt5
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.outbox import Outbox
from gateway.receipts.holes import Holes
from gateway.receipts.streams import multirange

STREAM = (1, 7)
ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])), min_size=1
)


def due(holes: Holes, now: float, *, streams: int = 10, frames: int = 1000) -> list[tuple[int, int]]:
    return [found for _, ranges in holes.due(now, streams, frames) for found in ranges]


def test_a_hole_is_asked_for_after_the_reorder_window_and_again_after_a_time_that_doubles() -> None:
    holes = Holes(10, 30)
    holes.update(STREAM, [(3, 5)], 100)
    asked_at = [now for now in range(100, 500) if due(holes, now)]
    assert asked_at == [110, 140, 200, 320]


def test_it_is_never_asked_for_less_often_than_once_an_hour() -> None:
    holes = Holes(0, 30)
    holes.update(STREAM, [(3, 5)], 0)
    asked_at = [now for now in range(0, 20 * 3600, 10) if due(holes, now)]
    assert max(b - a for a, b in itertools.pairwise(asked_at)) == 3600


def test_a_hole_that_shrinks_or_splits_keeps_its_age_and_a_new_one_begins_its_own() -> None:
    holes = Holes(10, 30)
    holes.update(STREAM, [(3, 9)], 100)
    holes.update(STREAM, [(3, 4), (7, 9), (20, 20)], 105)
    assert due(holes, 110) == [(3, 4), (7, 9)]
    assert holes.declared(110) == (2, 5)
    assert due(holes, 115) == [(20, 20)]


def test_a_hole_that_joins_others_is_as_old_as_the_oldest_of_them() -> None:
    for joined in ([(3, 4)], [(8, 9)]), ([(8, 9)], [(3, 4)]):
        holes = Holes(10, 30)
        holes.update(STREAM, joined[0], 100)
        holes.update(STREAM, sorted([*joined[0], *joined[1]]), 107)
        holes.update(STREAM, [(3, 9)], 108)
        assert due(holes, 109) == []
        assert due(holes, 110) == [(3, 9)]


def test_a_declared_hole_is_as_old_as_it_is_known() -> None:
    holes = Holes(10, 30)
    holes.update(STREAM, [(3, 5)], 100)
    holes.update((2, 7), [(0, 0)], 107)
    assert [holes.oldest_s(now) for now in (109, 110, 120)] == [0, 10, 20]
    holes.update(STREAM, [], 121)
    assert holes.oldest_s(122) == 15


def test_a_hole_that_is_filled_is_forgotten() -> None:
    holes = Holes(10, 30)
    holes.update(STREAM, [(3, 9)], 100)
    holes.update(STREAM, [], 105)
    assert due(holes, 1000) == []
    assert holes.declared(1000) == (0, 0)


def test_a_request_is_bounded_in_frames_and_the_rest_follows() -> None:
    holes = Holes(0, 30)
    holes.update(STREAM, [(0, 2**53 - 1), (2**53 + 5, 2**53 + 5)], 0)
    assert due(holes, 0, frames=100) == [(0, 99)]
    assert due(holes, 0, frames=100) == [(2**53 + 5, 2**53 + 5)]


def test_only_so_many_streams_are_asked_at_once_and_the_others_next_time() -> None:
    holes = Holes(0, 30)
    for boot in range(5):
        holes.update((1, boot), [(0, 0)], 0)
    found = [[stream for stream, _ in holes.due(now, 2, 10)] for now in (0, 1, 2)]
    assert sorted(stream for streams in found for stream in streams) == [(1, boot) for boot in range(5)]
    assert [len(streams) for streams in found] == [2, 2, 1]


def test_streams_that_always_have_new_holes_leave_the_others_their_turn() -> None:
    holes, open_ = Holes(10, 30), {(device, 1): [(0, 0)] for device in range(50)}
    asked = set()
    for now in range(60):
        for stream, ranges in open_.items():
            ranges.append((2 * now, 2 * now))
            holes.update(stream, ranges, now)
        for stream, answered in holes.due(now, 2, 10):
            asked.add(stream)
            open_[stream] = [hole for hole in open_[stream] if hole not in answered]
    assert len(asked) == 50


def test_a_device_that_returns_is_asked_at_once_for_what_it_was_asked_in_vain() -> None:
    holes = Holes(10, 30)
    holes.update(STREAM, [(3, 5)], 0)
    holes.update((2, 1), [(8, 8)], 0)
    assert due(holes, 10) == [(3, 5), (8, 8)]
    holes.update(STREAM, [(3, 5), (7, 7)], 11)
    holes.ask_again(1, 12)
    assert due(holes, 12) == [(3, 5)]


@given(ranges)
def test_a_multirange_has_exactly_the_seqs_of_its_ranges_and_no_neighbours(given: list[tuple[int, int]]) -> None:
    found = [(int(a), int(b)) for a, b in re.findall(r"\[(\d+),(\d+)\]", multirange(given))]
    assert {seq for a, b in found for seq in range(a, b + 1)} == {seq for a, b in given for seq in range(a, b + 1)}
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(found))


def published(outbox: Outbox, most: int = 10) -> list[tuple[str, bytes, int | None]]:
    packets = [mqtt5.read(memoryview(packet))[0] for packet in outbox.packets(most)]
    assert all(isinstance(packet, mqtt5.PublishPacket) for packet in packets)
    return [(p.topic, p.payload, p.packet_id) for p in packets if isinstance(p, mqtt5.PublishPacket)]


def test_of_a_topic_only_the_newest_message_is_published() -> None:
    outbox = Outbox()
    outbox.put("a", b"1", retain=True)
    outbox.put("b", b"1", retain=True)
    outbox.put("a", b"2", retain=True)
    assert [found[:2] for found in published(outbox)] == [("a", b"2"), ("b", b"1")]


def test_what_was_not_acknowledged_is_published_again_unless_there_is_something_newer() -> None:
    outbox = Outbox()
    for topic in ("a", "b", "c"):
        outbox.put(topic, b"1", retain=True)
    (_, _, first), *_ = published(outbox)
    assert first is not None
    assert outbox.acknowledged(first) == "a"
    outbox.put("b", b"2", retain=True)
    outbox.connection_lost()
    assert sorted(found[:2] for found in published(outbox)) == [("b", b"2"), ("c", b"1")]


def test_no_more_are_under_way_than_the_broker_allows_and_it_says_when_it_is_empty() -> None:
    outbox = Outbox()
    for n in range(5):
        outbox.put(str(n), b"", retain=False)
    sent = published(outbox, most=2)
    assert len(sent) == 2
    assert published(outbox, most=2) == []
    while sent:
        assert not outbox.empty.is_set()
        for _, _, packet_id in sent:
            assert packet_id is not None
            outbox.acknowledged(packet_id)
        sent = published(outbox, most=2)
    assert outbox.empty.is_set()
    assert outbox.acknowledged(4711) is None
