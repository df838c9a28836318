"""A gateway that is frozen raises no silence: nobody knows then whether the devices send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator

from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant
from tests.gateway.cell import eventually
from tests.processes import AlarmsProcess, GatewayProcess

UNKNOWN, KNOWN, RAISED = ("unknown", "normal"), ("known", "normal"), ("condition", "unacknowledged")


@contextlib.asynccontextmanager
async def sending(broker: Broker, device: str) -> AsyncIterator[None]:
    """Twice a second, until the block ends."""

    async def send() -> None:
        async with MqttClient(broker.host, broker.port) as client:
            while True:
                frame = {"t": int(time.time() * 1000), "v": {"x": 1.0}}
                await client.publish(f"bioreactors/{device}/telemetry", json.dumps(frame), qos=1)
                await asyncio.sleep(0.5)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_frozen_gateway_raises_no_silence(
    plant: Plant, broker: Broker, gateway: GatewayProcess, alarms: AlarmsProcess
) -> None:
    await plant.devices("sends", "stops")
    await plant.rule("silent", {"kind": "silent", "after": 6})
    gateway.start()
    alarms.start()
    async with sending(broker, "sends"):
        async with sending(broker, "stops"):
            for device in ("sends", "stops"):
                await eventually(lambda device=device: heard(plant, device), 20)  # type: ignore[misc]
        await eventually(lambda: plant.database.fetchval("select exists (select from intake_beats)"), 20)
        gateway.child.send_signal(signal.SIGSTOP)
        for device in ("sends", "stops"):
            await plant.becomes(device, UNKNOWN, rule="silent")
        await eventually(lambda: says_why(plant), 20)
        gateway.child.send_signal(signal.SIGCONT)
        await plant.becomes("stops", UNKNOWN, KNOWN, RAISED, rule="silent")
        await plant.becomes("sends", UNKNOWN, KNOWN, rule="silent")


async def heard(plant: Plant, device: str) -> bool:
    """The rule has its alarm on the device, and a frame came since."""
    return bool(
        await plant.database.fetchval(
            "select exists (select from frames f join devices d using (device_id) join alarms a using (device_id)"
            " where d.name = $1 and f.received_at > a.since and a.not_evaluated is null)",
            device,
        )
    )


async def says_why(plant: Plant) -> bool:
    """The alarm of the device that sends says that it is not evaluated for lack of the intake."""
    return "intake stores nothing" in ((await plant.alarm("sends", "silent"))["not_evaluated"] or "")
