"""Fleets against a real broker, some through a relay whose wire can be cut."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import msgspec
import pytest

from device_sim.fleet import Fleet
from schema.messages import Event, Telemetry
from tests.device_sim.subscriber import BrokerFixture, Relay, finish, plan, say_nothing, start, subscribed


async def test_all_that_is_acknowledged_arrives_once_and_in_order(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber:
        fleet = Fleet(plan(broker, prefix, 5, rate=20, frames=20), say_nothing)
        summary = await fleet.run(asyncio.Event(), say_nothing)
        await subscriber.until(lambda: len(subscriber.statuses()) == 10)
    assert (summary["produced"], summary["acknowledged"], summary["unacknowledged"]) == (100, 100, 0)
    assert summary["events_acknowledged"] == summary["events_produced"] >= 5  # type: ignore[operator]
    for device in fleet.devices:
        assert [frame for frame in subscriber.frames() if frame[0] == device.name] == [
            (device.name, 5, seq) for seq in range(20)
        ]
    events = [msgspec.json.decode(payload, type=Event) for payload in subscriber.payloads("event")]
    assert {event.type for event in events} >= {"phase"}


async def test_publishes_are_spread_over_the_period(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber:
        fleet = Fleet(plan(broker, prefix, 10, rate=2, frames=1), say_nothing)
        await fleet.run(asyncio.Event(), say_nothing)
        await subscriber.until(lambda: len(subscriber.frames()) == 10)
    times = [msgspec.json.decode(payload, type=Telemetry).t for payload in subscriber.payloads("telemetry")]
    assert len(set(times)) == 10
    assert 400 <= max(times) - min(times) <= 500  # type: ignore[operator]


async def test_a_cut_wire_loses_nothing(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber, Relay(broker) as relay:
        fleet = Fleet(plan(broker, prefix, 4, port=relay.port, rate=50, frames=150), say_nothing)
        running = asyncio.create_task(fleet.run(asyncio.Event(), say_nothing))
        for _ in range(2):
            await asyncio.sleep(0.5)
            relay.cut()
            await asyncio.sleep(0.3)
            relay.whole = True
        summary = await running
        await subscriber.until(lambda: len(set(subscriber.frames())) == 600)
        await subscriber.until(lambda: subscriber.statuses()[-1].status == "offline")
    assert (summary["acknowledged"], summary["lost"]) == (600, 0)
    assert summary["reconnects"] >= 4  # type: ignore[operator]


async def test_what_nobody_receives_is_sent_until_somebody_does(broker: BrokerFixture, prefix: str) -> None:
    fleet = Fleet(plan(broker, prefix, 2, rate=10, frames=5), say_nothing)
    running = asyncio.create_task(fleet.run(asyncio.Event(), say_nothing))
    async with asyncio.timeout(20):
        while fleet.counts.not_delivered < 2:
            await asyncio.sleep(0.02)
    assert fleet.counts.acknowledged == 0
    async with subscribed(broker, prefix) as subscriber:
        summary = await running
        await subscriber.until(lambda: len(subscriber.frames()) == 10)
    assert (summary["acknowledged"], summary["unacknowledged"], summary["lost"]) == (10, 0, 0)


async def test_a_broker_out_of_reach_means_loss_that_is_counted(broker: BrokerFixture, prefix: str) -> None:
    lines: list[str] = []
    fleet = Fleet(plan(broker, prefix, 1, port=1, rate=50, frames=30, deadline=0.1, store=10), lines.append)
    summary = await fleet.run(asyncio.Event(), say_nothing)
    assert (summary["produced"], summary["acknowledged"], summary["unacknowledged"]) == (30, 0, 10)
    assert (summary["lost"], summary["unreceipted"]) == (20, 10)
    assert summary["lost_by_device"] == {f"{prefix}0001": 20}
    assert f"{prefix}0001: store full, losing frames from boot 5 seq 0 on" in lines


# The program itself


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(broker: BrokerFixture, prefix: str, number: int, tmp_path: Path) -> None:
    async with subscribed(broker, prefix) as subscriber:
        process = start(broker, prefix, "--devices", "3", "--rate", "20", "--state", str(tmp_path))
        await subscriber.until(lambda: len(subscriber.frames()) > 20)
        process.send_signal(number)
        summary = await asyncio.to_thread(finish, process)
        await subscriber.until(lambda: len(subscriber.statuses()) == 6)
    assert process.returncode == 0
    assert summary["final"]
    assert summary["acknowledged"] == summary["produced"] == len(subscriber.frames())
    assert sorted(status.status for status in subscriber.statuses()) == ["offline"] * 3 + ["online"] * 3


async def test_a_killed_device_leaves_a_will_as_old_as_its_online(broker: BrokerFixture, prefix: str) -> None:
    async with subscribed(broker, prefix) as subscriber:
        process = start(broker, prefix, "--devices", "1")
        await subscriber.until(lambda: len(subscriber.frames()) > 0)
        process.kill()
        await subscriber.until(lambda: len(subscriber.statuses()) == 2)
        await asyncio.to_thread(process.finish)
    online, will = subscriber.statuses()
    assert (online.status, will.status) == ("online", "offline")
    assert (online.t, online.boot) == (will.t, will.boot)


async def test_a_boot_starts_anew_with_a_greater_number_even_after_a_kill(
    broker: BrokerFixture, prefix: str, tmp_path: Path
) -> None:
    name, options = f"{prefix}0001", ("--devices", "1", "--rate", "10", "--state", str(tmp_path))
    async with subscribed(broker, prefix) as subscriber:
        process = start(broker, prefix, *options)
        await subscriber.until(lambda: len(subscriber.frames()) > 3)
        process.kill()
        await asyncio.to_thread(process.finish)
        process = start(broker, prefix, *options, "--count", "3")
        await asyncio.to_thread(finish, process)
        await subscriber.until(lambda: (name, 2, 2) in subscriber.frames())
    assert subscriber.frames()[0] == (name, 1, 0)
    # What the first one had not seen acknowledged comes again, so in between there may be frames of boot 1.
    assert [frame for frame in subscriber.frames() if frame[1] == 2] == [(name, 2, 0), (name, 2, 1), (name, 2, 2)]


def test_frames_that_were_not_acknowledged_make_it_fail(prefix: str) -> None:
    class Nowhere:
        host, port = "127.0.0.1", 1

    begin = time.monotonic()
    process = start(Nowhere(), prefix, "--devices", "2", "--count", "1", "--deadline", "0.2")
    summary = finish(process)
    assert process.returncode == 1
    assert summary["unacknowledged"] == 2
    assert time.monotonic() - begin < 30


def test_a_wrong_prefix_is_refused(broker: BrokerFixture) -> None:
    process = start(broker, "no/slash-", "--devices", "1")
    process.finish()
    assert process.returncode == 2
