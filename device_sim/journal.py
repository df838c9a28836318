"""Writes and reads the journal: every frame that simulated devices ever produced, for verification.

A frame is written before it is published. The journal is a directory with one binary file a run, each a sequence of
records: kind (1 byte), length of the content, CRC-32 of the content (4 bytes each, little-endian), content. The first
two records name the channels and the devices (JSON); after them a device is its position in that list:

    D   the names of the devices again, because one has changed (JSON)
    P   device (u32), the record of frames.Packing          produced
    L   device, boot (u32), first, last (u64)               lost: the store was full, and no receipt covered them
    S   device, boot (u32), seq (u64), offset in ms (i64)   from this seq on its clock is off by so much

A run that was killed leaves a torn record at the end of its file, whose frame was not published. The next run writes,
at its start, the frames that were in the store and not yet in the journal.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from device_sim.frames import Packing, named

ENVELOPE = Struct("<cII")
DEVICE = Struct("<I")
LOST = Struct("<IIQQ")
STEPPED = Struct("<IIQq")


@dataclass(frozen=True, slots=True)
class Produced:
    device: str
    boot: int
    seq: int
    t_ms: float
    values: dict[str, float | None]
    """None: the channel was due and had no value."""
    bad: tuple[str, int] | None
    """The channel whose quality is not good, and its quality."""


@dataclass(frozen=True, slots=True)
class Lost:
    device: str
    boot: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stepped:
    device: str
    boot: int
    seq: int
    offset_ms: int


class Journal:
    """The file of this run. Records are written at the next flush, by one system call."""

    def __init__(self, directory: Path, channels: Sequence[str], names: Sequence[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{time.time_ns():020}-{os.getpid()}.journal"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._unwritten: list[bytes] = []
        self._names = list(names)
        self._say(b"C", json.dumps(list(channels)).encode())
        self._say(b"D", json.dumps(list(names)).encode())
        self.flush()

    def name(self, device: int, name: str) -> None:
        """Note the device's name, if it is another than before."""
        if self._names[device] != name:
            self._names[device] = name
            self._say(b"D", json.dumps(self._names).encode())

    def produced(self, device: int, record: bytes) -> None:
        self._say(b"P", DEVICE.pack(device) + record)

    def lost(self, device: int, boot: int, first: int, last: int) -> None:
        self._say(b"L", LOST.pack(device, boot, first, last))

    def stepped(self, device: int, boot: int, seq: int, offset_ms: int) -> None:
        self._say(b"S", STEPPED.pack(device, boot, seq, offset_ms))

    def flush(self) -> None:
        data = b"".join(self._unwritten)
        while data:
            data = data[os.write(self._file, data) :]
        self._unwritten.clear()

    def close(self) -> None:
        self.flush()
        os.close(self._file)

    def _say(self, kind: bytes, content: bytes) -> None:
        self._unwritten += ENVELOPE.pack(kind, len(content), zlib.crc32(content)), content


def read(directory: Path) -> Iterator[Produced | Lost | Stepped]:
    """Yield all records of all runs in order: for each device by boot and seq, and each frame once.

    Raises ValueError if a file is damaged elsewhere than at its end.
    """
    last: dict[str, tuple[int, int]] = {}
    for path in sorted(directory.glob("*.journal")):
        for record in _read_file(path):
            if isinstance(record, Produced):
                if (record.boot, record.seq) <= last.get(record.device, (-1, -1)):
                    continue
                last[record.device] = record.boot, record.seq
            yield record


def _read_file(path: Path) -> Iterator[Produced | Lost | Stepped]:
    with path.open("rb") as file:
        records = _records(file, path)
        packing = Packing(json.loads(next(records, (b"", b"[]"))[1]))
        names = json.loads(next(records, (b"", b"[]"))[1])
        for kind, content in records:
            if kind == b"P":
                frame = packing.unpack(content[DEVICE.size :])
                yield Produced(
                    names[DEVICE.unpack_from(content)[0]],
                    frame.boot,
                    frame.seq,
                    frame.time,
                    named(frame, packing.channels),
                    (packing.channels[frame.bad[0]], frame.bad[1]) if frame.bad else None,
                )
            elif kind == b"D":
                names = json.loads(content)
            elif kind == b"L":
                device, *rest = LOST.unpack(content)
                yield Lost(names[device], *rest)
            else:
                device, *rest = STEPPED.unpack(content)
                yield Stepped(names[device], *rest)


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, bytes]]:
    while len(head := file.read(ENVELOPE.size)) == ENVELOPE.size:
        kind, length, crc = ENVELOPE.unpack(head)
        content = file.read(length)
        if len(content) < length:
            return
        if zlib.crc32(content) != crc:
            raise ValueError(f"{path} is damaged before byte {file.tell()}")
        yield kind, content
