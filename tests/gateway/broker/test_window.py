"""The window: bounded in bytes, in the order of receipt."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.window import OVERHEAD, IntakeWindow
from gateway.items import Delivery
from tests.gateway.material import delivery
from tests.gateway.samples import counted, more


def of(size: int) -> Delivery:
    """A delivery that counts for `size` bytes."""
    return delivery(bytes(size - OVERHEAD - 1), "t")


def test_a_message_counts_for_its_payload_topic_and_what_it_costs_beside() -> None:
    assert delivery(b"12345", "abc").weight == 5 + 3 + OVERHEAD
    assert of(300).weight == 300


async def test_messages_leave_in_the_order_of_receipt_and_not_more_than_asked_for() -> None:
    window = IntakeWindow(10**6)
    sent = [of(300 + n) for n in range(5)]
    window.add(*sent[:2])
    window.add(*sent[2:])
    assert window.waiting == 5
    assert await window.take(2, 10**6) == sent[:2]
    assert await window.take(100, 10**6) == sent[2:]
    assert window.waiting == 0


async def test_a_few_large_messages_are_enough_to_take_at_once() -> None:
    window = IntakeWindow(10**6)
    sent = [of(400) for _ in range(5)]
    for each in sent:
        window.add(each)
    assert await window.take(100, 1000) == sent[:3]
    assert await window.take(100, 1) == sent[3:4]
    assert await window.take(100, 1000) == sent[4:]


async def test_it_is_full_at_its_bound_and_has_room_again_at_half_of_it() -> None:
    window, rooms = IntakeWindow(1000), []
    window.on_room = lambda: rooms.append(window.bytes)
    window.add(of(600))
    assert not window.full
    window.add(of(400))
    assert window.full
    window.add(of(300))  # what arrived before the reading stopped
    assert window.bytes == 1300
    window.release(400)
    assert window.full
    window.release(399)
    assert (window.bytes, window.full, rooms) == (501, True, [])
    window.release(1)
    assert (window.bytes, window.full, rooms) == (500, False, [500])
    window.release(500)
    assert rooms == [500]


async def test_taking_makes_no_room_but_releasing_does() -> None:
    window = IntakeWindow(1000)
    window.add(of(1000))
    await window.take(1, 10**6)
    assert window.full
    window.release(1000)
    assert not window.full


async def test_who_takes_from_an_empty_window_waits_for_the_next_message() -> None:
    window = IntakeWindow(1000)
    taking = asyncio.create_task(window.take(10, 10**6))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not taking.done()
    message = of(300)
    window.add(message)
    assert await taking == [message]


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_closed_window_ends_when_the_rest_is_taken(waiting: bool) -> None:
    window = IntakeWindow(1000)
    if waiting:
        taking = asyncio.create_task(window.take(10, 10**6))
        await asyncio.sleep(0)
        window.close()
        assert await taking == []
    else:
        window.add(of(300))
        window.close()
        assert len(await window.take(10, 10**6)) == 1
    assert await window.take(10, 10**6) == []


@given(st.lists(st.one_of(st.integers(OVERHEAD + 1, 900), st.just(0)), max_size=50))
def test_it_is_full_from_reaching_the_bound_until_half_of_it(steps: list[int]) -> None:
    """Each step adds a message of that size, or (0) releases the oldest one."""
    window = IntakeWindow(2000)
    held: list[int] = []
    full = False
    for step in steps:
        if step:
            window.add(of(step))
            held.append(step)
        elif held:
            window.release(held.pop(0))
        full = sum(held) >= 2000 or (full and sum(held) > 1000)
        assert (window.bytes, window.full) == (sum(held), full)


def test_each_time_that_it_is_full_is_counted_once() -> None:
    window, before = IntakeWindow(1000), counted()
    for _ in range(2):
        window.add(of(600), of(600))
        window.add(of(600))
        window.release(window.bytes)
    assert more(before, "biogate_window_full") == {"biogate_window_full_total": 2}
