"""The live feed of devices' presence: who comes, goes, starts anew and falls silent."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import httpx2
import pytest

from api.access.roles import Role, Scope
from api.live import hub
from api.shapes.device_status import LivePresence
from tests.api.accounts import api_key, bearer, organization
from tests.api.conform import conforms
from tests.api.live import ENOUGH_S, Events, listening, message, opened
from tests.api.plant import Plant
from tests.api.test_live_data import changes
from tests.conftest import Broker
from tests.processes import GatewayProcess
from tests.roles import forced

PATH = "/api/v1/ws/device-status"
STREAM = "/api/v1/device-status"


@pytest.fixture
async def watcher(plant: Plant) -> dict[str, str]:
    return bearer(await api_key(plant.sql, role=Role.VIEWER, scopes=[Scope.DEVICES_READ]))


async def test_presence_from_a_device_to_a_client(
    database_url: str, plant: Plant, watcher: dict[str, str], broker: Broker, gateway: GatewayProcess
) -> None:
    """The look every few seconds has no part in it."""
    await plant.device("br-1")
    await plant.device("br-2")
    gateway.start()
    async with (
        listening(database_url) as (address, _),
        opened(address, watcher, "?device=br-1", PATH) as client,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=watcher, timeout=ENOUGH_S) as http,
        http.stream("GET", STREAM) as answer,
        aiomqtt.Client(broker.host, broker.port) as device,
    ):
        events = Events(answer)
        [standing] = (await message(client))["devices"]
        conforms(LivePresence, standing)
        assert (standing["online"], standing["last_seen"], standing["freshness"]) == (None, None, "never")
        name, _, data = await events.next()
        assert (name, [one["device"] for one in data["devices"]]) == ("snapshot", ["br-1", "br-2"])

        async def says(status: str, boot: int, firmware: str) -> dict[str, Any]:
            said = {"status": status, "t": int(time.time() * 1000), "boot": boot, "firmware": firmware}
            await device.publish("bioreactors/br-1/status", json.dumps(said), qos=1)
            told: dict[str, Any] = (await changes(client))["br-1"]
            assert (await events.next())[2]["changes"] == [told]
            return told

        begun, took = time.monotonic(), 0.0
        for status, boot, firmware in (("online", 1, "1.0"), ("online", 2, "1.0"), ("online", 3, "1.1")):
            told = await says(status, boot, firmware)
            assert (told["online"], told["boot"], told["firmware"]) == (True, boot, firmware)
            assert (told["freshness"], told["state"]) == ("fresh", "active")
        took = time.monotonic() - begun
        assert took < 3 * hub.LOOK_S, took
        assert (await says("offline", 3, "1.1"))["online"] is False


async def test_silence_and_shutting_out_are_found_and_nothing_of_others(
    database_url: str, plant: Plant, watcher: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    north = await organization(plant.sql, "north")
    theirs = await plant.device("n-1")
    await plant.sql.execute("update devices set organization_id = $1 where device_id = $2", north, theirs)
    device = await plant.device("br-1")
    now = datetime.now(UTC)
    for one in (device, theirs):
        await plant.status(one, 1, now, True)
        await plant.sql.execute("insert into device_heard values ($1, $2)", one, now)
    async with listening(database_url) as (address, _), opened(address, watcher, path=PATH) as client:
        [standing] = (await message(client))["devices"]
        assert (standing["device"], standing["online"], standing["freshness"]) == ("br-1", True, "fresh")
        await plant.sql.execute("update device_heard set heard_at = now() - interval '2 minutes'")
        await forced(plant.sql, "update statuses set received_at = received_at - interval '3 minutes'")
        assert (await changes(client))["br-1"]["freshness"] == "silent"
        heard = now + timedelta(seconds=1)
        await plant.sql.execute("update device_heard set heard_at = $1", heard)
        assert (await changes(client))["br-1"]["freshness"] == "fresh"
        await plant.sql.execute("update devices set state = 'suspended' where name = 'br-1'")
        assert (await changes(client))["br-1"]["state"] == "suspended"
        await plant.sql.execute("update devices set organization_id = $1 where name = 'br-1'", north)
        assert await changes(client) == {"br-1": {"device": "br-1", "gone": True}}
