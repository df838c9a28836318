"""Live feeds as their clients see them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx2
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from api.app import SOCKETS, create_app
from api.edge.protocol import QuietSocket, limited
from api.settings import ApiSettings
from schema.alarms.machine import Alarm
from tests.api import alarms
from tests.api.accounts import quick

ENOUGH_S = 20.0
PATH = "/api/v1/ws/alerts"
STREAM = "/api/v1/alarms/stream"
STREAMS = frozenset({STREAM, "/api/v1/live-data", "/api/v1/device-status", "/api/v1/activity/stream"})
"""Answers without an end."""


@asynccontextmanager
async def listening(database_url: str, port: int = 0, **settings: Any) -> AsyncIterator[tuple[str, FastAPI]]:
    """An API over TCP, in this process so that its constants can be changed: its address without the scheme."""
    given = quick(ApiSettings(database_url=database_url, **{"api_rate": 0, "api_anonymous_rate": 0} | settings))
    app = create_app(given)
    config = uvicorn.Config(
        app,
        port=port,
        log_config=None,
        access_log=False,
        ws=QuietSocket,
        ws_per_message_deflate=False,
        http=limited(given.api_connections, SOCKETS),
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(ENOUGH_S):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}", app
    finally:
        app.state.services.hub.close()
        server.should_exit = True
        await task


class Floor:
    """A device with a rule, whose alarm comes and goes."""

    def __init__(self, sql: asyncpg.Connection, rule: int, device: int) -> None:
        self.sql, self.rule, self.device = sql, rule, device

    async def raised(self, detail: str = "39 above 38") -> int:
        return await self._newest(await alarms.become(self.sql, self.rule, self.device, detail=detail))

    async def normal(self) -> int:
        return await self._newest(await alarms.become(self.sql, self.rule, self.device, Alarm(), cause="return"))

    async def burst(self, count: int, width: int = 1) -> int:
        """So many transitions in one transaction; the number of the last."""
        await self.raised()
        return int(
            await self.sql.fetchval(
                """with made as (
                       insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after,
                                                      condition, priority, detail)
                       select t.rule_id, t.device_id, t.n + g, t.organization_id, now(), 'unknown', t.after, t.after,
                              'unknown', t.priority, repeat('x', $4)
                         from alarms a join alarm_transitions t using (rule_id, device_id, n),
                              generate_series(1, $3) g
                        where a.rule_id = $1 and a.device_id = $2 returning transition_id),
                   counted as (update alarms set n = n + $3 where rule_id = $1 and device_id = $2)
                   select max(transition_id) from made""",
                *(self.rule, self.device, count, width),
            )
        )

    async def _newest(self, n: int) -> int:
        return int(
            await self.sql.fetchval(
                "select transition_id from alarm_transitions where rule_id = $1 and device_id = $2 and n = $3",
                *(self.rule, self.device, n),
            )
        )


def opened(address: str, headers: dict[str, str], query: str = "", path: str = PATH) -> connect:
    return connect(f"ws://{address}{path}{query}", additional_headers=headers, compression=None, proxy=None)


async def deaf(address: str, headers: Mapping[str, str], path: str = PATH) -> asyncio.StreamWriter:
    """Open a socket and read no more than the answer. Both sides hold as little as the system allows for a reader that
    has little memory and a network of small packets, or it would take megabytes until anybody has to wait."""
    host, _, port = address.partition(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=narrow, limit=1024)
    request = {
        **{"Host": address, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        **{"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert b"101" in await reader.readline()
    return writer


async def first(client: ClientConnection) -> tuple[int, list[str]]:
    """Cursor of the snapshot, and which alarms stand."""
    content = await message(client)
    assert content["type"] == "snapshot"
    return content["cursor"], [f"{alarm['device']}/{alarm['rule']}" for alarm in content["alarms"]]


async def message(client: ClientConnection) -> dict[str, Any]:
    """The next one that is no heartbeat."""
    async with asyncio.timeout(ENOUGH_S):
        while True:
            content: dict[str, Any] = json.loads(await client.recv())
            if content["type"] != "heartbeat":
                return content


async def numbers(client: ClientConnection, last: int) -> list[int]:
    """Of the transitions that come, up to that one."""
    found: list[int] = []
    while not found or found[-1] < last:
        content = await message(client)
        assert content["type"] == "transitions", content
        found += [transition["id"] for transition in content["transitions"]]
        assert content["cursor"] == found[-1]
    return found


class Events:
    """Of a stream."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str | None, str | None, Any]:
        """Name, id and data of the next event that has a name."""
        name = number = data = None
        async with asyncio.timeout(ENOUGH_S):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    number = value
                elif field == "data":
                    data = json.loads(value)
                elif not line and name is not None:
                    return name, number, data
        raise AssertionError("the stream has ended")


async def glimpse(
    app: FastAPI, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str]
) -> httpx2.Response:
    """What a feed says first, in process; 200 stands for an accepted socket, too."""
    kind = "websocket" if method == "SOCKET" else "http"
    scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [(b"host", b"api"), *((name.lower().encode(), value.encode()) for name, value in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("api", 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }
    if kind == "http":
        scope["method"] = method
    said = [{"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}]
    gone = asyncio.Event()
    status, given, body = 200, [], b""

    async def receive() -> dict[str, Any]:
        if not said:
            await gone.wait()
        return said.pop(0) if said else {"type": f"{kind}.disconnect", "code": 1005}

    async def send(what: Any) -> None:
        nonlocal status, given, body
        if what["type"].endswith("response.start"):
            status, given = what["status"], what["headers"]
        elif what["type"] in {"http.response.body", "websocket.http.response.body"}:
            body += what["body"]
        elif what["type"] == "websocket.send":
            body += what["text"].encode()
        if b"snapshot" in body:
            gone.set()

    async with asyncio.timeout(ENOUGH_S):
        await app(scope, receive, send)
    request = httpx2.Request("GET", f"http://api{path}", params=query)
    return httpx2.Response(status, headers=given, content=body, request=request)
