"""B50: what it costs to seal stored frames, and how long it takes to verify the seals of a year of a device."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from gateway.evidence.seal_command import verify_devices
from gateway.evidence.seal_findings import SealedDevice
from gateway.evidence.sealed_passes import SealedPasses
from gateway.evidence.sealing import Sealing
from tests.bench.exporter import CHANNELS
from tests.bench.exports import fill
from tests.bench.figures import Figure, figure
from tests.bench.meters import cpu_s
from tests.bench.session import Bench, say

YEAR = timedelta(days=365)
FORGET = """
set session_replication_role = replica;
delete from seals; delete from seals_until; delete from audit where action = 'seal';
set session_replication_role = origin"""


async def b50(bench: Bench) -> list[Figure]:
    """Of one device at 1 Hz with 20 channels: a month by default, of which a year is reckoned."""
    frames = bench.size.stored * 3
    async with bench.plant.database(0) as url:
        await fill(url, frames)
        connection = await asyncpg.connect(url, server_settings={"plan_cache_mode": "force_custom_plan"})
        begin, end = await connection.fetchrow("select min(time), max(time) from frames")
        sealing, verifying, seconds = [list[float]() for _ in range(3)]
        for _ in range(bench.size.repeats):
            await connection.execute(FORGET)
            cost, _ = await measured(bench, connection, frames, end)
            sealing.append(cost)
            cost, took = await measured(bench, connection, frames, None)
            verifying.append(cost)
            seconds.append(took * (YEAR / (end - begin)))
        await connection.close()
    million = "CPU s a million samples"
    days = f"{(end - begin) / timedelta(days=1):.1f} days, times {YEAR / (end - begin):.0f}"
    return [
        figure("B50a", "sealing, client and database", million, sealing, 0.15, at_least=False),
        figure("B50b", "verifying seals, client and database", million, verifying, 0.15, at_least=False),
        figure("B50c", "verifying a year of a device at 1 Hz", "s", seconds, 60, at_least=False, note=days),
    ]


async def measured(
    bench: Bench, connection: asyncpg.Connection, frames: int, end: datetime | None
) -> tuple[float, float]:
    """CPU s for a million samples, and seconds: of sealing all up to `end`, or of verifying all."""
    server = bench.plant.stack.postgres.pid
    before, began = cpu_s(server) + own_s(), time.monotonic()
    if end is None:
        found = await verify_devices(connection, await devices(connection), SealedPasses({}), None, None)
        assert found.faults == [], found.faults[:3]
    else:
        while await Sealing(connection).seal(end + timedelta(days=2)):
            pass
        assert await connection.fetchval("select sum((text::jsonb ->> 'frames')::int) from seals") == frames
    used, took = cpu_s(server) + own_s() - before, time.monotonic() - began
    cost = used / (frames * CHANNELS / 1e6)
    say(f"{'verified' if end is None else 'sealed'}: {cost:.3f} CPU s a million samples, {took:.1f} s")
    return cost, took


def own_s() -> float:
    """User and system time of this process alone."""
    used = os.times()
    return used.user + used.system


async def devices(connection: asyncpg.Connection) -> Sequence[SealedDevice]:
    return [
        SealedDevice(*row) for row in await connection.fetch("select device_id, name, organization_id from devices")
    ]
