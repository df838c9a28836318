"""Fleet, broker, gateway, database, all real: what the journal says was produced is what the table holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from device_sim.journal import Produced, read
from tests.conftest import Broker
from tests.device_sim.subscriber import finish, start
from tests.processes import GatewayProcess

pytestmark = pytest.mark.timeout(90)
QUICK: dict[str, Any] = {"receipt_interval_s": 0.2, "reorder_window_s": 0.5, "backfill_retry_s": 1}

STORED = """
    select d.name, f.boot, f.seq, f.time, f.values, array_agg(c.name order by l.ordinal) as channels
    from frames f
    join devices d using (device_id)
    join layout_channels l using (layout_id)
    join channels c using (channel_id)
    group by d.name, f.boot, f.seq, f.time, f.values
"""


async def test_every_frame_is_stored_exactly_once_though_fleet_and_gateway_are_killed(
    broker: Broker, database: asyncpg.Connection, gateway: GatewayProcess, prefix: str, tmp_path: Path
) -> None:
    names = [f"{prefix}{number:04}" for number in range(1, 6)]
    await database.execute("insert into devices (name) select unnest($1::text[])", names)
    gateway.start(**QUICK)
    journal = tmp_path / "journal"
    options = ["--devices", "5", "--rate", "20", "--state", str(tmp_path / "state"), "--journal", str(journal)]
    options += ["--drop", "0.05", "--late", "0.05", "--duplicates", "0.05", "--resend-after", "4", "--max-backoff", "1"]
    for _ in range(2):
        before = await database.fetchval("select count(*) from frames")
        fleet = start(broker, prefix, *options)
        async with asyncio.timeout(30):
            while await database.fetchval("select count(*) from frames") < before + 100:
                await asyncio.sleep(0.05)
        gateway.kill()
        await asyncio.sleep(0.5)
        fleet.kill()
        await asyncio.to_thread(fleet.finish)
        gateway.start(**QUICK)
    fleet = start(broker, prefix, *options, "--count", "60", "--reboot-every", "0.5", "--until-receipted", "30")
    summary = await asyncio.to_thread(finish, fleet)
    assert fleet.returncode == 0, f"{summary}\n{gateway.log.read_text()[-2000:]}"
    assert summary["recovered"] > 0
    assert summary["asked"] > 0

    stored = {
        (row["name"], row["boot"], row["seq"], round(row["time"].timestamp() * 1000)): dict(
            zip(row["channels"], row["values"], strict=True)
        )
        for row in await database.fetch(STORED)
    }
    produced = {
        (frame.device, frame.boot, frame.seq, frame.t_ms): frame.values
        for frame in read(journal)
        if isinstance(frame, Produced)
    }
    assert stored == produced
    assert await database.fetchval("select count(*) from frames") == len(produced)
    assert await database.fetchval("select count(*) from quarantine") == 0
