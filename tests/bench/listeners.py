"""Clients of the live feed, a process of their own: `python -m tests.bench.listeners --port 8000 --clients 1000`.

Each follows one device, as a socket or by server-sent events, and reads over what it receives: what the API sends is
measured, not what a client does with it. Reads the key from its first line; says "ready" as JSON when every client has
its snapshot, waits for a line, and says at the end how many messages came.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Literal

import typer

from tests.bench.plant import device_names

SOCKET = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {0}==\r\n"
NONCE = "A" * 22
AT_ONCE = 20
"""Clients that connect at a time."""
SNAPSHOT, CHANGES = b"snapshot", b'"changes":['


class Listener(asyncio.Protocol):
    """Counts the messages of one feed."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.ready = asyncio.Event()
        self.messages = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.messages += data.count(CHANGES)
        if SNAPSHOT in data:
            self.ready.set()

    def connection_lost(self, exc: Exception | None) -> None:
        sys.exit(f"the API has closed a feed: {exc}")


async def listen(port: int, clients: int, devices: int, rate: float, form: str, key: str) -> None:
    names = device_names(devices)
    path, extra = ("/api/v1/ws/live-data", SOCKET.format(NONCE)) if form == "socket" else ("/api/v1/live-data", "")
    loop = asyncio.get_running_loop()
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Listener:
        device = names[number % devices]
        head = f"GET {path}?device={device}&rate={rate:g} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        async with turns, asyncio.timeout(60):
            _, listener = await loop.create_connection(
                lambda: Listener(f"{head}{extra}\r\n".encode()), "127.0.0.1", port
            )
            await listener.ready.wait()
        return listener

    listeners = await asyncio.gather(*map(one, range(clients)))
    print(json.dumps({"ready": clients}), flush=True)
    before = sum(listener.messages for listener in listeners)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({"messages": sum(listener.messages for listener in listeners) - before}), flush=True)


def main(
    port: Annotated[int, typer.Option(help="of the API on loopback")],
    clients: int = 1000,
    devices: int = 50,
    rate: Annotated[float, typer.Option(help="messages a second that each wishes for at most")] = 1,
    form: Annotated[Literal["socket", "events"], typer.Option()] = "socket",
) -> None:
    asyncio.run(listen(port, clients, devices, rate, form, sys.stdin.readline().strip()))


if __name__ == "__main__":
    typer.run(main)
