"""Makes rows of a table out of blocks of frames, in NumPy: never a Python object for each sample. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from api.files.arrow import TYPES, schema
from api.files.columns import TableColumns, key
from api.queries.frames import Bools, Floats, FrameBlock
from api.shapes.exports import ColumnKind

Places = npt.NDArray[np.int64]


def batches(block: FrameBlock, of: TableColumns) -> list[pa.RecordBatch]:
    """The rows of a block, as one batch or none: a frame without a wanted sample is left out."""
    arrays = _long(block, of) if of.shape == "long" else _wide(block, of)
    return [] if arrays is None else [pa.RecordBatch.from_arrays(arrays, schema=schema(of, b""))]


def _wide(block: FrameBlock, of: TableColumns) -> list[pa.Array] | None:
    kept: Bools = np.asarray(block.present.any(axis=0))
    count = int(np.count_nonzero(kept))
    if not count:
        return None
    if count < len(kept):
        block = block.part(np.flatnonzero(kept))
    places = {key(channel): number for number, channel in enumerate(block.selection.channels)}
    found = [_times(block.times)]
    if any(one.kind == "device" for one in of.columns):
        found.append(_constant(of.devices, of.devices.index(block.selection.device.name), count))
    for name in of.channels:
        number = places.get(name)
        if number is None:
            found.append(pa.nulls(count, TYPES["value"]))
        else:
            found.append(_floats(block.values[number], block.qualities is None, block.present[number]))
        if of.everything:
            found.append(pa.nulls(count, TYPES["quality"]) if number is None else _shorts(block, number))
        if name in of.corrected:
            found += _originals(block, of, None if number is None else (np.full(count, number), np.arange(count)))
    return found


def _long(block: FrameBlock, of: TableColumns) -> list[pa.Array] | None:
    frames, channels = np.nonzero(block.present.T)
    count = len(frames)
    if not count:
        return None
    found = [_times(block.times[frames])]
    if any(one.kind == "device" for one in of.columns):
        found.append(_constant(of.devices, of.devices.index(block.selection.device.name), count))
    names = list(dict.fromkeys(name for name, _ in of.channels))
    units = list(dict.fromkeys(unit for _, unit in of.channels if unit is not None))
    own = block.selection.channels
    of_names = np.array([names.index(one.name) for one in own], np.int32)[channels]
    of_units = np.array([-1 if one.unit is None else units.index(one.unit) for one in own], np.int32)[channels]
    values = block.values[channels, frames]
    found.append(_dictionary(of_names, names))
    found.append(_dictionary(of_units, units))
    found.append(_floats(values, block.qualities is None, np.ones(count, np.bool_)))
    if block.qualities is not None:
        found.append(pa.array(block.qualities[channels, frames], TYPES["quality"]))
    return found + _originals(block, of, (channels, frames)) if of.corrected else found


def _originals(block: FrameBlock, of: TableColumns, where: tuple[Places, Places] | None) -> list[pa.Array]:
    """What was sent of the samples at these places (channels, frames), null where they are not corrected."""
    kinds: list[ColumnKind] = ["original", "original_quality", "correction"]
    if not of.everything:
        kinds.remove("original_quality")
    if block.originals is None or where is None:
        return [pa.nulls(len(block.times) if where is None else len(where[0]), TYPES[kind]) for kind in kinds]
    values, marks, numbers = (one[where] for one in block.originals)
    said = {
        "original": pa.array(values, mask=(numbers == 0) | np.isnan(values)),
        "original_quality": pa.array(marks, mask=numbers == 0),
        "correction": pa.array(numbers, mask=numbers == 0),
    }
    return [said[kind] for kind in kinds]


def _times(times: npt.NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(TYPES["time"], len(times), [None, pa.py_buffer(np.ascontiguousarray(times))])


def _floats(values: Floats, is_good_alone: bool, present: Bools) -> pa.Array:
    """Null where there is no number: with all qualities, a sample can be there without one."""
    number = present if is_good_alone else ~np.isnan(values)
    buffers = [_bitmap(number), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(TYPES["value"], len(values), buffers)


def _shorts(block: FrameBlock, number: int) -> pa.Array:
    assert block.qualities is not None
    buffers = [_bitmap(block.present[number]), pa.py_buffer(np.ascontiguousarray(block.qualities[number]))]
    return pa.Array.from_buffers(TYPES["quality"], block.qualities.shape[1], buffers)


def _bitmap(present: Bools) -> pa.Buffer | None:
    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))


def _constant(names: tuple[str, ...], place: int, count: int) -> pa.Array:
    return _dictionary(np.full(count, place, np.int32), list(names))


def _dictionary(places: npt.NDArray[np.int32], words: list[str]) -> pa.Array:
    """-1 stands for null. What is below a null is a place that there is: Polars looks at it, too."""
    indices = pa.array(np.maximum(places, 0), mask=places < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words or [""], pa.string()))
