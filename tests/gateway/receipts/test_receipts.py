"""Devices are told what is stored and asked for what is missing, over a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import asyncpg
import pytest

from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.gateway.test_path import frame, now_ms
from tests.processes import GatewayProcess, wait_until

QUICK: dict[str, Any] = {"receipt_interval_s": 0.1, "reorder_window_s": 0.5, "backfill_retry_s": 1}


class Controller:
    """What a controller hears and says."""

    def __init__(self, client: aiomqtt.Client, name: str) -> None:
        self._client = client
        self._name = name
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.receipt: list[list[int]] = []

    async def say(self, kind: str, message: object, *, retain: bool = False) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self._client.publish(f"bioreactors/{self._name}/{kind}", payload, qos=1, retain=retain)

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            kind = message.topic.value.rpartition("/")[2]
            if kind == "receipt":
                self.receipt = json.loads(message.payload)
            else:
                self.heard.put_nowait((kind, json.loads(message.payload)))

    async def wait_receipt(self, receipt: list[list[int]], timeout_s: float = 30) -> None:
        async with asyncio.timeout(timeout_s):
            while self.receipt != receipt:
                await asyncio.sleep(0.02)

    async def wait_receipt_of(self, boot: int, seq: int, timeout_s: float = 30) -> None:
        """Wait for a receipt that says this of one boot, whatever it says of others."""
        async with asyncio.timeout(timeout_s):
            while [boot, seq] not in self.receipt:
                await asyncio.sleep(0.02)

    async def wait_backfill(self, timeout_s: float = 30) -> Any:
        async with asyncio.timeout(timeout_s):
            kind, message = await self.heard.get()
        assert kind == "backfill"
        return message


@pytest.fixture
async def controller(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> AsyncIterator[Controller]:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start(**QUICK)
    async with MqttClient(broker.host, broker.port) as client:
        await client.subscribe([("bioreactors/r1/receipt", 1), ("bioreactors/r1/backfill", 1)])
        controller = Controller(client, "r1")
        listening = asyncio.create_task(controller.listen())
        yield controller
        listening.cancel()


async def test_a_receipt_says_up_to_where_everything_is_stored(controller: Controller) -> None:
    t = now_ms()
    for seq in range(5):
        await controller.say("telemetry", frame(seq, t + seq))
    await controller.wait_receipt([[1, 4]])
    await controller.say("telemetry", frame(0, t + 10, boot=2))
    await controller.wait_receipt([[1, 4], [2, 0]])


async def test_a_hole_is_asked_for_by_exact_range_and_closed_by_what_comes_on_history(
    controller: Controller, gateway: GatewayProcess
) -> None:
    t = now_ms()
    for seq in (0, 1, 2, 6, 7, 9):
        await controller.say("telemetry", frame(seq, t + seq))
    await controller.wait_receipt([[1, 2]])
    assert await controller.wait_backfill() == {"boot": 1, "ranges": [[3, 5], [8, 8]]}
    metrics = gateway.metrics()
    assert (metrics["biogate_holes"], metrics["biogate_missing_frames"]) == (2, 4)
    for seq in (8, 3, 4, 5):
        await controller.say("history", frame(seq, t + seq))
    await controller.wait_receipt([[1, 9]])
    await asyncio.to_thread(wait_until, lambda: gateway.metrics()["biogate_missing_frames"] == 0, 10)


async def test_frames_that_are_late_within_the_reorder_window_are_not_asked_for(controller: Controller) -> None:
    t = now_ms()
    for seq in (0, 2, 4, 3, 1):
        await controller.say("telemetry", frame(seq, t + seq))
    await controller.wait_receipt([[1, 4]])
    await asyncio.sleep(1)
    assert controller.heard.empty()


async def test_a_hole_that_the_device_cannot_fill_is_closed_as_lost_visibly(
    controller: Controller, gateway: GatewayProcess, database: asyncpg.Connection
) -> None:
    t = now_ms()
    for seq in (0, 5):
        await controller.say("telemetry", frame(seq, t + seq))
    assert await controller.wait_backfill() == {"boot": 1, "ranges": [[1, 4]]}
    await controller.say("telemetry", frame(2, t + 2))
    for _ in range(2):
        await controller.say("backfill/result", {"boot": 1, "ranges": [[1, 1], [3, 4]]})
    await controller.wait_receipt([[1, 5]])
    gateway.settle(2, "result")
    assert gateway.metrics()["biogate_lost_frames_total"] == 3
    assert await database.fetchval("select (lost - received)::text from device_streams") == "{[1,2),[3,5)}"


async def test_what_a_device_has_forgotten_before_is_lost_and_not_asked_for(
    controller: Controller, gateway: GatewayProcess
) -> None:
    t = now_ms()
    await controller.say("status", {"status": "online", "t": t, "boot": 1, "oldest": 100}, retain=True)
    await controller.say("telemetry", frame(100, t))
    await controller.wait_receipt([[1, 100]])
    await asyncio.sleep(1)
    assert controller.heard.empty()
    assert gateway.metrics()["biogate_lost_frames_total"] == 100


async def test_a_request_is_repeated_until_it_is_answered(controller: Controller) -> None:
    t = now_ms()
    for seq in (0, 2):
        await controller.say("telemetry", frame(seq, t + seq))
    request = await controller.wait_backfill()
    assert await controller.wait_backfill() == request
    await controller.say("history", frame(1, t + 1))
    await controller.wait_receipt([[1, 2]])


async def test_frames_in_quarantine_count_as_received(controller: Controller) -> None:
    t = now_ms()
    await controller.say("telemetry", frame(0, t))
    await controller.say("telemetry", frame(1, 0))  # too old
    await controller.say("telemetry", frame(2, t) | {"v": {"ph": "seven"}})  # wrong type
    await controller.say("telemetry", frame(3, t, temperature=1, ph=2, dissolved_oxygen=3, agitation=4))  # a conflict
    block = {"boot": 1, "seq": 4, "ch": ["ph"], "t": [t, t + 1, t + 2], "v": [[1], [2]]}  # rows and times differ
    await controller.say("telemetry", block)
    await controller.say("telemetry", frame(7, t + 7))
    await controller.wait_receipt([[1, 7]])


async def test_a_board_that_was_swapped_has_receipts_below_the_newest_boots(controller: Controller) -> None:
    t = now_ms()
    for boot in range(21, 30):
        await controller.say("telemetry", frame(0, t + boot, boot=boot))
    await controller.wait_receipt_of(29, 0)
    await controller.say("telemetry", frame(0, t, boot=1))
    await controller.wait_receipt_of(1, 0)
    await controller.say("telemetry", frame(2, t + 2, boot=1))
    assert await controller.wait_backfill() == {"boot": 1, "ranges": [[1, 1]]}
    await controller.say("history", frame(1, t + 1, boot=1))
    await controller.wait_receipt_of(1, 2)


async def test_receipts_survive_a_killed_gateway_and_a_broker_that_lost_everything(
    controller: Controller, gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    t = now_ms()
    for seq in range(3):
        await controller.say("telemetry", frame(seq, t + seq))
    await controller.wait_receipt([[1, 2]])
    gateway.kill()
    await controller.say("telemetry", frame(3, t + 3))
    gateway.start(**QUICK)
    await controller.wait_receipt([[1, 3]])
    broker.server.kill()
    (broker.server.data / "data" / "mosquitto.db").unlink(missing_ok=True)
    broker.server.start()
    gateway.wait_ready()
    async with MqttClient(broker.host, broker.port) as client:
        await client.subscribe("bioreactors/r1/receipt", 1)
        async with asyncio.timeout(10):
            message = await anext(client.messages)
        assert json.loads(message.payload) == [[1, 3]]


async def test_a_device_that_lies_about_its_sequence_harms_nobody(
    controller: Controller, gateway: GatewayProcess, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('liar')")
    t = now_ms()
    await controller.say("telemetry", frame(0, t))
    liar = Controller(controller._client, "liar")
    await liar.say("telemetry", frame(2**53 - 1, t - 1))
    for n in range(600):
        await liar.say("telemetry", frame(n * 3, t + n))
    await liar.say("backfill/result", {"boot": 1, "ranges": [[5, 1]]})
    await liar.say("backfill/result", {"boot": 2**32 - 1, "ranges": [[0, 2**53 - 1]]})
    await controller.say("telemetry", frame(1, t + 1))
    await controller.wait_receipt([[1, 1]])
    gateway.settle(603)
    ranges = await database.fetchval(
        """select max((select count(*) from unnest(received))) from device_streams join devices using (device_id)
            where name = 'liar'"""
    )
    assert ranges <= 256
    assert gateway.metrics()["biogate_streams_overflowed_total"] > 0
    assert await database.fetchval("select reason from quarantine") == "wrong-shape"


async def test_streams_can_be_rebuilt_from_the_frames(
    controller: Controller, gateway: GatewayProcess, database: asyncpg.Connection
) -> None:
    t = now_ms()
    for seq in (0, 1, 4):
        await controller.say("telemetry", frame(seq, t + seq))
    await controller.wait_receipt([[1, 1]])
    gateway.terminate()
    await database.execute("truncate device_streams")
    since = datetime.now(UTC) - timedelta(hours=1)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway.operators.commands",
            "rebuild-streams",
            "--since",
            f"{since:%Y-%m-%dT%H:%M:%SZ}",
        ],
        env={**os.environ, **gateway.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 boots of 1 devices rebuilt\n"
    assert await database.fetchval("select received::text from device_streams") == "{[0,2),[4,5)}"
