"""What comes on connections: nonsense, silence, too many of them, and clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.edge import protocol
from tests.api.plant import Plant
from tests.api.test_operation import process


class Raw:
    """A connection on which anything can be said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def rest(self, seconds: float = 8) -> bytes:
        """Until the other side closes."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""


@asynccontextmanager
async def raw(client: httpx2.AsyncClient, address: str = "127.0.0.1") -> AsyncIterator[Raw]:
    """From that address of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port, local_addr=(address, 0))
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


HOST = b"Host: h\r\n"
NONSENSE = [
    # what is said, and with which status it is answered
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, 400),  # TLS
    (b"GET /health HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
    (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /api/v1/devices/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    (b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    (b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n", 400),
    (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"hOST: other\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"Biogate-Organization: a\r\nBiogate-Organization: b\r\n\r\n", 400),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET /health HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: a/b?c#d@e\r\n\r\n", 400),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 20_000 + b"\r\n", 431),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", 200),
    (b"GET /api/v1/devices?x=%00&y=%ff HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 422),
    (b"GET //api//v1/../../etc/passwd HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    (b"GET /static-offline-docs/../../app.py HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    (b"GET /static-offline-docs/%2e%2e/%2e%2e/core.py HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    (b"CONNECT h:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"TRACE /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 405),
    (b"GET /health HTTP/1.0\r\n\r\n", 200),
]


@pytest.fixture
async def served(database_url: str, plant: Plant, tmp_path: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, Path]]:
    """The real process, and its log."""
    log = tmp_path / "log"
    async with process(log, BIOGATE_DATABASE_URL=database_url, BIOGATE_API_CONNECTIONS="20") as (_, client):
        yield client, log


async def test_nonsense_is_answered_with_a_problem_and_the_process_goes_on(
    served: tuple[httpx2.AsyncClient, Path],
) -> None:
    client, log = served
    for said, status in NONSENSE:
        async with raw(client) as connection:
            await connection.say(said)
            head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), (said[:100], head)
            if status != 200:
                assert b"application/problem+json" in head, said[:100]
                assert json.loads(body)["status"] == status
    assert (await client.get("/health")).status_code == 200
    assert "Traceback" not in log.read_text()


async def test_who_sends_nothing_or_drop_by_drop_is_sent_away(
    served: tuple[httpx2.AsyncClient, Path],
) -> None:
    client, _ = served

    async def drops(connection: Raw) -> bytes:
        answer = asyncio.create_task(connection.rest(protocol.HEAD_S + 6))
        while not answer.done():
            await connection.say(b"X")
            await asyncio.wait([answer], timeout=1)
        return answer.result()

    async with raw(client) as silent, raw(client) as slow, raw(client) as again:
        await slow.say(b"GET /health HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        await again.say(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        answers = await asyncio.gather(silent.rest(protocol.HEAD_S + 6), drops(slow), drops(again))
        assert b" 408 " in answers[0]
        assert b" 408 " in answers[1]
        assert answers[2].startswith(b"HTTP/1.1 200")
        assert b" 408 " in answers[2]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: h\r\nX-Slow: ",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
async def test_who_opens_many_connections_and_asks_little_takes_no_place_from_others(
    served: tuple[httpx2.AsyncClient, Path], said: bytes
) -> None:
    client, _ = served
    async with contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(raw(client, "127.0.0.2"))
        many = [await stack.enter_async_context(raw(client)) for _ in range(30)]
        for one in many:
            await one.say(said)
        answers = [asyncio.create_task(one.rest(60)) for one in many]
        async with asyncio.timeout(8):  # before the silent ones are sent away
            while sum(one.done() for one in answers) < 11:  # one of the twenty is the other's
                await asyncio.sleep(0.01)
        assert all(b" 503 " in one.result() or b"200 OK" in one.result() for one in answers if one.done())
        for address in ("127.0.0.3", "127.0.0.1"):
            assert b" 200 " in await health(client, address)
        await other.say(b"GET /api/v1/devices HTTP/1.0\r\n\r\n")
        assert b" 401 " in await other.rest(), "its place was not taken"
        for answer in answers:
            answer.cancel()
        await asyncio.wait(answers)


async def test_when_all_are_at_work_others_are_refused_but_not_who_asks_for_health() -> None:
    import uvicorn

    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/health":
            await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=protocol.limited(4), loop="none")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    async with contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(raw(client)) for _ in range(4)]
        for one in busy:
            await one.say(b"GET /work HTTP/1.0\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(20):
            while b" 503 " not in await asked(client, b"/work"):
                await asyncio.sleep(0.01)
        assert b" 200 " in await health(client)
        go_on.set()
        assert all([b" 200 " in await one.rest() for one in busy])
    assert b" 200 " in await asked(client, b"/work")
    await client.aclose()
    server.should_exit = True
    await task


async def asked(client: httpx2.AsyncClient, path: bytes, address: str = "127.0.0.1") -> bytes:
    """The answer on a connection of its own."""
    async with raw(client, address) as connection:
        await connection.say(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        return await connection.rest()


async def health(client: httpx2.AsyncClient, address: str = "127.0.0.1") -> bytes:
    return await asked(client, b"/health", address)


async def test_who_does_not_read_is_given_up(
    database_url: str, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who reads slowly gets all of it."""
    import uvicorn

    monkeypatch.setattr(protocol, "UNREAD_S", 1.0)
    monkeypatch.setattr(protocol, "LOOK_S", 0.2)
    disconnected = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(OSError):
            for _ in range(200):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        if (await receive())["type"] == "http.disconnect":
            disconnected.set()

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=protocol.limited(10), loop="none")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await asyncio.wait_for(disconnected.wait(), 20)
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
    size = 0
    while part := await reader.read(2_000_000):
        size += len(part)
        if size % 50 == 0:
            await asyncio.sleep(0.01)
    assert size > 200 * 100_000
    writer.close()
    server.should_exit = True
    await task
