"""A plant's traffic is recorded from a broker, and published once more to a gateway that has never seen it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from device_sim.clock import AS_FAST_AS_POSSIBLE, wall_ms
from device_sim.connection import Broker as BrokerAddress
from device_sim.fleet import Fleet
from device_sim.frames import Format
from device_sim.habits import Habits
from device_sim.recording import record
from device_sim.tape import TapeWriter, read
from tests.conftest import Broker
from tests.device_sim.subscriber import plan, say_nothing
from tests.forked import Talking
from tests.processes import GatewayProcess


async def test_a_recorder_has_a_name_that_its_login_may_have(
    secure_broker: Broker, secrets_dir: Path, tmp_path: Path
) -> None:
    password = (secrets_dir / "observer.password").read_text().strip()
    address, listening = BrokerAddress.at(secure_broker.url, "observer", password), asyncio.Event()
    with TapeWriter(tmp_path / "traffic.rec", wall_ms()) as tape:
        recording = asyncio.create_task(record(address, tape, ["bioreactors/#"], listening.set))
        async with asyncio.timeout(10):
            await listening.wait()
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)


async def test_what_was_recorded_is_taken_once_more_with_new_times_and_boots(
    broker: Broker, database: asyncpg.Connection, gateway: GatewayProcess, prefix: str, tmp_path: Path
) -> None:
    names = [f"{prefix}{number:04}" for number in (1, 2)]
    path, address, listening = tmp_path / "traffic.rec", BrokerAddress.at(broker.url, None, None), asyncio.Event()
    with TapeWriter(path, wall_ms()) as tape:
        recording = asyncio.create_task(
            record(address, tape, [f"bioreactors/{name}/#" for name in names], listening.set)
        )
        await listening.wait()
        past: dict[str, Any] = {"begin": wall_ms() - 600_000, "past": 60, "speed": AS_FAST_AS_POSSIBLE}
        habits = Habits(Format.MSGPACK, poison=0.2)
        fleet = Fleet(plan(broker, prefix, 2, rate=20, frames=40, habits=habits, **past), say_nothing)
        await fleet.run(asyncio.Event(), say_nothing)
        async with asyncio.timeout(10):
            while tape.messages < fleet.counts.acknowledged // 2:
                await asyncio.sleep(0.02)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    recorded = list(read(path))
    assert {message.topic.split("/")[2] for message in recorded} >= {"telemetry", "history", "status", "event"}

    await database.execute("insert into devices (name) select unnest($1::text[])", names)
    gateway.start()
    options = ("--mqtt-url", broker.url, "--shift", "--speed", "20")
    replaying = Talking("device_sim", "replay", str(path), *options)
    said = json.loads((await asyncio.to_thread(replaying.finish, 30)).splitlines()[-1])
    assert said == {"messages": len(recorded), "unacknowledged": 0}
    async with asyncio.timeout(20):
        while await database.fetchval("select count(*) from frames") < 80:
            await asyncio.sleep(0.05)
    rows = await database.fetch("select name, boot, seq, time, received_at from frames join devices using (device_id)")
    assert sorted((row["name"], row["seq"]) for row in rows) == [(name, seq) for name in names for seq in range(40)]
    [boot] = {row["boot"] for row in rows}
    assert abs(boot - time.time()) < 120
    assert all(row["time"] <= row["received_at"] for row in rows)
    assert max(row["time"] for row in rows) > datetime.now(UTC) - timedelta(minutes=1)
    poison = fleet.counts.poison
    assert poison > 0
    assert await database.fetchval("select count(*) from quarantine") >= 1
