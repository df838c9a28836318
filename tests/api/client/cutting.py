"""A wire to an API that breaks in the middle of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class CuttingWire:
    """Passes requests on; of each answer passes so many bytes and then hangs up. None: whole."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self.cuts: list[int | None] = []
        """For the connections to come, in turn; after them all are whole."""
        self.always: int | None = None
        self.connections = 0
        self.passed = 0
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = self.cuts.pop(0) if self.cuts else self.always
        there, back = await asyncio.open_connection(self._host, self._port)
        requests = asyncio.create_task(self._pass_on(reader, back))
        with suppress(OSError):
            while content := await there.read(1000):
                passed = content if left is None else content[:left]
                left = None if left is None else left - len(passed)
                self.passed += len(passed)
                writer.write(passed)
                await writer.drain()
                if left == 0:
                    break
        requests.cancel()
        for one in (writer, back):
            one.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()


@asynccontextmanager
async def cutting_wire(url: str) -> AsyncIterator[CuttingWire]:
    wire = CuttingWire(url)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
