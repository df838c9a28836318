"""The other side of a fleet: a subscriber that may play the gateway, a wire that can be cut, and the program itself."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import aiomqtt
import msgspec

from device_sim.connection import Broker
from device_sim.fleet import Plan
from device_sim.frames import Format
from device_sim.habits import Habits
from gateway.broker.client import MqttClient
from schema.messages import Backfill, BackfillResult, Status, Telemetry
from schema.topics import Down, topic
from tests.forked import Talking

JSON = Habits(Format.JSON)


class BrokerFixture(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


def plan(broker: BrokerFixture, prefix: str, count: int, *, port: int = 0, **more: Any) -> Plan:
    names = [f"{prefix}{number:04}" for number in range(1, count + 1)]
    at = Broker.at(f"mqtt://{broker.host}:{port or broker.port}", None, None)
    return Plan(**{"names": names, "boots": [5] * count, "broker": at, "habits": JSON, **more})


class Subscriber:
    """Collects what devices of a prefix publish, as it arrives; can speak as the gateway does."""

    def __init__(self, prefix: str, client: aiomqtt.Client) -> None:
        self.prefix = prefix
        self.messages: list[tuple[str, str, bytes]] = []
        self._client = client

    def take(self, message: aiomqtt.Message) -> None:
        _, device, kind = message.topic.value.split("/", 2)
        if device.startswith(self.prefix):
            assert isinstance(message.payload, bytes)
            self.messages.append((device, kind, message.payload))

    def payloads(self, kind: str) -> list[bytes]:
        return [payload for _, its_kind, payload in self.messages if its_kind == kind]

    def frames(self, *kinds: str) -> list[tuple[str, int, int]]:
        """Device, boot and seq, in the order of arrival."""
        found = []
        for device, kind, payload in self.messages:
            if kind in (kinds or ("telemetry", "history")):
                with suppress(msgspec.DecodeError):
                    message = msgspec.json.decode(payload, type=Telemetry)
                    if message.boot is not None and message.seq is not None:
                        count = len(message.t) if isinstance(message.t, list) else 1
                        found += [(device, message.boot, message.seq + i) for i in range(count)]
        return found

    def statuses(self) -> list[Status]:
        return [msgspec.json.decode(payload, type=Status) for payload in self.payloads("status")]

    def results(self) -> list[BackfillResult]:
        return [msgspec.json.decode(payload, type=BackfillResult) for payload in self.payloads("backfill/result")]

    async def receipt(self, device: str, *pairs: tuple[int, int]) -> None:
        await self._client.publish(topic(device, Down.RECEIPT), msgspec.json.encode(pairs), qos=1, retain=True)

    async def ask(self, device: str, boot: int, *ranges: tuple[int, int]) -> None:
        request = msgspec.json.encode(Backfill(boot, list(ranges)))
        await self._client.publish(topic(device, Down.BACKFILL), request, qos=1)

    async def play_the_gateway(self) -> None:
        """For ever: receipts for what came without a gap, requests for what is missing before something that came."""
        while True:
            await asyncio.sleep(0.2)
            streams = defaultdict(set)
            for device, boot, seq in self.frames():
                streams[device, boot].add(seq)
            receipts = defaultdict(list)
            for (device, boot), seqs in streams.items():
                missing = sorted(set(range(max(seqs))) - seqs)
                receipts[device].append((boot, missing[0] - 1 if missing else max(seqs)))
                if missing:
                    await self.ask(device, boot, *((seq, seq) for seq in missing))
            for device, pairs in receipts.items():
                await self.receipt(device, *((boot, seq) for boot, seq in pairs if seq >= 0))

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def subscribed(broker: BrokerFixture, prefix: str, *, gateway: bool = False) -> AsyncIterator[Subscriber]:
    """A subscriber that is listening; `gateway`: and plays the gateway."""
    async with MqttClient(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        subscriber = Subscriber(prefix, client)
        await client.subscribe("bioreactors/#", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                subscriber.take(message)

        tasks = [asyncio.create_task(listen())]
        if gateway:
            tasks.append(asyncio.create_task(subscriber.play_the_gateway()))
        try:
            yield subscriber
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


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


def start(broker: BrokerFixture, prefix: str, *options: str) -> Talking:
    environment = {**os.environ, "BIOGATE_MQTT_URL": f"mqtt://{broker.host}:{broker.port}"}
    return Talking("device_sim", "--prefix", prefix, "--format", "json", *options, environment=environment)


def finish(process: Talking) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(process.finish(30).splitlines()[-1])
    return summary
