"""Encodes frames in PostgreSQL's binary COPY format. NumPy lays out all rows of a layout at once.

Every row is written at its full width first; a NULL has the length −1, and its bytes are then cut out.
Format: PostgreSQL documentation, COPY, "Binary Format"; arrays: `array_send` (dimensions, has-nulls, element type,
size, lower bound, then length and bytes of each element).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.items import NOT_SENT, Frame, SlotMapping
from schema.messages import BAD, GOOD

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
COLUMNS = ("time", "device_id", "layout_id", "boot", "seq", "received_at", "values", "quality")
POSTGRES_EPOCH_US = 946_684_800_000_000
FLOAT8, INT2 = 701, 21
ARRAY_HEADER = 20
FRAMES_AT_ONCE = 500
"""Frames in a part of the COPY: enough for NumPy, and few enough that neither side waits for the other."""
FRAMES_AT_FIRST = 60
"""Frames in the first part, for which the database waits; each part is twice the one before."""


def copy(frames: Sequence[Frame], *, numbered: bool = False) -> bytes:
    """The whole COPY input for `frames`. With `numbered` a first column `n` holds each frame's index in `frames`."""
    return b"".join(parts(frames, numbered=numbered))


def parts(frames: Sequence[Frame], *, numbered: bool = False) -> Iterator[bytes]:
    """Yield the COPY input of `copy` in parts: the database reads one while the next is laid out."""
    ready, count, enough = [HEADER], 0, FRAMES_AT_FIRST
    for members in _groups(frames):
        first = 0
        while first < len(members):
            some = members[first : first + enough - count]
            ready.append(_rows(frames[some[0]].mapping, [frames[n] for n in some], some if numbered else None))
            first, count = first + len(some), count + len(some)
            if count >= enough:
                yield b"".join(ready)
                ready, count, enough = [], 0, min(2 * enough, FRAMES_AT_ONCE)
    yield b"".join([*ready, TRAILER])


async def stream(frames: Sequence[Frame], *, numbered: bool = False) -> AsyncIterator[bytes]:
    """Yield the parts asynchronously, as asyncpg wants them. (It reads a file in another thread.)"""
    for part in parts(frames, numbered=numbered):
        yield part


def _groups(frames: Sequence[Frame]) -> Iterable[Sequence[int]]:
    """Group the indices of frames by their mapping; often all have the same."""
    mappings = [frame.mapping for frame in frames]
    if not frames or mappings.count(mappings[0]) == len(frames):
        return [range(len(frames))]
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for n, mapping in enumerate(mappings):
        groups[id(mapping)].append(n)
    return groups.values()


