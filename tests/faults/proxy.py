"""A network that can be cut: TCP links that pass bytes on, break, fall silent or become slow, at a word.

They run on an event loop in a thread of their own, so that they work while the harness waits for something.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import threading
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE = 16 * 1024
SLOW_LATENCY_S = 0.1
SLOW_BYTES_S = 400_000
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST."""
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
"""A packet filter of one instruction: return 0, so let no byte through."""
DROP_ALL = struct.pack("HP", 1, ctypes.addressof(NOTHING))


class Mode(Enum):
    PASS = "pass"
    CUT = "cut"
    """Connections are reset, and so is each new one."""
    HANG = "hang"
    """Packets vanish: nothing arrives, nothing is acknowledged, nobody is told. At the end TCP sends them again."""
    SLOW = "slow"
    """Every piece of up to 16 KiB takes 100 ms and the time that 400 kB/s give."""


class Link:
    """Listens on `port` and passes on to `target` (a port of loopback)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self._loop, self.target, self.port = loop, target, 0
        self._mode = Mode.PASS
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def set(self, mode: Mode) -> None:
        """From any thread; returns when it is so."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result(10)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._listener = self._server.sockets[0]
        self.port = self._listener.getsockname()[1]

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        for socket_ in (self._listener, *(writer.get_extra_info("socket") for writer in self._writers)):
            _drop_packets(socket_, mode is Mode.HANG)
        if mode is Mode.HANG:
            self._flowing.clear()
        else:
            self._flowing.set()
        if mode is Mode.CUT:
            for writer in list(self._writers):
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until its end."""
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            if self._mode is Mode.CUT:
                raise ConnectionResetError
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            ends.append(far_writer)
            self._writers.add(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
            for end in ends:
                end.close()
        except* OSError:  # either end broke: so does the other
            for end in ends:
                _reset(end)
        finally:
            self._writers.difference_update(ends)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until its end."""
        while piece := await reader.read(PIECE):
            if self._mode is Mode.SLOW:
                await asyncio.sleep(SLOW_LATENCY_S + len(piece) / SLOW_BYTES_S)
            await self._flowing.wait()
            writer.write(piece)
            await writer.drain()
        await self._flowing.wait()
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def _drop_packets(socket_: socket.socket, drop: bool) -> None:
    """Let the kernel drop what arrives for a socket before TCP has seen it, or no more."""
    with contextlib.suppress(OSError):  # closed already, or nothing to detach
        if drop:
            socket_.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, DROP_ALL)
        else:
            socket_.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


class Network:
    """Makes links; they end with it."""

    def __enter__(self) -> Self:
        self._links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        for link in self._links:
            link.close()
        await _cancel_all()

    def link(self, target: int) -> Link:
        link = Link(self._loop, target)
        self._links.append(link)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(10)
        return link


def through(link: Link, url: str) -> str:
    """The URL of a server, reached by the link."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{link.port}").geturl()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
