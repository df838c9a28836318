"""Makes rows of a table out of pages of frames, in NumPy: never a Python object for each sample. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from api.files.columns import TYPES, TableColumns, key
from api.files.copied import NOT_SENT, RowGroup
from api.files.pages import EdgeRows, FramePage
from api.queries.selection import Selection
from schema.times import microseconds

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Shorts = npt.NDArray[np.int16]


@dataclass(frozen=True)
class ChannelBlock:
    """The wanted samples of one page: arrays of (channels of the device, frames)."""

    times: npt.NDArray[np.int64]
    """Microseconds since 1970, of the frames."""
    values: Floats
    """NaN where there is none."""
    qualities: Shorts | None
    """NOT_SENT where the channel was not sent; None unless all qualities are wanted."""
    present: Bools
    """Where there is a sample."""


def batches(page: FramePage | EdgeRows, of: TableColumns) -> list[pa.RecordBatch]:
    """The rows of a page, as one batch or none: a frame without a wanted sample is left out."""
    block = _block(page) if isinstance(page, FramePage) else _edge(page)
    schema = of.schema(b"")
    arrays = (_long if of.shape == "long" else _wide)(page.selection, block, of)
    return [] if arrays is None else [pa.RecordBatch.from_arrays(arrays, schema=schema)]


def _block(page: FramePage) -> ChannelBlock:
    size = len(page.selection.channels), len(page.frames)
    values = np.empty(size) if len(page.frames.groups) == 1 else np.full(size, np.nan)
    for group in page.frames.groups:
        for number, place in enumerate(_places(page, group)):
            values[number, group.at] = np.nan if place is None else group.values[:, place]
    qualities = _qualities(page, values) if page.selection.everything else None
    if qualities is None:
        for group in page.frames.groups:
            _leave_out_bad(page, group, values)
    _in_units(page, values, qualities)
    present: Bools = ~np.isnan(values) if qualities is None else qualities != NOT_SENT
    return ChannelBlock(page.frames.times, values, qualities, present)


def _edge(edge: EdgeRows) -> ChannelBlock:
    """The samples beside the time, which have their units already."""
    times = np.array([microseconds(row.time) for row in edge.rows], np.int64)
    values = np.array([[np.nan if one is None else one for one in row.values] for row in edge.rows]).T
    sent = [[NOT_SENT if one is None else one for one in row.qualities] for row in edge.rows]
    qualities = np.array(sent, np.int16).T
    return ChannelBlock(times, values, qualities if edge.selection.everything else None, qualities != NOT_SENT)


def _in_units(page: FramePage, values: Floats, qualities: Shorts | None) -> None:
    """Convert the values into the units of their columns; what is not of a column was not sent."""
    for number, channel in enumerate(page.selection.channels):
        if channel.shown is not None:
            converted, kept = channel.shown.converted(page.frames.times, values[number])
            values[number] = np.where(kept, converted, np.nan)
            if qualities is not None:
                qualities[number, ~kept] = NOT_SENT


def _places(page: FramePage, group: RowGroup) -> list[int | None]:
    """The slot of each wanted channel in the group; None: its layout does not have the channel."""
    slots = (channel.slots.get(group.layout_id) for channel in page.selection.channels)
    return [None if slot is None else page.slots.place(group.layout_id, slot) for slot in slots]


def _leave_out_bad(page: FramePage, group: RowGroup, values: Floats) -> None:
    if len(group.rated):
        bad = group.quality > 0
        rows = group.rated if isinstance(group.at, slice) else group.at[group.rated]
        for number, place in enumerate(_places(page, group)):
            if place is not None:
                values[number, rows[bad[:, place]]] = np.nan


def _qualities(page: FramePage, values: Floats) -> Shorts:
    """What has a value and no quality is good."""
    good = np.where(np.isnan(values), np.int16(NOT_SENT), np.int16(0))
    for group in page.frames.groups:
        if len(group.rated):
            rows = group.rated if isinstance(group.at, slice) else group.at[group.rated]
            for number, place in enumerate(_places(page, group)):
                if place is not None:
                    said = group.quality[:, place].astype(np.int16)
                    good[number, rows] = np.where(said == NOT_SENT, good[number, rows], said)
    return good


def _wide(selection: Selection, block: ChannelBlock, of: TableColumns) -> list[pa.Array] | None:
    kept: Bools = np.asarray(block.present.any(axis=0))
    count = int(np.count_nonzero(kept))
    if not count:
        return None
    if count < len(kept):
        chosen = np.flatnonzero(kept)
        qualities = None if block.qualities is None else block.qualities[:, chosen]
        block = ChannelBlock(block.times[chosen], block.values[:, chosen], qualities, block.present[:, chosen])
    places = {key(channel): number for number, channel in enumerate(selection.channels)}
    found = [_times(block.times)]
    if any(one.kind == "device" for one in of.columns):
        found.append(_constant(of.devices, of.devices.index(selection.device.name), count))
    for name in of.channels:
        number = places.get(name)
        if number is None:
            found.append(pa.nulls(count, TYPES["value"]))
        else:
            found.append(_floats(block.values[number], block.qualities is None, block.present[number]))
        if of.everything:
            found.append(pa.nulls(count, TYPES["quality"]) if number is None else _shorts(block, number))
    return found


def _long(selection: Selection, block: ChannelBlock, of: TableColumns) -> list[pa.Array] | None:
    frames, channels = np.nonzero(block.present.T)
    count = len(frames)
    if not count:
        return None
    found = [_times(block.times[frames])]
    if any(one.kind == "device" for one in of.columns):
        found.append(_constant(of.devices, of.devices.index(selection.device.name), count))
    names = list(dict.fromkeys(name for name, _ in of.channels))
    units = list(dict.fromkeys(unit for _, unit in of.channels if unit is not None))
    own = selection.channels
    of_names = np.array([names.index(one.name) for one in own], np.int32)[channels]
    of_units = np.array([-1 if one.unit is None else units.index(one.unit) for one in own], np.int32)[channels]
    values = block.values[channels, frames]
    found.append(_dictionary(of_names, names))
    found.append(_dictionary(of_units, units))
    found.append(_floats(values, block.qualities is None, np.ones(count, np.bool_)))
    if block.qualities is not None:
        found.append(pa.array(block.qualities[channels, frames], TYPES["quality"]))
    return found


def _times(times: npt.NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(TYPES["time"], len(times), [None, pa.py_buffer(np.ascontiguousarray(times))])


def _floats(values: Floats, is_good_alone: bool, present: Bools) -> pa.Array:
    """Null where there is no number: with all qualities, a sample can be there without one."""
    number = present if is_good_alone else ~np.isnan(values)
    buffers = [_bitmap(number), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(TYPES["value"], len(values), buffers)


def _shorts(block: ChannelBlock, number: int) -> pa.Array:
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
