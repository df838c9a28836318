"""Encodes a frame: as a record for the disk, and as messages of the contract."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, GOOD

CRC = Struct("<I")
NOT_SENT = -math.inf
"""Stands for a channel that a frame does not have."""


class SimulatedFrame(NamedTuple):
    boot: int
    seq: int
    time: float
    """Milliseconds since 1970, by the device's clock."""
    values: Sequence[float]
    """One value a channel; NaN where the channel was due and has no value, NOT_SENT where there is none."""
    bad: tuple[int, int] | None = None
    """Column and quality of the channel whose quality is not good."""


class FrameBlock(NamedTuple):
    """Frames without numbers yet, one a row."""

    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    columns: npt.NDArray[np.int64]
    """The column of the channel whose quality is not good, or -1; and that quality."""
    qualities: npt.NDArray[np.int64]


class Packing:
    """Packs frames as records of one size: boot, seq, time, column (or -1), quality, values; CRC-32."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = tuple(channels)
        self._body = Struct(f"<IQdhh{len(channels)}d")
        self.size = self._body.size + CRC.size
        fields = [("boot", "<u4"), ("seq", "<u8"), ("time", "<f8"), ("column", "<i2"), ("quality", "<i2")]
        self._table = np.dtype([*fields, ("values", "<f8", (len(channels),)), ("crc", "<u4")])

    def pack(self, frame: SimulatedFrame) -> bytes:
        column, quality = frame.bad or (-1, GOOD)
        body = self._body.pack(frame.boot, frame.seq, frame.time, column, quality, *frame.values)
        return body + CRC.pack(zlib.crc32(body))

    def pack_block(self, boot: int, first: int, block: FrameBlock) -> bytes:
        """The records of frames of one boot, of which the first has this seq: much quicker than one by one."""
        table = np.zeros(len(block.times), self._table)
        table["boot"], table["seq"], table["time"] = boot, np.arange(first, first + len(table)), block.times
        table["column"], table["values"] = block.columns, block.values
        table["quality"] = np.where(block.columns < 0, GOOD, block.qualities)
        records, size = bytearray(table.tobytes()), self.size
        view = memoryview(records)
        for begin in range(0, len(records), size):
            end = begin + size - CRC.size
            records[end : end + CRC.size] = CRC.pack(zlib.crc32(view[begin:end]))
        return bytes(records)

    def intact(self, record: bytes) -> bool:
        """Whether the record is complete and unchanged."""
        body = record[: -CRC.size]
        return len(record) == self.size and CRC.pack(zlib.crc32(body)) == record[-CRC.size :]

    def unpack(self, record: bytes) -> SimulatedFrame:
        """The frame of a record. Raises ValueError if it is damaged."""
        if not self.intact(record):
            raise ValueError("damaged record of a frame")
        boot, seq, time, column, quality, *values = self._body.unpack_from(record)
        return SimulatedFrame(boot, seq, time, values, None if column < 0 else (column, quality))


class Format(Enum):
    MSGPACK = "msgpack"
    JSON = "json"

    @property
    def content_type(self) -> str:
        return CONTENT_MSGPACK if self is Format.MSGPACK else CONTENT_JSON

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Encode with other libraries than the gateway decodes with: what both understand is the standard."""
        if self is Format.MSGPACK:
            packed: bytes = msgpack.packb(message)
            return packed
        return json.dumps(message, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()


def message(frames: Sequence[SimulatedFrame], channels: Sequence[str]) -> dict[str, Any]:
    """The telemetry message of frames without a gap, which have the same channels: one frame as a frame, several as a
    block."""
    first = frames[0]
    if len(frames) == 1:
        content: dict[str, Any] = {"boot": first.boot, "seq": first.seq, "t": first.time, "v": named(first, channels)}
        if first.bad:
            content["q"] = {channels[first.bad[0]]: first.bad[1]}
        return content
    sent = [column for column, value in enumerate(first.values) if value != NOT_SENT]
    pick = itemgetter(*sent) if 1 < len(sent) < len(channels) else None
    content = {"boot": first.boot, "seq": first.seq, "ch": pick(channels) if pick else channels}
    content["t"] = [frame.time for frame in frames]
    content["v"] = [row(pick(frame.values) if pick else frame.values) for frame in frames]
    if any(frame.bad for frame in frames):
        content["q"] = [_qualities(frame, sent) for frame in frames]
    return content


def named(frame: SimulatedFrame, channels: Sequence[str]) -> dict[str, float | None]:
    """The values of a frame by channel; None: there is no value."""
    # a hot path: NaN alone differs from itself
    return {
        name: value if value == value else None  # noqa: PLR0124
        for name, value in zip(channels, frame.values, strict=True)
        if value != NOT_SENT
    }


def row(values: Iterable[float]) -> list[float | None]:
    return [value if value == value else None for value in values]  # noqa: PLR0124


def _qualities(frame: SimulatedFrame, sent: Sequence[int]) -> list[int]:
    return [frame.bad[1] if frame.bad and column == frame.bad[0] else GOOD for column in sent]
