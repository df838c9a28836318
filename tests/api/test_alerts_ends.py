"""Live feeds: who may have one, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.access.roles import Role, Scope
from api.live import alarms, feeding
from deploy.stack.ports import any_free
from tests.api.accounts import PASSWORD, api_key, bearer, user
from tests.api.live import ENOUGH_S, PATH, STREAM, Events, Floor, deaf, first, listening, message, numbers, opened
from tests.api.plant import Plant
from tests.api.test_operation import process

EVA = "eva@example.org"


async def test_a_page_chooses_the_organization_in_the_address_as_it_can_send_no_headers(
    database_url: str, floor: Floor, plant: Plant
) -> None:
    await user(plant.sql, EVA, "north")
    await plant.sql.execute("insert into memberships select 1, user_id, 'viewer' from users")
    await floor.raised()
    async with listening(database_url, api_insecure_cookie=True) as (address, _):
        cookie = await _cookie(address)
        for query, stand in (("?organization=main", 1), ("?organization=north", 0)):
            async with opened(address, cookie | {"Origin": f"http://{address}"}, query) as client:
                assert len((await first(client))[1]) == stand


async def _cookie(address: str) -> dict[str, str]:
    """Of a browser that has logged in."""
    async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
        body = {"email": EVA, "password": PASSWORD, "kind": "browser"}
        answer = await client.post("/api/v1/auth/login", json=body, headers={"Origin": f"http://{address}"})
        assert answer.status_code == 200, answer.text
        return {"Cookie": f"biogate={answer.cookies['biogate']}"}


async def test_with_a_cookie_only_our_own_pages_open_a_socket(database_url: str, floor: Floor) -> None:
    await user(floor.sql, EVA, "main", Role.VIEWER)
    async with listening(database_url, api_insecure_cookie=True, api_cors_origins="http://plant:3000") as (address, _):
        cookie = await _cookie(address)
        for _ in range(2):  # the second time we remember who it is
            for origin in (f"http://{address}", "http://plant:3000"):
                async with opened(address, cookie | {"Origin": origin}) as client:
                    assert await first(client) == (0, [])
            elsewhere = ("http://evil.example", f"https://{address}", "null", "http://plant:3001", "", None)
            for other in elsewhere:
                with pytest.raises(InvalidStatus) as refused:
                    await opened(address, cookie if other is None else cookie | {"Origin": other})
                assert refused.value.response.status_code == 403, other


Ends = Callable[[httpx2.AsyncClient, asyncpg.Connection], Awaitable[object]]
ENDS: dict[str, tuple[str, Ends]] = {
    "key ended": ("key", lambda _, sql: _told(sql, "update api_keys set ended_at = now()")),
    "logged out": ("program", lambda client, _: client.post("/api/v1/auth/logout")),
    "no member": ("program", lambda _, sql: sql.execute("delete from memberships")),
    "role fell": ("program", lambda _, sql: sql.execute("update memberships set role = 'viewer'")),
}


async def _told(sql: asyncpg.Connection, statement: str) -> None:
    await sql.execute(statement)
    await sql.execute("select notice_send('biogate_accounts', '')")


@pytest.mark.parametrize("what", ENDS)
async def test_what_ends_for_who_listens_ends_the_feed_at_once(
    database_url: str, floor: Floor, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 3600.0)
    kind, ends = ENDS[what]
    await user(floor.sql, EVA, "main", Role.OPERATOR)
    async with (
        listening(database_url) as (address, _),
        httpx2.AsyncClient(base_url=f"http://{address}", timeout=ENOUGH_S) as client,
    ):
        login = await client.post("/api/v1/auth/login", json={"email": EVA, "password": PASSWORD})
        credentials = bearer(await api_key(floor.sql) if kind == "key" else login.json()["access_token"])
        client.headers.update(credentials)
        async with opened(address, credentials) as socket, client.stream("GET", STREAM) as answer:
            events = Events(answer)
            await first(socket)
            assert (await events.next())[0] == "snapshot"
            await ends(client, floor.sql)
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(ENOUGH_S):
                    await message(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
            name, _, data = await events.next()
            assert (name, data["code"]) == ("end", 4401)


async def test_an_expiry_that_nobody_tells_is_noticed(
    database_url: str, floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "HEARTBEAT_S", 0.2)
    key = await api_key(floor.sql)
    await floor.sql.execute("update api_keys set expires_at = now() + interval '2 s'")
    async with listening(database_url) as (address, _), opened(address, bearer(key)) as client:
        await first(client)
        with pytest.raises(ConnectionClosed) as closed:
            await message(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


async def test_who_says_something_or_wants_too_many_is_sent_away(
    database_url: str, floor: Floor, listener: dict[str, str]
) -> None:
    async with listening(database_url, api_live_feeds=2) as (address, app):
        async with opened(address, listener) as one, opened(address, listener) as two:
            await first(one)
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, listener)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "5"
            await first(two)
            await two.send("hello")
            with pytest.raises(ConnectionClosed) as closed:
                await message(two)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            async with opened(address, listener) as three:  # there is room again
                await first(three)
        async with asyncio.timeout(ENOUGH_S):
            while app.state.services.hub._feeds or app.state.services.hub._places._of_one:
                await asyncio.sleep(0.01)


async def test_an_organization_never_takes_more_feeds_than_it_leaves_for_others(
    database_url: str, plant: Plant, floor: Floor
) -> None:
    async with (
        listening(database_url, api_connections=16, api_live_feeds=2) as (address, app),  # 12 feeds
        AsyncExitStack() as listeners,
    ):

        async def listen(organization_name: str) -> None:
            """With a key of its own, which takes as many as one may have."""
            key = bearer(await api_key(plant.sql, organization_name=organization_name))
            for _ in range(2):
                await first(await listeners.enter_async_context(opened(address, key)))

        async def refused(organization_name: str) -> str:
            with pytest.raises(InvalidStatus) as refused:
                await listen(organization_name)
            assert refused.value.response.status_code == 429
            return str(json.loads(refused.value.response.body)["detail"])

        for _ in range(3):
            await listen("main")
        assert "your organization has 6 live feeds open" in await refused("main")
        await listen("north")
        assert "your organization has 3 live feeds open" in await refused("north")  # one was taken
        await listen("south")
        assert "your organization has 2 live feeds open" in await refused("south")
        assert app.state.services.hub._places._of_one.total() == 11
        await listeners.aclose()
        async with asyncio.timeout(ENOUGH_S):
            while app.state.services.hub._places._of_organization:
                await asyncio.sleep(0.01)
        for _ in range(3):  # there is room again
            await listen("south")


async def test_who_does_not_read_is_closed_and_delays_nobody(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "SEND_S", 1.0)
    monkeypatch.setattr(alarms, "MOST_WAITING", 700)
    async with listening(database_url) as (address, app), opened(address, listener) as good:
        await first(good)
        slow = await deaf(address, listener)
        [feed] = app.state.services.hub._feeds.values()
        begun = await floor.raised()
        last = await floor.burst(600, 5_000)  # 3 MB: more than the sockets of both sides hold
        assert await numbers(good, last) == list(range(begun, last + 1))
        async with asyncio.timeout(ENOUGH_S):
            while len(feed._members) > 1:
                await asyncio.sleep(0.05)
        slow.close()
        again = await floor.raised()
        assert await numbers(good, again) == [again]


async def test_the_process_ends_though_somebody_listens_and_says_so(
    database_url: str, floor: Floor, listener: dict[str, str], tmp_path: Path
) -> None:
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (child, client):
        address = str(client.base_url).rstrip("/").removeprefix("http://")
        async with opened(address, listener) as socket, client.stream("GET", STREAM) as answer:
            events = Events(answer)
            await first(socket)
            await events.next()
            metrics = (await client.get("/metrics")).text
            assert 'biogate_api_live_clients{kind="socket"} 1.0' in metrics
            assert 'biogate_api_live_clients{kind="events"} 1.0' in metrics
            child.send_signal(signal.SIGTERM)
            name, _, data = await events.next()
            assert (name, data["code"]) == ("end", 1012)
            with pytest.raises(ConnectionClosed) as closed:
                await message(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert await asyncio.to_thread(child.wait, 9) == 0  # the grace of 10 s was not needed
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line for line in lines if line["level"] not in {"info", "debug"}] == []
    assert {line["kind"] for line in lines if line["event"] == "live feed ended"} == {"socket", "events"}


async def test_what_is_no_socket_is_none(database_url: str, floor: Floor, listener: dict[str, str]) -> None:
    async with (
        listening(database_url) as (address, _),
        httpx2.AsyncClient(base_url=f"http://{address}", headers=listener) as client,
    ):
        assert (await client.get(PATH)).status_code == 404
        wish = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        assert (await client.get("/health", headers=wish)).status_code == 200
        assert (await client.get(PATH, headers=wish)).status_code == 400
        assert (await client.head(STREAM)).status_code == 200


async def test_the_client_on_the_page_follows_and_goes_on_after_a_restart(
    database_url: str, floor: Floor, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "key").write_text("an old one")
    await floor.raised()
    port = any_free()
    environment = {
        **os.environ,
        **{"BIOGATE_API_URL": f"http://127.0.0.1:{port}", "BIOGATE_API_KEY_FILE": str(tmp_path / "key")},
    }
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None

    async def said(words: str) -> None:
        async with asyncio.timeout(ENOUGH_S):
            while words not in (line := (await child.stdout.readline()).decode()):  # type: ignore[union-attr]
                assert line

    try:
        async with listening(database_url, port=port):
            await said("HTTP 401")
            (tmp_path / "key").write_text(await api_key(floor.sql, role=Role.VIEWER, scopes=[Scope.ALARMS_READ]))
            await said("stands: br-1 Temperature high unacknowledged")
            await floor.normal()
            await said("unacknowledged → normal")
        await floor.raised()
        async with listening(database_url, port=port):
            await said("normal → unacknowledged")
    finally:
        child.kill()
        await child.wait()
