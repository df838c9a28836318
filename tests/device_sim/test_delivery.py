"""Nothing is lost between a device and a receipt: fleets against a real broker, with a subscriber as the gateway."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from device_sim.boots import next_boots
from device_sim.fleet import Fleet
from device_sim.frames import Format
from device_sim.habits import Habits
from device_sim.journal import Lost, Produced, Stepped, read
from schema.topics import Kind
from tests.device_sim.subscriber import BrokerFixture, Relay, Subscriber, finish, plan, say_nothing, start, subscribed


def produced(journal: Path) -> list[tuple[str, int, int]]:
    return [(record.device, record.boot, record.seq) for record in read(journal) if isinstance(record, Produced)]


def nothing_remains(summary: dict[str, object]) -> bool:
    return (summary["unreceipted"], summary["lost"]) == (0, 0)


async def until_online(subscriber: Subscriber, count: int) -> None:
    await subscriber.until(lambda: [status.status for status in subscriber.statuses()].count("online") >= count)


async def test_a_device_subscribes_before_it_says_that_it_is_online(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber:
        fleet = Fleet(plan(broker, prefix, 1, rate=5), say_nothing)
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, say_nothing))
        await until_online(subscriber, 1)
        await subscriber.ask(f"{prefix}0001", 4, (0, 9))
        await subscriber.until(lambda: bool(subscriber.results()))
        stop.set()
        await running
    assert (subscriber.results()[0].boot, subscriber.results()[0].ranges) == (4, [(0, 9)])


async def test_a_frame_is_kept_until_a_receipt_covers_it(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber:
        fleet = Fleet(plan(broker, prefix, 1, rate=50, frames=20, until_receipted=10), say_nothing)
        running = asyncio.create_task(fleet.run(asyncio.Event(), say_nothing))
        await subscriber.until(lambda: len(subscriber.frames()) == 20 and fleet.counts.acknowledged == 20)
        assert fleet.summary()["unreceipted"] == 20
        await subscriber.receipt(f"{prefix}0001", (5, 9))
        await subscriber.until(lambda: fleet.summary()["unreceipted"] == 10)
        await subscriber.ask(f"{prefix}0001", 5, (8, 11))
        await subscriber.until(lambda: len(subscriber.frames("history")) == 2)
        await subscriber.receipt(f"{prefix}0001", (5, 19))
        summary = await running
    assert nothing_remains(summary)
    assert subscriber.frames("history") == [(f"{prefix}0001", 5, 10), (f"{prefix}0001", 5, 11)]
    assert subscriber.results()[0].ranges == [(8, 9)]


async def test_a_retained_receipt_is_heard_after_a_restart(broker: BrokerFixture, prefix: str, tmp_path: Path) -> None:
    async with subscribed(broker, prefix) as subscriber:
        fleet = Fleet(plan(broker, prefix, 1, rate=50, frames=10, state=tmp_path), say_nothing)
        first = await fleet.run(asyncio.Event(), say_nothing)
        await subscriber.receipt(f"{prefix}0001", (5, 9))
        fleet = Fleet(plan(broker, prefix, 1, frames=0, boots=[6], state=tmp_path, until_receipted=5), say_nothing)
        second = await fleet.run(asyncio.Event(), say_nothing)
    assert (first["unreceipted"], second["recovered"], second["unreceipted"]) == (10, 10, 0)


async def test_holes_and_cuts_and_reboots_end_with_receipts_for_all(
    broker: BrokerFixture, prefix: str, tmp_path: Path
) -> None:
    habits = Habits(Format.JSON, drop=0.1, late=0.1, duplicates=0.1, poison=0.1, resend_after=1)
    async with subscribed(broker, prefix, gateway=True) as subscriber, Relay(broker) as relay:
        fleet = Fleet(
            plan(
                broker,
                prefix,
                5,
                port=relay.port,
                rate=20,
                frames=120,
                habits=habits,
                boots=next_boots(tmp_path / "state", [f"{prefix}{number:04}" for number in range(1, 6)]),
                state=tmp_path / "state",
                journal=tmp_path / "journal",
                reboot_every=0.7,
                clock_step_every=0.7,
                until_receipted=20,
            ),
            say_nothing,
        )
        running = asyncio.create_task(fleet.run(asyncio.Event(), say_nothing))
        for _ in range(2):
            await asyncio.sleep(1.5)
            relay.cut()
            await asyncio.sleep(0.5)
            relay.whole = True
        summary = await running
    assert nothing_remains(summary), summary
    assert summary["receipted"] == summary["produced"] == len(produced(tmp_path / "journal"))
    assert set(subscriber.frames()) == set(produced(tmp_path / "journal"))
    for what in ("reboots", "clock_steps", "held_back", "poison_acknowledged", "duplicates", "asked", "replayed"):
        assert summary[what] > 0, what  # type: ignore[operator]
    assert any(isinstance(record, Stepped) for record in read(tmp_path / "journal"))


async def test_killed_again_and_again_it_delivers_all_that_it_ever_produced(
    broker: BrokerFixture, prefix: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    options = ["--devices", "5", "--rate", "50", "--state", str(tmp_path / "state"), "--journal", str(journal)]
    options += ["--drop", "0.1", "--resend-after", "1", "--max-backoff", "1"]
    async with subscribed(broker, prefix, gateway=True) as subscriber:
        for _ in range(4):
            process = start(broker, prefix, *options)
            wanted = len(subscriber.frames()) + 100
            while len(subscriber.frames()) < wanted:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.finish)
        process = start(broker, prefix, *options, "--count", "10", "--until-receipted", "20")
        summary = await asyncio.to_thread(finish, process)
    assert process.returncode == 0, summary
    assert summary["recovered"] > 0
    assert nothing_remains(summary)
    frames = produced(journal)
    assert len(set(frames)) == len(frames)
    assert set(subscriber.frames()) == set(frames)


async def test_what_no_receipt_covers_makes_it_fail_when_that_was_asked(broker: BrokerFixture, prefix: str) -> None:
    options = ("--devices", "1", "--count", "3", "--rate", "20")
    async with subscribed(broker, prefix):
        process = start(broker, prefix, *options, "--until-receipted", "0.2")
        summary = await asyncio.to_thread(finish, process)
    assert (process.returncode, summary["unacknowledged"], summary["unreceipted"]) == (1, 0, 3)


async def test_frames_lost_for_want_of_room_are_named_and_reported(
    broker: BrokerFixture, prefix: str, tmp_path: Path
) -> None:
    name = f"{prefix}0001"
    options: dict[str, Any] = {"store": 10, "journal": tmp_path, "until_receipted": 20}
    fleet = Fleet(plan(broker, prefix, 1, rate=50, frames=30, **options), say_nothing)
    running = asyncio.create_task(fleet.run(asyncio.Event(), say_nothing))
    while fleet.counts.produced < 30:
        await asyncio.sleep(0.05)
    async with subscribed(broker, prefix) as subscriber:
        await subscriber.until(lambda: len(set(subscriber.frames())) == 10)
        await subscriber.ask(name, 5, (0, 29))
        await subscriber.until(lambda: bool(subscriber.results()))
        await subscriber.receipt(name, (5, 29))
        summary = await running
    assert summary["lost_by_device"] == {name: 20}
    assert subscriber.results()[0].ranges == [(0, 19)]
    assert [record for record in read(tmp_path) if isinstance(record, Lost)] == [
        Lost(name, 5, seq, seq) for seq in range(20)
    ]
    assert {seq for _, _, seq in subscriber.frames(Kind.HISTORY, Kind.TELEMETRY)} == set(range(20, 30))


async def test_a_damaged_store_is_refused(broker: BrokerFixture, prefix: str, tmp_path: Path) -> None:
    (tmp_path / f"{prefix}0001").mkdir()
    (tmp_path / f"{prefix}0001" / "1-0.frames").write_bytes(b"x" * 10_000)
    process = start(broker, prefix, "--devices", "1", "--state", str(tmp_path))
    process.finish()
    assert process.returncode == 2
