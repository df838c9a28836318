"""The live feed of telemetry: what is committed, the newest of it, to whom it belongs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import httpx2
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.access.roles import Role, Scope
from api.live import feeding, hub, telemetry
from tests.api.accounts import api_key, bearer, organization
from tests.api.live import ENOUGH_S, Events, deaf, listening, message, opened
from tests.api.plant import LivePlant, Plant
from tests.conftest import Broker
from tests.faults.gateways import port_of, through
from tests.faults.proxy import Mode, Network
from tests.processes import GatewayProcess

PATH = "/api/v1/ws/live-data"
STREAM = "/api/v1/live-data"


@pytest.fixture
async def vessels(plant: Plant) -> LivePlant:
    it = LivePlant(plant.sql)
    await it.vessel("br-1")
    await it.vessel("br-2")
    return it


@pytest.fixture
async def reader(plant: Plant) -> dict[str, str]:
    return bearer(await api_key(plant.sql, role=Role.VIEWER, scopes=[Scope.TELEMETRY_READ]))


async def changes(client: ClientConnection) -> dict[str, Any]:
    """The changes of the next message, by device."""
    content = await message(client)
    assert content["type"] == "changes", content
    return {one["device"]: one for one in content["changes"]}


async def test_the_newest_values_come_first_then_what_is_committed_and_nothing_late(
    database_url: str, vessels: LivePlant, reader: dict[str, str]
) -> None:
    was = await vessels.commit("br-1", 1, 7.0, None)
    async with (
        listening(database_url) as (address, _),
        opened(address, reader, path=PATH) as socket,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=reader, timeout=ENOUGH_S) as client,
        client.stream("GET", STREAM) as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        events = Events(answer)
        snapshot = await message(socket)
        assert (snapshot["type"], snapshot["more"], snapshot["unknown"]) == ("snapshot", False, [])
        one, two = sorted(snapshot["devices"], key=lambda device: str(device["device"]))
        assert one == {
            **{"device": "br-1", "time": was, "values": {"ph": 7.0, "do": None}},
            **{"times": {"do": None}, "units": {"ph": "pH", "do": None}},
        }
        latest = (await client.get("/api/v1/devices/br-1/latest")).json()
        assert {it["channel"]: it["value"] for it in latest["values"]} == one["values"]
        assert (two["device"], two["time"], two["values"]) == ("br-2", None, {})
        name, _, data = await events.next()
        assert (name, sorted(data["devices"], key=str)) == ("snapshot", sorted(snapshot["devices"], key=str))
        at = await vessels.commit("br-1", 2, 7.1, 40.0)
        changed = {"device": "br-1", "time": at, "values": {"ph": 7.1, "do": 40.0}}
        assert await changes(socket) == {"br-1": changed}
        name, _, data = await events.next()
        assert (name, data["changes"]) == ("changes", [changed])
        await vessels.commit("br-1", 1.5, 99.0, 99.0)  # late
        at = await vessels.commit("br-2", 3, 6.5, 30.0)
        told = await changes(socket)
        assert told == {
            "br-2": {"device": "br-2", "time": at, "values": {"ph": 6.5, "do": 30.0}, "units": one["units"]}
        }


async def test_a_client_chooses_devices_channels_and_rate(
    database_url: str, vessels: LivePlant, reader: dict[str, str]
) -> None:
    await vessels.commit("br-1", 1)
    await vessels.commit("br-2", 1)
    async with (
        listening(database_url) as (address, _),
        opened(address, reader, "?device=br-2,br-9&channels=do,no&rate=0.5", PATH) as slow,
        opened(address, reader, path="/ws/live-data") as fast,
    ):
        snapshot = await message(slow)
        assert snapshot["unknown"] == ["br-9"]
        [device] = snapshot["devices"]
        assert (device["device"], device["values"], device["units"]) == ("br-2", {"do": 50.0}, {"do": None})
        assert (await message(fast))["type"] == "snapshot"
        await vessels.commit("br-2", 2)
        await changes(slow)
        begun = time.monotonic()
        for n in range(3, 8):
            await vessels.commit("br-1", n)
            await vessels.commit("br-2", n)
        seen: dict[str, int] = {"br-1": 0, "br-2": 0}
        values: dict[str, float] = {}
        while values != {"br-1": 7.0, "br-2": 7.0}:
            for name, one in (await changes(fast)).items():
                seen[name] += 1 + one.get("skipped", 0)
                values[name] = one["values"]["ph"]
        assert seen == {"br-1": 5, "br-2": 6}  # all that was committed is told, or counted as skipped
        told = await changes(slow)
        assert time.monotonic() - begun >= 1.5
        assert told["br-2"]["skipped"] == 4
        for wrong in ("?rate=11", "?rate=0", "?channels=", "?device=", "?devices=br-1", "?after=1"):
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, reader, wrong, PATH)
            assert refused.value.response.status_code == 422, wrong


async def test_a_part_of_the_channels_and_another_layout_keep_what_is_known(
    database_url: str, vessels: LivePlant, reader: dict[str, str]
) -> None:
    was = await vessels.commit("br-1", 1, 7.0, 50.0)
    async with listening(database_url) as (address, _), opened(address, reader, "?device=br-1", PATH) as client:
        await message(client)
        at = await vessels.commit("br-1", 2, 7.2, None)  # do was not sent
        expected = {"device": "br-1", "time": at, "values": {"ph": 7.2, "do": 50.0}, "times": {"do": was}}
        assert await changes(client) == {"br-1": expected}
        device, _ = vessels.devices["br-1"]
        other = await vessels.layout(device, "temperature")
        await vessels.frames(device, other, [(vessels.now + timedelta(seconds=3), [37.0], [2])])
        await vessels.tell()
        told = (await changes(client))["br-1"]
        assert told["values"] == {"ph": 7.2, "do": 50.0, "temperature": 37.0}
        assert told["quality"] == {"temperature": 2}
        assert told["units"]["temperature"] == "°C"
        # of a layout in use, what is older than the device's newest frame is news all the same
        await vessels.commit("br-1", 2.5, 7.3, 51.0)
        assert (await changes(client))["br-1"]["values"] == {"ph": 7.3, "do": 51.0, "temperature": 37.0}


async def test_nobody_hears_of_another_organization_nor_of_what_was_given_away(
    database_url: str, vessels: LivePlant, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.live.boards.LOOK_S", 0.2)
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    north = await organization(vessels.sql, "north")
    await vessels.vessel("n-1", north)
    key = bearer(await api_key(vessels.sql, "north"))
    async with (
        listening(database_url) as (address, _),
        opened(address, reader, path=PATH) as ours,
        opened(address, reader, "?device=n-1,br-1", PATH) as curious,
        opened(address, key, path=PATH) as theirs,
    ):
        assert [one["device"] for one in (await message(theirs))["devices"]] == ["n-1"]
        assert sorted(one["device"] for one in (await message(ours))["devices"]) == ["br-1", "br-2"]
        assert (await message(curious))["unknown"] == ["n-1"]
        await vessels.commit("n-1", 1)
        assert list(await changes(theirs)) == ["n-1"]
        await vessels.commit("br-1", 2)
        assert list(await changes(ours)) == ["br-1"]
        assert list(await changes(curious)) == ["br-1"]
        await vessels.sql.execute("update devices set organization_id = $1 where name = 'br-1'", north)
        await vessels.commit("br-1", 3)
        assert await changes(ours) == {"br-1": {"device": "br-1", "gone": True}}
        assert await changes(curious) == {"br-1": {"device": "br-1", "gone": True}}
        assert (await changes(theirs))["br-1"]["values"]["ph"] == 3
        await vessels.commit("br-2", 4)
        assert (await changes(ours))["br-2"]["units"] == {"ph": "pH", "do": None}
        await vessels.sql.execute(
            "insert into channel_units (organization_id, channel_id, since, unit, plain)"
            " select 1, channel_id, '2020-01-01Z', 'mV', false from channels where name = 'ph'"
        )
        assert (await changes(ours))["br-2"]["units"] == {"ph": "mV", "do": None}
        for query, extra in (("?organization=north", {}), ("", {"Biogate-Organization": "north"})):
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, reader | extra, query, PATH)
            assert refused.value.response.status_code == 404


@pytest.mark.parametrize("how", [Mode.CUT, Mode.HANG], ids=str)
async def test_after_an_outage_of_the_database_the_newest_comes(
    database_url: str, vessels: LivePlant, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch, how: Mode
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.3)
    monkeypatch.setattr(hub, "PATIENCE_S", 1.0)
    with Network() as network:
        link = network.link(port_of(database_url))
        async with (
            listening(through(database_url, link), api_acquire_timeout=1) as (address, _),
            opened(address, reader, path=PATH) as client,
        ):
            await message(client)
            await vessels.commit("br-1", 1)
            await changes(client)
            link.set(how)
            assert (await message(client))["type"] == "trouble"
            for n in (2, 3, 4):
                await vessels.commit("br-1", n)
            link.set(Mode.PASS)
            recovered = await message(client)
            assert recovered["type"] == "recovered"
            assert recovered["committed_until"] <= recovered["time"]
            told = (await changes(client))["br-1"]
            assert (told["values"]["ph"], told["skipped"]) == (4, 2)


async def test_a_lost_notification_a_silent_device_and_a_clock_that_was_set_back_are_found(
    database_url: str, vessels: LivePlant, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    monkeypatch.setattr("api.live.boards.LOOK_S", 0.2)
    monkeypatch.setattr(telemetry, "ANEW_S", 0.2)
    await vessels.commit("br-1", 1)
    async with listening(database_url) as (address, _), opened(address, reader, path=PATH) as client:
        await message(client)
        await vessels.commit("br-1", 2, tell=False)
        assert (await changes(client))["br-1"]["values"]["ph"] == 2
        await vessels.commit("br-2", -7200, tell=False)  # older than news is looked for
        assert (await changes(client))["br-2"]["values"]["ph"] == -7200
        newest, back = vessels.now + timedelta(seconds=2), vessels.now - timedelta(seconds=600)
        async with vessels.sql.transaction():  # as the gateway stores both
            await vessels.sql.execute(
                """insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time,
                                              newest_time, newest_received)
                   values ($1, $2, $2, now(), now(), $2, $3, now() - interval '5 minutes')""",
                *(vessels.devices["br-1"][0], back, newest),
            )
            await vessels.commit("br-1", -600, tell=False)
        assert (await changes(client))["br-1"]["values"]["ph"] == -600


async def test_who_does_not_read_delays_nobody_and_is_closed(
    database_url: str, vessels: LivePlant, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "SEND_S", 1.0)
    device, _ = vessels.devices["br-1"]
    wide = await vessels.layout(device, *(f"channel {n:03} {'x' * 50}" for n in range(250)))
    async with listening(database_url) as (address, app), opened(address, reader, path=PATH) as good:
        await message(good)
        slow = await deaf(address, reader, PATH)
        [feed] = app.state.services.hub._feeds.values()
        async with asyncio.timeout(60):
            n = 0
            while len(feed._members) > 1 or n < 20:
                n += 1
                at = vessels.now + timedelta(milliseconds=n)
                await vessels.frames(device, wide, [(at, [float(n)] * 250, None)])
                await vessels.tell()
                told = (await changes(good))["br-1"]
                assert told["values"][f"channel 000 {'x' * 50}"] == n
                assert "skipped" not in told
        slow.close()


Ends = Callable[[asyncpg.Connection], Awaitable[object]]


@pytest.mark.parametrize("what", ["ended", "expired"])
async def test_what_ends_for_who_listens_ends_the_feed(
    database_url: str, vessels: LivePlant, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 0.2)
    key = await api_key(vessels.sql)
    async with (
        listening(database_url) as (address, _),
        opened(address, bearer(key), path=PATH) as socket,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=bearer(key), timeout=ENOUGH_S) as client,
        client.stream("GET", STREAM) as answer,
    ):
        events = Events(answer)
        await message(socket)
        assert (await events.next())[0] == "snapshot"
        name, _, beat = await events.next()
        assert name == "heartbeat"
        assert beat["committed_until"] <= beat["time"]
        column = "ended_at" if what == "ended" else "expires_at"
        await vessels.sql.execute(f"update api_keys set {column} = now()")
        with pytest.raises(ConnectionClosed) as closed:
            await message(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        while name == "heartbeat":
            name, _, data = await events.next()
        assert (name, data["code"]) == ("end", 4401)


async def test_from_a_device_to_a_client(
    database_url: str, vessels: LivePlant, reader: dict[str, str], broker: Broker, gateway: GatewayProcess
) -> None:
    """The whole path: published, committed, told. The look every few seconds has no part in it."""
    gateway.start()
    async with (
        listening(database_url) as (address, _),
        opened(address, reader, "?device=br-1", PATH) as client,
        aiomqtt.Client(broker.host, broker.port) as device,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=reader, timeout=ENOUGH_S) as http,
    ):
        await message(client)
        took = []
        for n in range(10):
            frame = {"t": int(time.time() * 1000), "v": {"ph": 7.0 + n, "do": 50.0}}
            begun = time.monotonic()
            await device.publish("bioreactors/br-1/telemetry", json.dumps(frame), qos=1)
            assert (await changes(client))["br-1"]["values"]["ph"] == 7.0 + n
            took.append(time.monotonic() - begun)
        assert sorted(took)[5] < hub.LOOK_S / 2, took
        metrics = (await http.get("/metrics")).text
        [told] = [line for line in metrics.splitlines() if line.startswith("biogate_api_live_delay_seconds_count")]
        assert float(told.split()[1]) >= 10
        # without its connection for notifications the gateway makes another one, and commits go on
        await vessels.sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'biogate-news%'"
        )
        for n in range(2):
            frame = {"t": int(time.time() * 1000), "v": {"ph": 20.0 + n, "do": 50.0}}
            await device.publish("bioreactors/br-1/telemetry", json.dumps(frame), qos=1)
            assert (await changes(client))["br-1"]["values"]["ph"] == 20.0 + n
    account = gateway.settle(12)
    assert (account["committed"], account["quarantined"]) == (12, 0)


async def test_the_clients_on_the_page_follow(
    database_url: str, vessels: LivePlant, reader: dict[str, str], tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    [python], [shell] = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "sh"))
    key = tmp_path / "key"
    key.write_text(reader["Authorization"].removeprefix("Bearer "))
    Path(f"{key}.header").write_text(f"Authorization: {reader['Authorization']}")
    seconds = 1
    await vessels.commit("br-1", seconds, 6.25, 50.0)
    async with listening(database_url) as (address, _):
        environment = {"BIOGATE_API_URL": f"http://{address}", "BIOGATE_API_KEY_FILE": str(key)}
        for command in ((sys.executable, "-c", python), ("sh", "-c", f"exec {shell.strip()}")):
            child = await asyncio.create_subprocess_exec(
                *command, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
            )
            assert child.stdout is not None
            try:
                for words, value in (("6.25", 7.75), ("7.75", 6.25)):
                    async with asyncio.timeout(ENOUGH_S):
                        while words not in (line := (await child.stdout.readline()).decode()):
                            assert line
                    seconds += 1
                    await vessels.commit("br-1", seconds, value, 50.0)
            finally:
                child.kill()
                await child.wait()
