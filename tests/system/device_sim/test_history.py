"""A plant with a past: fleet, broker, gateway, database, all real."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from device_sim.clock import wall_ms
from tests.conftest import Broker
from tests.device_sim.subscriber import finish, start
from tests.processes import GatewayProcess

QUICK: dict[str, Any] = {"receipt_interval_s": 0.2, "reorder_window_s": 0.5, "backfill_retry_s": 1}
PERIODS = (timedelta(minutes=1), timedelta(milliseconds=100))


async def test_a_past_is_backfilled_and_goes_over_into_the_present(
    broker: Broker, database: asyncpg.Connection, gateway: GatewayProcess, prefix: str, tmp_path: Path
) -> None:
    names = [f"{prefix}{number:04}" for number in range(1, 5)]
    await database.execute("insert into devices (name) select unnest($1::text[])", names)
    gateway.start(**QUICK)
    options = ["--devices", "4", "--state", str(tmp_path), "--since-every", "60", "--rate", "10"]
    # the past has 1441 frames until 40 s ago, and a third of a minute is left for this machine to be slow
    since, count = str(wall_ms() - 86_400_000 - 40_000), 1441 + 350
    fleet = start(broker, prefix, *options, "--since", since, "--count", str(count), "--until-receipted", "30")
    summary = await asyncio.to_thread(finish, fleet)
    assert fleet.returncode == 0, f"{summary}\n{gateway.log.read_text()[-2000:]}"
    assert (summary["produced"], summary["receipted"], summary["missing"]) == (4 * count, 4 * count, 0)
    assert summary["receipted_ms_p50"] > summary["acknowledged_ms_p50"] > 0
    rows = await database.fetch("select name, boot, seq, time, received_at from frames join devices using (device_id)")
    for name in names:
        frames = sorted((row for row in rows if row["name"] == name), key=lambda row: row["time"])
        assert [row["seq"] for row in frames] == list(range(count))
        assert {row["boot"] for row in frames} == {1}
        steps = [after["time"] - before["time"] for before, after in itertools.pairwise(frames)]
        seam = next(n for n, step in enumerate(steps) if step != PERIODS[0])
        assert {steps[0], *steps[:seam]} == {PERIODS[0]}
        assert seam == 1440
        assert max(steps[seam:]) <= PERIODS[0]
        assert all(abs(step - PERIODS[1]) < timedelta(milliseconds=2) for step in steps[seam + 1 :])
        assert all(row["time"] <= row["received_at"] for row in frames)
    assert await database.fetchval("select count(*) from quarantine") == 0
    phases = await database.fetch(
        "select distinct name from device_events join devices using (device_id) where type = 'phase'"
    )
    assert {row["name"] for row in phases} == set(names)
