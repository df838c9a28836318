"""What has arrived of each boot → receipts and holes, in the database, merged in turn and none too late."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter, deque
from typing import Any

import asyncpg
import mqtt5
import pytest
from prometheus_client import REGISTRY

from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.intake.registry import Registry
from gateway.receipts.receipts import LONGEST_S, MergeRate, Receipts
from gateway.receipts.streams import OPEN_BOOTS, Streams, add_lost
from gateway.runtime.database import Pool
from schema.topics import Kind
from tests.gateway.material import NOW_MS, admitted, delivery, frames, settings, until
from tests.locks import waits_at_a_lock


@pytest.fixture
def streams(pool: Pool) -> Streams:
    return Streams(pool)


@pytest.fixture
def leading() -> asyncio.Event:
    """Set: this process leads."""
    it = asyncio.Event()
    it.set()
    return it


async def say(streams: Streams, registry: Registry, device: str, *seqs: int, boot: int = 1) -> None:
    """Frames of a device are settled."""
    for seq in seqs:
        streams.note(await frames(registry, device, (NOW_MS + seq, {"ph": 7.0}), seq=seq, boot=boot))


async def test_of_many_streams_those_that_have_waited_longest_are_merged_first(
    streams: Streams, registry: Registry
) -> None:
    async def merged(most: int | None) -> list[tuple[str, int | None]]:
        return [(state.device, state.receipt) for state in await streams.merge(most)]

    for device in ("r1", "r2", "r3", "r4", "r5"):
        await say(streams, registry, device, 0, 1)
    assert await merged(2) == [("r1", 1), ("r2", 1)]
    await say(streams, registry, "r1", 3, 2)
    assert streams.waiting == 4
    assert await merged(2) == [("r3", 1), ("r4", 1)]
    assert await merged(None) == [("r1", 3), ("r5", 1)]
    assert streams.waiting == 0


async def test_of_many_boots_the_newest_of_each_device_have_receipts_and_backfill(
    streams: Streams, registry: Registry
) -> None:
    boots = range(1, OPEN_BOOTS + 3)
    for device in ("r1", "r2"):
        for boot in boots:
            await say(streams, registry, device, 0, 2, boot=boot)
    arrived = await streams.merge()
    states = await streams.states({state.stream[0] for state in arrived})
    newest = [*boots][-OPEN_BOOTS:]
    assert [(state.device, state.stream[1]) for state in states] == [
        (device, boot) for device in ("r1", "r2") for boot in newest
    ]
    assert {(state.receipt, *state.holes) for state in states} == {(0, (1, 1))}
    assert await streams.recent() == arrived  # those that have just sent, too
    assert {state.stream[1] for state in arrived} == {*boots}


async def test_what_could_not_be_merged_is_merged_with_what_was_noted_meanwhile(
    streams: Streams, registry: Registry, database: asyncpg.Connection
) -> None:
    await say(streams, registry, "r3", 0)
    [settled] = await streams.merge()
    await say(streams, registry, "r1", 0, 1)
    await say(streams, registry, "r2", 0)
    streams.look_again([settled.stream[0]])
    async with database.transaction():
        await database.execute("lock table device_streams in access exclusive mode")
        merging = asyncio.create_task(streams.merge())
        await until(lambda: waits_at_a_lock(database))
        await say(streams, registry, "r1", 2, 3)  # meanwhile
        merging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await merging
    states = await streams.merge()
    assert {state.device: state.receipt for state in states} == {"r1": 3, "r2": 0, "r3": 0}


# -- when


async def test_history_is_asked_for_while_the_window_has_room_and_not_before(
    pool: Pool, registry: Registry, leading: asyncio.Event
) -> None:
    chosen = settings(receipt_interval_s=0.01, reorder_window_s=0)
    outbox, window = Outbox(), IntakeWindow(4 * delivery(b"").weight)
    receipts, rounds = Receipts(chosen, pool, outbox, window, {}, leading=leading), Counter[str]()
    waiting = delivery(b"longer than a quarter")
    window.add(waiting)
    receipts.note(await frames(registry, "r1", (NOW_MS, {"ph": 7.0}), seq=0), [])
    receipts.note(await frames(registry, "r1", (NOW_MS + 2, {"ph": 7.0}), seq=2), [])
    running = asyncio.create_task(receipts.run(lambda: rounds.update(["round"])))
    await until(lambda: rounds["round"] > 5)
    assert sent(outbox) == [("bioreactors/r1/receipt", [[1, 0]])]
    window.release(waiting.weight)
    await until(lambda: not outbox.empty.is_set())
    assert sent(outbox) == [("bioreactors/r1/backfill", {"boot": 1, "ranges": [[1, 1]]})]
    receipts.close()
    await running


async def test_after_a_connect_recent_devices_are_known_again_and_told_anew_if_the_broker_forgot(
    pool: Pool, registry: Registry, streams: Streams, leading: asyncio.Event
) -> None:
    """As a gateway that takes a session over, or was killed: nothing new comes of the device."""
    await say(streams, registry, "r1", 0, 2)
    await streams.merge()
    chosen = settings(receipt_interval_s=0.01, reorder_window_s=0)
    outbox, rounds = Outbox(), Counter[str]()
    receipts = Receipts(chosen, pool, outbox, IntakeWindow(1000), {}, leading=leading)
    running = asyncio.create_task(receipts.run(lambda: rounds.update(["round"])))
    receipt = "bioreactors/r1/receipt", [[1, 0]]

    async def told(session_present: bool) -> list[tuple[str, Any]]:
        before = rounds["round"]
        receipts.connected(session_present)
        await until(lambda: rounds["round"] >= before + 2)
        return sent(outbox)

    assert await told(session_present=True) == [
        receipt,
        ("bioreactors/r1/backfill", {"boot": 1, "ranges": [[1, 1]]}),
    ]
    assert await told(session_present=True) == []
    assert await told(session_present=False) == [receipt]
    receipts.close()
    await running


def sent(outbox: Outbox) -> list[tuple[str, Any]]:
    """What the outbox gives to a broker that acknowledges at once."""
    found = []
    for packet in [mqtt5.read(memoryview(packet))[0] for packet in outbox.packets(1000)]:
        assert isinstance(packet, mqtt5.PublishPacket)
        assert packet.packet_id is not None
        outbox.acknowledged(packet.packet_id)
        found.append((packet.topic, json.loads(packet.payload)))
    return found


@pytest.mark.parametrize("interval_s", [0.25, 1.0, 60.0])
@pytest.mark.parametrize(("streams", "again"), [(50_000, True), (50_000, False), (12_345, True), (900, False)])
def test_no_stream_waits_longer_than_the_bound_however_many_there_are(
    streams: int, again: bool, interval_s: float
) -> None:
    """Either each is noted again when it was merged, as those of devices that go on, or a burst ends."""
    rate = MergeRate(per_s=1000, interval_s=interval_s)
    waiting, longest = deque([0.0] * streams), 0.0
    for turn in range(1, int(3 * LONGEST_S / interval_s) + 2):
        now = turn * interval_s
        for _ in range(min(rate.most(len(waiting)), len(waiting))):
            longest = max(longest, now - waiting.popleft())
            if again:
                waiting.append(now)
    assert longest <= max(LONGEST_S, interval_s)
    assert again or not waiting


def test_few_streams_are_merged_at_the_rate_that_is_set() -> None:
    assert MergeRate(per_s=100, interval_s=0.5).most(900) == 50


async def test_a_device_has_returned_when_it_comes_online_and_not_when_it_goes(
    streams: Streams, registry: Registry
) -> None:
    """A will, which the broker publishes: nobody is there who could be asked."""
    for status, number in (("offline", 0), ("online", 1)):
        streams.note(await admitted(registry, Kind.STATUS, {"t": NOW_MS, "status": status}))
        assert len(streams.returned()) == number
    assert streams.returned() == set()


async def test_all_that_waits_is_told_at_the_end(pool: Pool, registry: Registry, leading: asyncio.Event) -> None:
    """However few are merged in an interval before."""
    chosen, outbox = settings(receipt_interval_s=0.01, receipts_per_s=1), Outbox()
    receipts = Receipts(chosen, pool, outbox, IntakeWindow(1000), {}, leading=leading)
    for boot in range(1, 31):
        receipts.note(await frames(registry, "r1", (NOW_MS + boot, {"ph": 7.0}), seq=0, boot=boot), [])
    receipts.close()
    await receipts.run(lambda: None)
    assert sent(outbox) == [("bioreactors/r1/receipt", [[boot, 0] for boot in range(1, 31)])]


async def test_a_boot_that_goes_on_after_days_is_recent_again(
    streams: Streams, registry: Registry, database: asyncpg.Connection
) -> None:
    """By a frame, or by one that is given up."""

    async def recent() -> list[int | None]:
        found = [state.receipt for state in await streams.recent()]
        await database.execute("update device_streams set changed_at = now() - interval '2 days'")
        return found

    await say(streams, registry, "r1", 0, 2)
    await streams.merge()
    assert (await recent(), await recent()) == ([0], [])
    await say(streams, registry, "r1", 4)
    await streams.merge()
    assert (await recent(), await recent()) == ([0], [])
    await add_lost(database, [(await database.fetchval("select device_id from device_streams"), 1, 1, 1)])
    assert (await recent(), await recent()) == ([2], [])


async def test_who_does_not_lead_any_more_tells_of_no_holes_and_asks_for_none(
    pool: Pool, registry: Registry, leading: asyncio.Event
) -> None:
    def told() -> list[float | None]:
        names = ("biogate_holes", "biogate_missing_frames", "biogate_oldest_hole_seconds")
        values = [REGISTRY.get_sample_value(name) for name in names]
        return [value if value is None else math.ceil(value) for value in values]

    chosen = settings(receipt_interval_s=0.01, reorder_window_s=0)
    outbox, rounds = Outbox(), Counter[str]()
    receipts = Receipts(chosen, pool, outbox, IntakeWindow(1000), {}, leading=leading)
    running = asyncio.create_task(receipts.run(lambda: rounds.update(["round"])))
    receipts.note(await frames(registry, "r1", (NOW_MS, {"ph": 7.0}), seq=0), [])
    receipts.note(await frames(registry, "r1", (NOW_MS + 2, {"ph": 7.0}), seq=3), [])
    asked: list[str] = []

    def is_asked() -> bool:
        asked.extend(topic for topic, _ in sent(outbox))
        return "bioreactors/r1/backfill" in asked

    await until(is_asked)
    assert told() == [1, 2, 1]
    leading.clear()
    await until(lambda: told() == [None, None, None])
    before = rounds["round"]
    await until(lambda: rounds["round"] > before + 20)
    assert sent(outbox) == []
    receipts.connected(session_present=True)
    leading.set()
    await until(lambda: told() == [1, 2, 1])
    receipts.close()
    await running


async def test_a_hole_of_an_old_boot_is_closed_when_a_person_gives_its_frames_up(
    pool: Pool, registry: Registry, database: asyncpg.Connection, leading: asyncio.Event
) -> None:
    chosen = settings(receipt_interval_s=0.01, reorder_window_s=0)
    receipts = Receipts(chosen, pool, Outbox(), IntakeWindow(1000), {}, leading=leading)
    running = asyncio.create_task(receipts.run(lambda: None))
    for seq in (0, 2):
        receipts.note(await frames(registry, "r1", (NOW_MS + seq, {"ph": 7.0}), seq=seq), [])
    await until(lambda: REGISTRY.get_sample_value("biogate_holes") == 1)
    for boot in range(2, OPEN_BOOTS + 3):
        receipts.note(await frames(registry, "r1", (NOW_MS + boot, {"ph": 7.0}), seq=0, boot=boot), [])
    await until(lambda: database.fetchval("select count(*) = $1 from device_streams", OPEN_BOOTS + 2))
    await add_lost(database, [(await database.fetchval("select device_id from device_streams limit 1"), 1, 1, 1)])
    await until(lambda: REGISTRY.get_sample_value("biogate_holes") == 0)
    receipts.close()
    await running
