"""Kills in the middle of a burst of alarms: what is stored is what one undisturbed evaluation makes of the frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import deploy.stack
from deploy.stack import Local
from gateway.runtime.database import FAILURES
from schema.alarms.engine import DeviceAlarms
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame
from schema.migrate import migrate
from tests.gateway.alarms.plant import HIGH, Plant, now
from tests.gateway.cell import eventually
from tests.processes import AlarmsProcess, wait_until

DEVICES = [f"r{n}" for n in range(30)]
RULES: dict[str, dict[str, Any]] = {
    "bare": {"when": HIGH},
    "calm": {"when": HIGH | {"deadband": 3.0}, "on_delay": 0.2, "off_delay": 0.3, "latch": True},
    "steep": {"when": {"kind": "rate", "channel": "x", "limit": 600.0, "window": 1.0}},
    "both": {"when": {"kind": "formula", "expression": "x + y > 18"}, "on_delay": 0.1},
    "holes": {"when": {"kind": "gap", "frames": 1, "window": 1.0}},
}


@pytest.fixture
async def servers() -> AsyncIterator[Local]:
    """Of this test alone: its PostgreSQL is killed."""
    with deploy.stack.local(f"alarms-{os.getpid()}") as local:
        connection = await asyncpg.connect(local.database_url)
        await migrate(connection)
        await connection.close()
        yield local


@contextlib.contextmanager
def two_evaluators(servers: Local, directory: Path) -> Iterator[list[AlarmsProcess]]:
    """The first leads."""
    both = [
        AlarmsProcess(servers.database_url, servers.mqtt_url, directory / f"{name}.log") for name in ("one", "other")
    ]
    both[0].start()
    both[1].start(ready=False)
    try:
        yield both
    finally:
        for process in both:
            process.kill()
            print(process.log.read_text()[-3000:])


class Burst:
    """Every 40 ms a frame of each device, with random values; what is missing in the sequence is never sent. Goes on
    through an outage of the database: a device keeps what was not stored."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._random = random.Random(7)
        self.frames = 0

    async def run(self, stop: asyncio.Event) -> None:
        plant, seq = await self._plant(), 0
        while not stop.is_set():
            at, seq = time.time(), seq + self._random.choice([1, 1, 1, 1, 1, 2])
            for device in DEVICES:
                values = {"x": self._random.uniform(4, 12), "y": self._random.uniform(4, 12)}
                while True:
                    try:
                        await plant.commit(device, [(at, values)], first=seq)
                        break
                    except asyncpg.UniqueViolationError:  # it was committed, and the answer was lost
                        break
                    except FAILURES:
                        await asyncio.sleep(0.2)
                        with contextlib.suppress(*FAILURES):
                            plant = await self._plant()
                self.frames += 1
            await asyncio.sleep(0.04)

    async def _plant(self) -> Plant:
        plant = Plant(await asyncpg.connect(self._url, timeout=5, command_timeout=5))
        await plant.know()
        return plant


async def test_kills_in_the_middle_of_a_burst_lose_no_transition_and_make_none_twice(
    servers: Local, tmp_path: Path
) -> None:
    plant = Plant(await asyncpg.connect(servers.database_url))
    await plant.devices(*DEVICES)
    for name, rule in RULES.items():
        await plant.rule(name, **rule)
    stop, burst = asyncio.Event(), Burst(servers.database_url)
    with two_evaluators(servers, tmp_path) as processes:
        wait_until(lambda: "standby" in processes[1].get("/ready")[1], 30)
        for device in DEVICES:
            await plant.commit(device, [(now() - 2, {"x": 11.0, "y": 11.0})])
        await eventually(lambda: stored(plant, 2 * len(DEVICES)), 20)
        task = asyncio.create_task(burst.run(stop))
        for leader, standby in (processes, processes[::-1]):
            await going_on(plant, task)
            leader.kill()
            begun = time.monotonic()
            standby.wait_ready(20)
            assert time.monotonic() - begun < 10
            leader.start(ready=False)
        for _ in range(3):
            await going_on(plant, task)
            await plant.database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'biogate-%'"
            )
        await going_on(plant, task)
        servers.postgres.kill()
        servers.postgres.process.wait(10)
        servers.postgres.start()
        plant.database = await asyncpg.connect(servers.database_url)
        await going_on(plant, task)
        stop.set()
        await task
        for device in DEVICES:  # the last one is an alarm of all that was before
            await plant.commit(device, [(time.time(), {"x": 99.0, "y": 99.0})], first=10**6)
        expected = {device: await undisturbed(plant, device) for device in DEVICES}
        count = sum(map(len, expected.values()))
        await eventually(lambda: stored(plant, count), 30, lambda: counted(plant, count))
        await asyncio.sleep(0.5)
        assert {device: await made(plant, device) for device in DEVICES} == expected
        assert sum("defect" in process.log.read_text() for process in processes) == 0
        for device in DEVICES:
            for name in RULES:
                await plant.transitions(device, name)  # numbered without holes
    assert count > 500
    await plant.database.close()


async def counted(plant: Plant, expected: int) -> str:
    return f"{await plant.database.fetchval('select count(*) from alarm_transitions')} of {expected}"


async def stored(plant: Plant, count: int) -> bool:
    return bool(await plant.database.fetchval("select count(*) >= $1 from alarm_transitions", count))


async def going_on(plant: Plant, burst: asyncio.Task[None]) -> None:
    """Until some more are stored."""
    count = await plant.database.fetchval("select count(*) from alarm_transitions")
    await eventually(lambda: stored(plant, count + 60), 30, lambda: counted(plant, count))
    assert not burst.done(), burst.exception()


Line = tuple[str, str, str, str, float, float | None]


async def made(plant: Plant, device: str) -> list[Line]:
    rows = await plant.database.fetch(
        """select r.name, t.cause, t.before, t.after, extract(epoch from t.at)::float8 as at, t.value
             from alarm_transitions t join alarm_rules r using (rule_id) join devices d using (device_id)
            where d.name = $1 order by t.transition_id""",
        device,
    )
    return sorted((row["name"], row["cause"], row["before"], row["after"], row["at"], row["value"]) for row in rows)


async def undisturbed(plant: Plant, device: str) -> list[Line]:
    """By the engine alone."""
    rules = [Rule.model_validate({"name": name, "title": name, **rule}) for name, rule in RULES.items()]
    engine, lines = DeviceAlarms(rules), []
    rows = await plant.database.fetch(
        "select f.* from frames f join devices d using (device_id) where d.name = $1 order by received_at, seq", device
    )
    for row in rows:
        values = [(name, value, 0) for name, value in zip("xy", row["values"], strict=True)]
        times = row["time"].timestamp(), row["received_at"].timestamp()
        for one in engine.frame(CommittedFrame(*times, row["boot"], row["seq"], values)):
            lines.append((one.rule, one.cause, one.before.value, one.after.value, one.at.timestamp(), one.value))
    return sorted(lines)
