"""Gateways that share a subscription: each frame goes to one of them, and what they do together is what one would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from device_sim.journal import Produced, read
from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.device_sim.subscriber import finish, start
from tests.gateway.receipts.test_receipts import QUICK, Controller
from tests.gateway.test_path import frame, now_ms
from tests.processes import GatewayProcess, assert_adds_up

SHARED: dict[str, Any] = {**QUICK, "shared_group": "plant", "reorder_window_s": 2}
FRAMES = 120


@pytest.fixture
def replicas(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[list[GatewayProcess]]:
    """Three gateways of one group, not started yet."""
    processes = [GatewayProcess(database_url, broker.url, tmp_path / f"gateway-{number}.log") for number in range(3)]
    yield processes
    for process in processes:
        process.kill()


def start_replica(replicas: list[GatewayProcess], number: int) -> None:
    replicas[number].start(cell=f"plant-{number}", **SHARED)


async def test_a_replica_is_killed_under_load_and_every_frame_is_stored_once_and_receipted(
    replicas: list[GatewayProcess], broker: Broker, database: asyncpg.Connection, tmp_path: Path
) -> None:
    names = [f"sim-{number:04}" for number in range(1, 9)]
    await database.execute("insert into devices (name) select unnest($1::text[])", names)
    for number in range(3):
        start_replica(replicas, number)
    options = ["--devices", "8", "--rate", "20", "--count", str(FRAMES), "--state", str(tmp_path / "state")]
    options += ["--journal", str(tmp_path / "journal"), "--resend-after", "3", "--until-receipted", "40"]
    fleet = start(broker, "sim-", *options)
    await stored_by_each(database, replicas)
    replicas[1].kill()
    survivors = await committed(database)
    await until_more(database, survivors, among=(0, 2))
    start_replica(replicas, 1)
    summary = await asyncio.to_thread(finish, fleet)
    assert fleet.returncode == 0, summary
    produced = {
        (one.device, one.boot, one.seq): one.values for one in read(tmp_path / "journal") if isinstance(one, Produced)
    }
    assert len(produced) == 8 * FRAMES
    rows = await database.fetch("select d.name, boot, seq from frames join devices d using (device_id)")
    assert sorted(tuple(row) for row in rows) == sorted(produced)
    for replica in replicas:
        assert_adds_up(replica.account())
    retained = await receipts(broker, names)
    assert {name: [last for _, last in receipt] for name, receipt in retained.items()} == {
        name: [FRAMES - 1] for name in names
    }
    assert [replica.terminate() for replica in replicas] == [0, 0, 0]
    counts = await committed(database)
    assert min(counts.values()) > 0
    assert sum(counts.values()) == len(produced)
    again = await database.fetchval("select sum(duplicate) from intake_totals where kind = 'frame'")
    assert again < len(produced)  # each message to one of them; without the group all would have each
    assert await database.fetchval("select count(*) from quarantine") == 0


async def committed(database: asyncpg.Connection) -> dict[str, int]:
    """Frames by replica."""
    rows = await database.fetch("select cell, committed from intake_totals where kind = 'frame' order by cell")
    return {row["cell"]: row["committed"] for row in rows}


async def stored_by_each(database: asyncpg.Connection, replicas: list[GatewayProcess]) -> None:
    async with asyncio.timeout(20):
        while min((await committed(database)).values()) < 20:
            await asyncio.sleep(0.05)
    assert len(await committed(database)) == len(replicas)


async def until_more(database: asyncpg.Connection, before: dict[str, int], among: tuple[int, ...]) -> None:
    """The others go on while one is gone."""
    async with asyncio.timeout(20):
        while True:
            now = await committed(database)
            if all(now[f"plant-{number}"] > before[f"plant-{number}"] + 20 for number in among):
                return
            await asyncio.sleep(0.05)


async def receipts(broker: Broker, names: list[str]) -> dict[str, Any]:
    """As the broker retains them for a device that comes later."""
    found: dict[str, Any] = {}
    async with MqttClient(broker.host, broker.port) as client, asyncio.timeout(10):
        await client.subscribe("bioreactors/+/receipt", 1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            found[message.topic.value.split("/")[1]] = json.loads(message.payload)
            if len(found) == len(names):
                break
    return found


async def test_a_receipt_is_told_again_when_another_gateway_has_stored_more_meanwhile(
    replicas: list[GatewayProcess], broker: Broker, database: asyncpg.Connection
) -> None:
    """Else the older of two receipts, told at the same moment, might be the one that stays."""
    await database.execute("insert into devices (name) values ('r1')")
    replicas[0].start(cell="plant-0", **SHARED | {"receipt_interval_s": 2})
    async with MqttClient(broker.host, broker.port) as client:
        await client.subscribe("bioreactors/r1/receipt", 1)
        controller = Controller(client, "r1")
        listening = asyncio.create_task(controller.listen())
        await controller.say("telemetry", frame(0, now_ms()))
        await controller.wait_receipt([[1, 0]])
        await database.execute("update device_streams set received = '{[0,5)}'")
        await controller.wait_receipt([[1, 4]])
        listening.cancel()


async def test_a_hole_that_another_gateway_has_filled_is_not_asked_for(
    gateway: GatewayProcess,
    broker: Broker,
    other_broker: Broker,
    database: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    other = GatewayProcess(database_url, other_broker.url, tmp_path / "other.log")
    gateway.start(**QUICK | {"reorder_window_s": 2})
    other.start(cell="other", **QUICK)
    t = now_ms()
    async with MqttClient(broker.host, broker.port) as client, MqttClient(*at(other_broker)) as moved:
        await client.subscribe([("bioreactors/r1/receipt", 1), ("bioreactors/r1/backfill", 1)])
        here, there = Controller(client, "r1"), Controller(moved, "r1")
        listening = asyncio.create_task(here.listen())
        for seq in (0, 1, 3):
            await here.say("telemetry", frame(seq, t + seq))
        await here.wait_receipt([[1, 1]])
        await there.say("telemetry", frame(2, t + 2))
        await here.wait_receipt([[1, 3]])  # at the latest when it looks before it asks
        await asyncio.sleep(1)
        assert here.heard.empty()
        assert gateway.metrics()["biogate_holes"] == 0
        listening.cancel()
    other.kill()


def at(broker: Broker) -> tuple[str, int]:
    return broker.host, broker.port
