"""The live feed of the client: changes go on when the API was restarted, and nothing is told twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from biogate import AsyncClient, Client, ClientError, LiveUpdate
from biogate.live import LiveFeed
from tests.api.accounts import api_key, organization
from tests.api.client.asker import Asker
from tests.api.client.test_broken_wires import speaking
from tests.api.live import ENOUGH_S, listening
from tests.api.plant import Plant

NEW = """insert into frames (time, device_id, layout_id, received_at, values)
         select now(), device_id, layout_id, now(), $2::float8[] from devices join device_layouts using (device_id)
          where name = $1"""


async def sent(plant: Plant, device: str, *values: float) -> None:
    await plant.sql.execute(NEW, device, list(values))


async def awaited(iterator: Iterator[LiveUpdate]) -> AsyncIterator[LiveUpdate]:
    """A feed that waits, in a thread."""
    while True:
        yield await asyncio.to_thread(next, iterator)


def feed(ask: Asker, *arguments: Any, **named: Any) -> AsyncIterator[LiveUpdate]:
    if ask.kind == "sync":
        return awaited(Client(ask.url, key=ask.key).live(*arguments, **named))
    return AsyncClient(ask.url, key=ask.key).live(*arguments, **named)


async def one(updates: AsyncIterator[LiveUpdate]) -> LiveUpdate:
    async with asyncio.timeout(ENOUGH_S):
        return await anext(updates)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_feed_goes_on_when_the_api_was_restarted(
    kind: str, database_url: str, two_devices: Plant, key: str
) -> None:
    async with AsyncExitStack() as first:
        address, _ = await first.enter_async_context(listening(database_url))
        updates = feed(Asker(kind, f"http://{address}", key), "br-1", ["ph", "temperature"])
        await sent(two_devices, "br-1", 37.0, 7.1)
        found = await one(updates)
        assert (found.device, dict(found.values)) == ("br-1", {"temperature": 37.0, "ph": 7.1})
        assert found.units["ph"] == "pH"
        await sent(two_devices, "br-1", 37.0, 7.2)
        found = await one(updates)
        assert (found.values["ph"], found.units["ph"]) == (7.2, "pH"), "units are known from before"
    waiting = asyncio.create_task(one(updates))
    await asyncio.sleep(0)
    await sent(two_devices, "br-1", 37.0, 7.3)
    async with listening(database_url, port=int(address.rpartition(":")[2])):
        assert (await waiting).values["ph"] == 7.3
        await sent(two_devices, "br-1", 37.0, 7.4)
        assert (await one(updates)).values["ph"] == 7.4


async def test_a_feed_that_cannot_be_opened_says_why(ask: Asker, two_devices: Plant) -> None:
    with pytest.raises(ClientError, match="br-9"):
        await one(feed(ask, ["br-1", "br-9"]))
    await organization(two_devices.sql, "other")
    stranger = await api_key(two_devices.sql, "other")
    with pytest.raises(ClientError, match="br-1"):
        await one(feed(Asker(ask.kind, ask.url, stranger), "br-1"))
    with pytest.raises(ClientError) as caught:
        await one(feed(Asker(ask.kind, ask.url, "bgk_unknown"), "br-1"))
    assert caught.value.status == 401
    with pytest.raises(ClientError) as caught:
        await one(feed(ask, "br-1", rate=1000))
    assert (caught.value.status, "rate" in caught.value.detail) == (422, True)


async def test_a_feed_takes_its_key_to_no_other_host(ask: Asker) -> None:
    heard: list[bytes] = []
    async with speaking(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", heard) as elsewhere:
        for location in (f"{elsewhere}/api", f"{elsewhere}/api".replace("http", "ws", 1)):
            leads_on = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            async with speaking(leads_on.encode()) as url:
                with pytest.raises(ClientError):
                    await one(feed(Asker(ask.kind, url, ask.key), "br-1"))
    assert ask.key not in b"".join(heard).decode()


# -- what a snapshot changes


def device(name: str, ph: float, **more: Any) -> dict[str, Any]:
    return {"device": name, "time": "2026-03-01T10:00:00.000000Z", "values": {"ph": ph}, **more}


def snapshot(*devices: dict[str, Any], more: bool = False) -> str:
    return json.dumps({"type": "snapshot", "devices": devices, "unknown": [], "more": more})


def told(of: LiveFeed, text: str) -> list[tuple[str, float | None, bool]]:
    return [(one.device, one.values.get("ph"), one.is_gone) for one in of.take(text)]


def test_a_second_snapshot_tells_only_what_has_changed() -> None:
    of = LiveFeed(())
    assert told(of, snapshot(device("a", 7), more=True)) == [("a", 7, False)]
    assert told(of, snapshot(device("b", 6), device("c", 5))) == [("b", 6, False), ("c", 5, False)]
    changes = {"type": "changes", "changes": [device("b", 6.5, skipped=2), {"device": "c", "gone": True}]}
    changed, gone = of.take(json.dumps(changes))
    assert (changed.skipped, changed.time, gone.is_gone) == (2, datetime(2026, 3, 1, 10, tzinfo=UTC), True)
    assert told(of, json.dumps({"type": "heartbeat"})) == told(of, json.dumps({"type": "new"})) == []
    assert told(of, snapshot(device("a", 7), more=True)) == []
    of.pause_after(ConnectionError())
    assert told(of, snapshot(device("b", 6.6))) == [("b", 6.6, False), ("a", None, True)]
