"""The batch: grows while nobody takes it, within bounds; acknowledgements by connection, in the order of receipt."""

from __future__ import annotations

import asyncio

from gateway.intake.batch import Batch, Batcher
from gateway.items import DeviceEvent, Item, NoBroker
from tests.gateway.material import NOW_MS, delivery, route

LONG_S = 3600.0


def items(count: int, first: int = 0) -> list[Item]:
    return [DeviceEvent(route(1), float(first + n), "alarm", "{}", None, NOW_MS) for n in range(count)]


async def turns() -> None:
    """Let all tasks run as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def taken(batcher: Batcher) -> Batch:
    """The next batch, which must be there at once."""
    taking = asyncio.create_task(batcher.take())
    await turns()
    assert taking.done()
    batch = await taking
    assert batch is not None
    return batch


async def test_items_and_acknowledgements_keep_the_order_of_receipt() -> None:
    first, second = NoBroker(), NoBroker()
    batch, sent = Batch(), items(6)
    batch.add([delivery(b"abc", connection=first, packet_id=5)], sent[:1])
    batch.add([delivery(b"abc", connection=second, packet_id=1)], sent[1:3])
    batch.add([delivery(b"abc", connection=first, packet_id=0)], sent[3:4])
    batch.add([delivery(b"abc", connection=first, packet_id=2)], sent[4:6])
    assert batch.items == sent
    assert batch.acks == {first: [5, 2], second: [1]}
    assert batch.bytes == 4 * delivery(b"abc").weight


async def test_messages_of_two_connections_that_were_decoded_in_one_turn_are_acknowledged_each_on_its_own() -> None:
    first, second, batch = NoBroker(), NoBroker(), Batch()
    came = [(first, 7), (first, 8), (second, 1), (second, 0), (second, 7)]
    batch.add([delivery(b"", connection=connection, packet_id=packet_id) for connection, packet_id in came], items(5))
    assert batch.acks == {first: [7, 8], second: [1, 7]}


async def test_what_came_while_the_writer_was_busy_is_the_next_batch() -> None:
    batcher, sent = Batcher(100, 10**6, 0), items(7)
    batcher.add([delivery(b"")], sent[:3])
    assert (await taken(batcher)).items == sent[:3]
    batcher.add([delivery(b"")], sent[3:5])
    batcher.add([delivery(b"")], sent[5:])
    assert (await taken(batcher)).items == sent[3:]


async def test_a_waiting_writer_gets_what_is_flushed() -> None:
    batcher, sent = Batcher(100, 10**6, 0), items(1)
    taking = asyncio.create_task(batcher.take())
    await turns()
    assert not taking.done()
    batcher.add([delivery(b"")], sent)
    await batcher.flush()
    batch = await taking
    assert batch is not None
    assert batch.items == sent


async def test_the_decoder_waits_while_the_batch_has_enough_items() -> None:
    batcher = Batcher(3, 10**6, 0)
    batcher.add([delivery(b"")], items(2))
    await batcher.room()
    batcher.add([delivery(b"")], items(5))  # a message is not split
    assert batcher.full
    waiting = asyncio.create_task(batcher.room())
    await turns()
    assert not waiting.done()
    assert len((await taken(batcher)).items) == 7
    await waiting
    assert not batcher.full


async def test_the_decoder_waits_while_the_batch_has_enough_bytes() -> None:
    message = delivery(bytes(1000))
    batcher = Batcher(10**6, message.weight + 1, 0)
    batcher.add([message], items(1))
    assert not batcher.full
    batcher.add([message], items(1))
    assert batcher.full


async def test_the_first_batch_is_taken_at_once_and_the_next_lingers() -> None:
    batcher = Batcher(100, 10**6, LONG_S)
    batcher.add([delivery(b"")], items(1))
    await taken(batcher)
    batcher.add([delivery(b"")], items(1))
    await batcher.flush()
    taking = asyncio.create_task(batcher.take())
    await turns()
    assert not taking.done()
    taking.cancel()


async def test_a_full_batch_does_not_linger() -> None:
    batcher = Batcher(3, 10**6, LONG_S)
    batcher.add([delivery(b"")], items(1))
    await taken(batcher)
    batcher.add([delivery(b"")], items(2))
    taking = asyncio.create_task(batcher.take())
    await turns()
    assert not taking.done()
    batcher.add([delivery(b"")], items(1))
    await batcher.flush()
    batch = await taking
    assert batch is not None
    assert len(batch.items) == 3


async def test_a_batch_lingers_no_longer_than_set() -> None:
    batcher = Batcher(100, 10**6, 0.03)
    loop = asyncio.get_running_loop()
    taken_at = []
    for _ in range(3):
        batcher.add([delivery(b"")], items(1))
        await batcher.take()
        taken_at.append(loop.time())
    assert taken_at[1] - taken_at[0] >= 0.03 - 0.001
    assert 0.06 - 0.002 <= taken_at[2] - taken_at[0] < 5


async def test_what_is_there_when_the_batcher_closes_is_taken_without_lingering_and_then_it_ends() -> None:
    batcher = Batcher(100, 10**6, LONG_S)
    batcher.add([delivery(b"")], items(1))
    await taken(batcher)
    batcher.add([delivery(b"")], items(2))
    taking = asyncio.create_task(batcher.take())
    await turns()
    assert not taking.done()
    await batcher.close()
    batch = await taking
    assert batch is not None
    assert len(batch.items) == 2
    assert await batcher.take() is None
    assert await batcher.take() is None


async def test_a_writer_that_waits_for_nothing_ends_when_the_batcher_closes() -> None:
    batcher = Batcher(100, 10**6, LONG_S)
    taking = asyncio.create_task(batcher.take())
    await turns()
    await batcher.close()
    assert await taking is None
