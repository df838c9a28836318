"""A segment: up to 4096 frames of one boot, without a gap, in an append-only file or in memory.

    0     head: magic, boot, first seq, size of a record, channel names
    1024  one byte a frame: what has become of it (the only bytes that are written again)
    5120  the records, each with its CRC

The process may be killed at any moment; what was written by then stays. A record is written before its frame is
published, so a torn one at the end was never published and is dropped. The bytes of state are saved now and then: a
kill takes back the last changes, and then frames are sent once more, which is harmless.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import TypeAlias

from device_sim.frames import Packing, SimulatedFrame

MAGIC = b"biogate1"
FIXED = Struct("<8sIQII")
HEAD = 1024
CAPACITY = 4096
RECORDS = HEAD + CAPACITY

# States of a frame
WAITING, BUSY, ACKED, GONE, WANTED = b"\x00", b"\x01", b"\x02", b"\x03", b"\x04"
"""Waiting to be sent on history; in flight, or held by a caller that will send it; PUBACKed; covered by a receipt or
thrown away; PUBACKed, and to be sent once more."""
TO_SEND = re.compile(rb"[\x00\x04]+")

# Changes of a state, as tables for bytes.translate
SENT = bytes.maketrans(WAITING + WANTED, BUSY + ACKED)
ACKNOWLEDGED = bytes.maketrans(WAITING + BUSY, ACKED + ACKED)
AGAIN = bytes.maketrans(BUSY + ACKED, WAITING + WANTED)
"""The frame did not arrive."""
CUT = bytes.maketrans(BUSY, WAITING)
"""The connection, or the power, was lost."""


class DiskFile:
    """A file on disk. Its descriptor stays open until `finish`."""

    def __init__(self, path: Path, *, new: bool) -> None:
        self.path = path
        self._open: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644) if new else None

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        if self._open is not None:
            yield self._open
            return
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write(self, data: bytes, at: int) -> None:
        with self._descriptor() as descriptor:
            while len(data) > (written := os.pwrite(descriptor, data, at)):
                data, at = data[written:], at + written

    def read(self, size: int, at: int) -> bytes:
        with self._descriptor() as descriptor:
            return os.pread(descriptor, size, at)

    def finish(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def remove(self) -> None:
        self.finish()
        self.path.unlink()


class MemoryFile:
    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes, at: int) -> None:
        self._data.extend(bytes(max(0, at - len(self._data))))
        self._data[at : at + len(data)] = data

    def read(self, size: int, at: int) -> bytes:
        return bytes(self._data[at : at + size])

    def finish(self) -> None: ...

    def remove(self) -> None:
        self._data.clear()


SegmentFile: TypeAlias = DiskFile | MemoryFile


class Segment:
    """A segment. Positions count its frames from 0; `kept` is the first that is not gone."""

    def __init__(self, file: SegmentFile, packing: Packing, boot: int, first: int, states: bytes = b"") -> None:
        self.file, self.packing, self.boot, self.first = file, packing, boot, first
        self.states = bytearray(states)
        self.kept = len(states) - len(states.lstrip(GONE))
        self.waiting = _to_send(states)
        self._unsaved = (CAPACITY, 0)

    @classmethod
    def create(cls, directory: Path | None, packing: Packing, boot: int, first: int) -> Segment:
        name = f"{boot:010}-{first:016}.frames"
        file = DiskFile(directory / name, new=True) if directory else MemoryFile()
        channels = json.dumps(packing.channels).encode()
        head = FIXED.pack(MAGIC, boot, first, packing.size, len(channels)) + channels
        assert len(head) <= HEAD, "channel names too long for the head of a segment"
        file.write(head.ljust(HEAD, b"\x00"), 0)
        return cls(file, packing, boot, first)

    @classmethod
    def load(cls, path: Path) -> Segment | None:
        """Load a segment; None if it holds no frame. Raises ValueError if the file is no segment."""
        size, file = path.stat().st_size, DiskFile(path, new=False)
        if size <= RECORDS:
            return None
        head = file.read(HEAD, 0)
        magic, boot, first, record, length = FIXED.unpack_from(head)
        if magic != MAGIC:
            raise ValueError(f"{path} holds no frames")
        packing = Packing(json.loads(head[FIXED.size : FIXED.size + length]))
        if packing.size != record:
            raise ValueError(f"{path} has records of {record} bytes, not {packing.size}")
        count = (size - RECORDS) // record
        if count and not packing.intact(file.read(record, RECORDS + (count - 1) * record)):
            count -= 1
        if count == 0:
            return None
        segment = cls(file, packing, boot, first, file.read(count, HEAD).translate(CUT))
        return segment if segment.kept < count else None

    def __len__(self) -> int:
        """The number of frames kept."""
        return len(self.states) - self.kept

    @property
    def full(self) -> bool:
        return len(self.states) == CAPACITY

    @property
    def oldest(self) -> int:
        """Seq of the first frame kept, or of the next frame if none is kept."""
        return self.first + self.kept

    @property
    def next(self) -> int:
        return self.first + len(self.states)

    @property
    def unacknowledged(self) -> int:
        return _unacknowledged(self.states)

    def append(self, records: bytes, state: bytes, count: int = 1) -> None:
        """Add the records of so many frames, all in this state."""
        self.file.write(records, RECORDS + len(self.states) * self.packing.size)
        self._touch(len(self.states), len(self.states) + count)
        self.states += state * count
        self.waiting += count * (state == WAITING)

    def change(self, first: int, last: int, table: bytes) -> int:
        """Apply `table` to the states from seq `first` to `last` that are here; return how many became PUBACKed."""
        begin, end = max(first - self.first, self.kept), min(last + 1 - self.first, len(self.states))
        if begin >= end:
            return 0
        before = self.states[begin:end]
        after = before.translate(table)
        self.states[begin:end] = after
        self.waiting += _to_send(after) - _to_send(before)
        self._touch(begin, end)
        return _unacknowledged(before) - _unacknowledged(after)

    def forget(self, last: int) -> tuple[int, int]:
        """Throw away the frames up to seq `last`; return how many, and how many of them were not PUBACKed."""
        begin, end = self.kept, min(last + 1 - self.first, len(self.states))
        if begin >= end:
            return 0, 0
        before = self.states[begin:end]
        self.states[begin:end] = GONE * (end - begin)
        self.kept = end
        self.waiting -= _to_send(before)
        self._touch(begin, end)
        return end - begin, _unacknowledged(before)

    def first_to_send(self, limit: int) -> tuple[int, int] | None:
        """First and last seq of the first run of frames to send, at most `limit` frames."""
        if self.waiting == 0 or (match := TO_SEND.search(self.states, self.kept)) is None:
            return None
        return self.first + match.start(), self.first + min(match.end(), match.start() + limit) - 1

    def read(self, first: int, last: int) -> list[SimulatedFrame]:
        """Read frames by seq, both ends included. Raises ValueError if a record is damaged."""
        size = self.packing.size
        data = self.file.read((last + 1 - first) * size, RECORDS + (first - self.first) * size)
        return [self.packing.unpack(data[at : at + size]) for at in range(0, len(data), size)]

    def save(self) -> None:
        begin, end = self._unsaved
        if begin < end:
            self.file.write(bytes(self.states[begin:end]), HEAD + begin)
            self._unsaved = (CAPACITY, 0)

    def _touch(self, begin: int, end: int) -> None:
        self._unsaved = (min(begin, self._unsaved[0]), max(end, self._unsaved[1]))


def _to_send(states: bytes | bytearray) -> int:
    return states.count(WAITING) + states.count(WANTED)


def _unacknowledged(states: bytes | bytearray) -> int:
    return states.count(WAITING) + states.count(BUSY)
