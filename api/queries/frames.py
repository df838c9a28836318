"""Copies the frames of a device page by page, by their key: neither a connection nor a snapshot is held between pages,
a reader may be as slow as it likes, and what is stored meanwhile neither repeats nor hides a frame. The wanted channels
of a page are arrays, never a Python object for each sample."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from api.database import Database
from api.queries import devices, exports
from api.queries.exports import Range, Slots
from api.queries.selection import Selection
from api.series.copied import NOT_SENT, CopiedFrames, RowGroup, parse
from schema import times

FIRST_SPAN = timedelta(hours=1)
"""The time that the first page looks into. A statement that looked to the end would be planned over all chunks."""
WIDER, NARROWER = 4, 2
MOST_FRAMES = 50_000
"""Of a page."""
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Shorts = npt.NDArray[np.int16]


@dataclass(frozen=True)
class FramePage:
    """Frames of one device, in order of time, with the slots that were copied."""

    selection: Selection
    slots: Slots
    frames: CopiedFrames


class Originals(NamedTuple):
    """What was sent, where samples are corrected: arrays of (channels, frames)."""

    values: Floats
    qualities: Shorts
    corrections: npt.NDArray[np.int64]
    """The number of the correction that a sample has; 0: none, and the others do not matter."""

    def part(self, which: slice | npt.NDArray[np.int64]) -> Originals:
        return Originals(self.values[:, which], self.qualities[:, which], self.corrections[:, which])

    def followed_by(self, others: Originals) -> Originals:
        return Originals(
            np.concatenate([self.values, others.values], axis=1),
            np.concatenate([self.qualities, others.qualities], axis=1),
            np.concatenate([self.corrections, others.corrections], axis=1),
        )


@dataclass(frozen=True)
class FrameBlock:
    """The wanted samples of some frames of one device, in order of time: arrays of (channels, frames)."""

    selection: Selection
    times: npt.NDArray[np.int64]
    """µs since 1970"""
    layouts: npt.NDArray[np.int32]
    values: Floats
    """NaN where there is none."""
    qualities: Shorts | None
    """NOT_SENT where the channel was not sent; None unless all qualities are wanted."""
    present: Bools
    """Where there is a sample."""
    originals: Originals | None = None
    """None: nothing is corrected."""

    @property
    def last(self) -> tuple[datetime, int]:
        """The key of the last frame: (time, layout_id)."""
        return times.from_microseconds(int(self.times[-1])), int(self.layouts[-1])

    def part(self, which: slice | npt.NDArray[np.int64]) -> FrameBlock:
        """Return the block of these of its frames."""
        return replace(
            self,
            times=self.times[which],
            layouts=self.layouts[which],
            values=self.values[:, which],
            qualities=None if self.qualities is None else self.qualities[:, which],
            present=self.present[:, which],
            originals=None if self.originals is None else self.originals.part(which),
        )


async def blocks(
    database: Database, wanted: Selection, most_values: int, after: tuple[datetime, int] | None = None
) -> AsyncGenerator[FrameBlock, None]:
    """Yield all frames of the layouts that have a wanted channel, at most `most_values` values a page; or those after
    the key of a frame."""
    slots = await exports.slots(database, wanted)
    extent = await devices.extent(database, wanted.device.device_id)
    if extent is None or not slots.first:
        return
    widest = max(slots.last[layout] - slots.first[layout] + 1 for layout in slots.first)
    limit = max(1, min(MOST_FRAMES, most_values // widest))
    after, span = after or (max(wanted.begin, extent[0]), 0), FIRST_SPAN
    end = min(wanted.end, extent[1] + times.MICROSECOND)
    while after[0] < end:
        until = min(end, after[0] + span) if span < times.LAST - after[0] else end
        frames = parse(await exports.page(database, wanted, slots, Range(after, until, limit)))
        block = _block(FramePage(wanted, slots, frames))
        if len(frames):
            yield block
        if len(frames) == limit:
            after, span = block.last, max(FIRST_SPAN, span / NARROWER)
        else:
            after, span = (until, 0), span * WIDER


def _block(page: FramePage) -> FrameBlock:
    size = len(page.selection.channels), len(page.frames)
    values = np.empty(size) if len(page.frames.groups) == 1 else np.full(size, np.nan)
    for group in page.frames.groups:
        for number, place in enumerate(_places(page, group)):
            values[number, group.at] = np.nan if place is None else group.values[:, place]
    wanted = page.selection
    corrected = [n for n, one in enumerate(wanted.channels) if wanted.has_originals(one)]
    qualities = _qualities(page, values) if wanted.everything or corrected else None
    originals = None
    if qualities is None:
        for group in page.frames.groups:
            _leave_out_bad(page, group, values)
    elif corrected:
        originals = _correct(page, corrected, values, qualities)
        if not wanted.everything:
            values[qualities > 0], qualities = np.nan, None
    _in_units(page, values, qualities)
    present: Bools = ~np.isnan(values) if qualities is None else qualities != NOT_SENT
    return FrameBlock(wanted, page.frames.times, page.frames.layouts, values, qualities, present, originals)


def _correct(page: FramePage, numbers: Sequence[int], values: Floats, qualities: Shorts) -> Originals:
    """Correct the samples of these channels; returns what they were, in the units of their columns."""
    found = Originals(values.copy(), qualities.copy(), np.zeros(values.shape, np.int64))
    for number in numbers:
        corrected = page.selection.channels[number].corrected
        assert corrected is not None
        values[number], qualities[number], found.corrections[number] = corrected.samples(
            page.frames.times, values[number], qualities[number]
        )
    _in_units(page, found.values, found.qualities)
    return found


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