def microseconds(times_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Convert times in ms since 1970, shape (n,), to PostgreSQL's µs since 2000, same shape."""
    return np.rint(times_ms * 1000).astype(np.int64) - POSTGRES_EPOCH_US


def _rows(mapping: SlotMapping, frames: list[Frame], numbers: Sequence[int] | None) -> bytes:
    values = _values(mapping, frames)
    plain = len(mapping.channels) == mapping.width and np.isfinite(values).all()
    if plain and all(frame.quality is None for frame in frames):
        rows = _scalars(_template(mapping.width, numbers is not None, False), mapping, frames, numbers)
        rows["values"]["value"][:, mapping.slots] = values
        return _without_nulls(rows, None)
    quality = _qualities(frames, values)
    all_values = np.full((len(frames), mapping.width), np.nan)
    all_values[:, mapping.slots] = values
    all_quality = np.full(all_values.shape, NOT_SENT, np.int16)
    all_quality[:, mapping.slots] = quality

    rows = _scalars(_template(mapping.width, numbers is not None, True), mapping, frames, numbers)
    kept = np.ones(len(rows), _cut(rows.dtype))
    rows["values"]["value"] = all_values
    rows["quality"]["value"] = all_quality
    _null_elements(rows, kept, "values", ~np.isfinite(all_values), 8)
    _null_elements(rows, kept, "quality", all_quality == NOT_SENT, 2)
    good = ((quality == GOOD) | (quality == NOT_SENT)).all(axis=1)
    rows["quality_length"][good] = -1
    kept["quality_header"][good] = False
    kept["quality"][good] = False
    return _without_nulls(rows, kept)


def _values(mapping: SlotMapping, frames: list[Frame]) -> NDArray[np.float64]:
    """The values as sent, shape (frames, channels), with NaN for null."""
    shape = len(frames), len(mapping.channels)
    values = [frame.values for frame in frames]
    try:  # struct takes less than half the time of NumPy, but takes no null
        packed = b"".join(starmap(struct.Struct(f"{shape[1]}d").pack, values))
    except struct.error:
        return np.fromiter(chain.from_iterable(values), np.float64, shape[0] * shape[1]).reshape(shape)
    return np.frombuffer(packed, np.float64).reshape(shape)


def _qualities(frames: list[Frame], values: NDArray[np.float64]) -> NDArray[np.int16]:
    """The qualities of `values`, same shape. A value that is not finite is BAD, if its frame says it is good."""
    quality = np.full(values.shape, GOOD, np.int16)
    for n, frame in enumerate(frames):
        if frame.quality is not None:
            quality[n] = frame.quality
    quality[~np.isfinite(values) & (quality == GOOD)] = BAD
    return quality


def _scalars(template: Any, mapping: SlotMapping, frames: list[Frame], numbers: Sequence[int] | None) -> Any:
    """Rows, shape (frames,), with all columns but the arrays filled in; −1 stands for a missing boot or seq."""
    count = len(frames)
    rows = np.repeat(template, count)
    if numbers is not None:
        rows["n"] = numbers
    rows["time"] = microseconds(np.array([frame.t for frame in frames]))
    rows["received_at"] = microseconds(np.array([frame.received_ms for frame in frames]))
    rows["device_id"] = [frame.route.device.device_id for frame in frames]
    rows["layout_id"] = mapping.layout_id
    rows["boot"] = [-1 if frame.boot is None else frame.boot for frame in frames]
    rows["seq"] = [-1 if frame.seq is None else frame.seq for frame in frames]
    return rows


def _without_nulls(rows: Any, kept: Any) -> bytes:
    """The rows as bytes, without those where `kept` is False (None: it is True) and those of a missing boot or seq."""
    absent = {column: rows[column] < 0 for column in ("boot", "seq")}
    if kept is None and not (absent["boot"].any() or absent["seq"].any()):
        return bytes(rows.tobytes())
    if kept is None:
        kept = np.ones(len(rows), _cut(rows.dtype))
    for column, null in absent.items():
        rows[f"{column}_length"][null] = -1
        kept[column][null] = False
    raw = rows.view(np.uint8).reshape(len(rows), -1)
    return bytes(raw[kept.view(np.bool_).reshape(len(rows), -1)].tobytes())


def _null_elements(rows: Any, kept: Any, column: str, null: NDArray[np.bool_], size: int) -> None:
    """Make those elements of an array column NULL that `null`, shape (rows, width), has as True."""
    rows[column]["length"][null] = -1
    kept[column][:, :, 4:][null] = False
    nulls = null.sum(axis=1)
    rows[f"{column}_length"] -= (nulls * size).astype(np.int32)
    rows[f"{column}_header"][:, 1] = nulls > 0


@lru_cache(maxsize=1024)
def _template(width: int, numbered: bool, rated: bool) -> Any:
    """One row, shape (1,), with constants filled in: with `n` if `numbered`, with qualities (else NULL) if `rated`."""
    scalars = [("time", 8), ("device_id", 4), ("layout_id", 4), ("boot", 8), ("seq", 8), ("received_at", 8)]
    if numbered:
        scalars.insert(0, ("n", 4))
    arrays = [("values", ">f8", 8, FLOAT8), ("quality", ">i2", 2, INT2)][: 2 if rated else 1]
    fields: list[tuple[Any, ...]] = [("columns", ">i2")]
    for name, size in scalars:
        fields += [(f"{name}_length", ">i4"), (name, f">i{size}")]
    for name, element, _, _ in arrays:
        fields += [
            (f"{name}_length", ">i4"),
            (f"{name}_header", ">i4", (ARRAY_HEADER // 4,)),
            (name, [("length", ">i4"), ("value", element)], (width,)),
        ]
    if not rated:
        fields.append(("quality_length", ">i4"))
    row = np.zeros(1, dtype=fields)
    row["columns"] = len(scalars) + 2
    row["quality_length"] = -1
    for name, size in scalars:
        row[f"{name}_length"] = size
    for name, _, size, oid in arrays:
        row[f"{name}_length"] = ARRAY_HEADER + width * (4 + size)
        row[f"{name}_header"] = (1, 0, oid, width, 1)
        row[name]["length"] = size
    return row


@lru_cache(maxsize=1024)
def _cut(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype with a bool for each byte of `dtype`: it says which bytes of a row to keep."""
    names = dtype.names or ()
    shapes = [(*dtype[name].shape, dtype[name].base.itemsize) for name in names]
    return np.dtype([(name, np.bool_, shape) for name, shape in zip(names, shapes, strict=True)])
