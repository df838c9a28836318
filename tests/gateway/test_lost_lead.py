"""A gateway that has lost its lead while it lives: it takes nothing, sends nothing, and tells nothing of others."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import asyncpg

from gateway.leader import COUNT
from tests.gateway.cell import Cell
from tests.gateway.controller import ask, command
from tests.gateway.material import take_lead, until
from tests.processes import GatewayProcess

FIGURES = (
    *("biogate_database_bytes", "biogate_devices", "biogate_hypertable_chunks", "biogate_retention_timestamp_seconds"),
    "biogate_retention_held_chunks",
    *("biogate_credentials_due", "biogate_credentials_stuck", "biogate_credentials_missing"),
    *("biogate_credentials_foreign", "biogate_commands_waiting", "biogate_broker_uptime_seconds"),
)
"""What only the gateway that leads knows, of each kind."""

OWN = (
    *("biogate_last_commit_timestamp_seconds", "biogate_figures_timestamp_seconds"),
    "biogate_certificate_expiry_timestamp_seconds",
)
"""Gauges that say what a gateway has done or seen itself, whoever leads."""

AS_ANOTHER = """
insert into frames (time, device_id, layout_id, received_at, values)
select time + interval '5 minutes', device_id, layout_id, received_at, values from frames"""
"""What another gateway stores meanwhile: a newer frame of the device."""


async def test_who_has_lost_the_lead_takes_sends_and_tells_nothing_until_it_leads_again(
    cell: Cell, database: asyncpg.Connection, tmp_path: Path
) -> None:
    gateway = GatewayProcess(str(cell.settings.database_url), cell.broker.url, tmp_path / "gateway.log")

    def told() -> set[str]:
        metrics = gateway.metrics()
        return {figure for figure in FIGURES if any(name.startswith(figure) for name in metrics)}

    try:
        username = await cell.login("r1")
        await take_lead(database, "cell main", COUNT, "main")
        gateway.start(ready=False, secrets_dir=cell.broker.secrets, retention_frames_days=365, reorder_window_s=0.1)
        seen = ("biogate_enroll_connected", "biogate_database_reachable")
        await until(lambda: [gateway.gauges().get(name) for name in seen] == [1, 1])
        on_standby = gateway.gauges(*OWN)
        await database.execute("select pg_advisory_unlock_all()")
        await until(lambda: told() == set(FIGURES))
        await until(lambda: database.fetchval("select applied = 'present' from credentials"))
        async with cell.connect(username) as device:
            frame = {"boot": 1, "seq": 1, "t": time.time() * 1000, "v": {"ph": 7.0}}
            await device.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)
            await until(lambda: gateway.gauges().get("biogate_holes") == 1)
        await take_lead(database, "cell main", COUNT, "main")
        await until(lambda: gateway.metrics()["biogate_leader"] == gateway.metrics()["biogate_mqtt_connected"] == 0)
        await until(lambda: gateway.gauges(*OWN) == on_standby)
        assert not told()
        identifier = await ask(database, "r1")
        before = gateway.metrics()["biogate_commands_undelivered_total"]
        async with cell.connect(username) as device:
            frame |= {"seq": 2, "t": time.time() * 1000}
            await device.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)
        await database.execute(AS_ANOTHER)
        await asyncio.sleep(0.5)  # for what shall not be done
        assert (await command(database, identifier))["state"] == "waiting"
        assert gateway.metrics()["biogate_commands_undelivered_total"] == before
        assert (gateway.account()["received"], told()) == (1, set())
        await database.execute("select pg_advisory_unlock_all()")
        assert gateway.settle(2)["committed"] == 2
        assert await database.fetchval("select count(*) from late_arrivals where newest_time is not null") == 1
        await until(lambda: told() == set(FIGURES))
        await until(lambda: gateway.metrics()["biogate_commands_undelivered_total"] > before)
    finally:
        gateway.end()
        print(gateway.log.read_text()[-3000:])  # shown with a failure
