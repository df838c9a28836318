"""The file of recorded traffic: gzip of MessagePack objects, one after the other.

    {"biogate": "recording", "version": 1, "begin": 1795161794000}
    [12.5, "bioreactors/sim-0001/telemetry", b"…", "application/msgpack", false]
    …

`begin` is in ms since 1970. A message has the ms since then at which the broker sent it, its topic, payload, content
type (or nil), and whether it was retained before the recording began. A recorder that was killed leaves a torn end,
which readers leave out.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgpack

VERSION = 1


class Recorded(NamedTuple):
    after: float
    """Ms after the begin of the recording."""
    topic: str
    payload: bytes
    content_type: str | None
    retained: bool


class TapeWriter:
    def __init__(self, path: Path, begin: int) -> None:
        """Begin a file. Raises FileExistsError, OSError."""
        self._file = gzip.open(path, "xb", compresslevel=6)  # noqa: SIM115 - closed in __exit__
        self._file.write(msgpack.packb({"biogate": "recording", "version": VERSION, "begin": begin}))
        self.messages = 0

    def write(self, message: Recorded) -> None:
        self._file.write(msgpack.packb(message))
        self.messages += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def begin_of(path: Path) -> int:
    """When (ms) the recording began. Raises ValueError, OSError."""
    head = next(_objects(path), None)
    if not isinstance(head, dict) or head.get("biogate") != "recording" or head.get("version") != VERSION:
        raise ValueError(f"{path} is no recording of version {VERSION}")
    return int(head["begin"])


def read(path: Path) -> Iterator[Recorded]:
    """Yield the messages of a recording. Raises ValueError, OSError."""
    begin_of(path)
    for message in _objects(path):
        if isinstance(message, list):
            yield Recorded(*message)


def _objects(path: Path) -> Iterator[object]:
    unpacker = msgpack.Unpacker()
    with gzip.open(path, "rb") as file:
        while True:
            try:
                data = file.read1(1 << 16)
            except EOFError:
                data = b""  # the recorder was killed
            except (gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"{path} is damaged: {error}") from error
            if not data:
                return
            unpacker.feed(data)
            yield from unpacker
