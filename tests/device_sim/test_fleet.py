"""Fleets against a real broker, some through a relay whose wire can be cut."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import aiomqtt
import msgspec
import pytest

from device_sim.connection import Broker
from device_sim.firmware import Format, Habits
from device_sim.fleet import Fleet, Plan
from schema.messages import Event, Status, Telemetry

pytestmark = pytest.mark.timeout(60)
JSON = Habits(Format.JSON)


class BrokerFixture(Protocol):
    host: str
    port: int


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:10]}-"


def plan(broker: BrokerFixture, prefix: str, count: int, port: int = 0, **more: Any) -> Plan:
    names = [f"{prefix}{number:04}" for number in range(1, count + 1)]
    at = Broker.at(f"mqtt://{broker.host}:{port or broker.port}", None, None)
    return Plan(**{"names": names, "boots": [5] * count, "broker": at, "habits": JSON, **more})


class Subscriber:
    """Collects what devices of a prefix publish, as it arrives."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.messages: list[tuple[str, str, bytes]] = []

    def take(self, message: aiomqtt.Message) -> None:
        _, device, kind = message.topic.value.split("/")
        if device.startswith(self.prefix):
            assert isinstance(message.payload, bytes)
            self.messages.append((device, kind, message.payload))

    def payloads(self, kind: str) -> list[bytes]:
        return [payload for _, its_kind, payload in self.messages if its_kind == kind]

    def frames(self) -> list[tuple[str, int, int]]:
        found = []
        for device, kind, payload in self.messages:
            if kind in ("telemetry", "history"):
                frame = msgspec.json.decode(payload, type=Telemetry)
                assert frame.boot is not None
                assert frame.seq is not None
                found.append((device, frame.boot, frame.seq))
        return found

    def statuses(self) -> list[Status]:
        return [msgspec.json.decode(payload, type=Status) for payload in self.payloads("status")]

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def subscribed(broker: BrokerFixture, prefix: str) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(prefix)
    async with aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("bioreactors/#", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                subscriber.take(message)

        listening = asyncio.create_task(listen())
        try:
            yield subscriber
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


class Relay:
    """Passes bytes to the broker and back, while its wire is whole."""

    def __init__(self, broker: BrokerFixture) -> None:
        self.broker = broker
        self.whole = True
        self.writers: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> Relay:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self.server.close()
        await self.server.wait_closed()

    def cut(self) -> None:
        self.whole = False
        for writer in self.writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self.broker.host, self.broker.port)
        both = {writer, back}
        self.writers |= both
        await asyncio.gather(self.pump(reader, back), self.pump(there, writer))
        self.writers -= both

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


def say_nothing(_: object) -> None:
    pass


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
    await asyncio.sleep(1)
    if fleet.counts.acknowledged:
        await running
        pytest.skip("somebody else is subscribed on this broker")
    assert fleet.counts.not_delivered >= 2
    async with subscribed(broker, prefix) as subscriber:
        summary = await running
        await subscriber.until(lambda: len(subscriber.frames()) == 10)
    assert (summary["acknowledged"], summary["unacknowledged"], summary["lost"]) == (10, 0, 0)


async def test_a_broker_out_of_reach_means_loss_that_is_counted(broker: BrokerFixture, prefix: str) -> None:
    lines: list[str] = []
    habits = Habits(Format.JSON, keep=10)
    fleet = Fleet(plan(broker, prefix, 1, port=1, rate=50, frames=30, deadline=0.1, habits=habits), lines.append)
    summary = await fleet.run(asyncio.Event(), say_nothing)
    assert (summary["produced"], summary["acknowledged"], summary["unacknowledged"]) == (30, 0, 30)
    # The queue holds the event of the first phase too; it goes first.
    assert (summary["lost"], summary["events_lost"]) == (20, 1)
    assert summary["lost_by_device"] == {f"{prefix}0001": 20}
    assert f"{prefix}0001: queue full, losing frames from boot 5 seq 0 on" in lines


# The program itself


def start(broker: BrokerFixture, prefix: str, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "BIOGATE_MQTT_URL": f"mqtt://{broker.host}:{broker.port}"}
    command = [sys.executable, "-m", "device_sim", "--prefix", prefix, "--format", "json", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=30)
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


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
        await asyncio.to_thread(process.communicate)
    online, will = subscriber.statuses()
    assert (online.status, will.status) == ("online", "offline")
    assert (online.t, online.boot) == (will.t, will.boot)


async def test_a_boot_starts_anew_with_a_greater_number_even_after_a_kill(
    broker: BrokerFixture, prefix: str, tmp_path: Path
) -> None:
    options = ("--devices", "1", "--rate", "10", "--state", str(tmp_path))
    async with subscribed(broker, prefix) as subscriber:
        process = start(broker, prefix, *options)
        await subscriber.until(lambda: len(subscriber.frames()) > 3)
        process.kill()
        await asyncio.to_thread(process.communicate)
        before = len(subscriber.frames())
        process = start(broker, prefix, *options, "--count", "3")
        await asyncio.to_thread(finish, process)
        await subscriber.until(lambda: len(subscriber.frames()) >= before + 3)
    name = f"{prefix}0001"
    assert subscriber.frames()[0] == (name, 1, 0)
    assert subscriber.frames()[-3:] == [(name, 2, 0), (name, 2, 1), (name, 2, 2)]


def test_frames_that_were_not_acknowledged_make_it_fail(prefix: str) -> None:
    class Nowhere:
        host, port = "127.0.0.1", 1

    begin = time.monotonic()
    process = start(Nowhere(), prefix, "--devices", "2", "--count", "1", "--deadline", "0.2")
    summary = finish(process)
    assert process.returncode == 1
    assert summary["unacknowledged"] == 2
    assert time.monotonic() - begin < 10


def test_a_wrong_prefix_is_refused(broker: BrokerFixture) -> None:
    process = start(broker, "no/slash-", "--devices", "1")
    process.communicate()
    assert process.returncode == 2
