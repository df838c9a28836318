"""SQL for raw samples of a device, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from itertools import repeat
from math import isnan
from typing import NamedTuple

import asyncpg
import numpy as np

from api.database import Database
from api.queries import blocks, load
from api.queries.deadline import Deadline
from api.queries.frames import FrameBlock
from api.queries.selection import Selection
from api.series.samples import Ints
from api.shapes.telemetry import Original
from schema import times

SQL = load("telemetry")
AT_ONCE = 100_000
"""Values in memory at a time where samples are made of frames."""


class Row(NamedTuple):
    """One frame: a value and a quality for each channel of the selection; a quality of None means not sent."""

    time: datetime
    layout_id: int
    values: list[float | None]
    qualities: list[int | None]
    originals: list[Original | None] | None = None
    """None: nothing of the selection is corrected."""


async def raw(
    database: Database, wanted: Selection, after: tuple[datetime, int], limit: int, deadline: Deadline | None = None
) -> list[Row]:
    """Return at most `limit` frames after (time, layout_id), in that order, that have a wanted sample of a channel.
    Raises TooLong."""
    if any(wanted.is_by_frames(channel) for channel in wanted.channels):
        return await _by_frames(database, wanted, after, limit, deadline)
    pairs = [(layout, slot) for channel in wanted.channels for layout, slot in channel.slots.items()]
    if not pairs:
        return []
    arguments = (
        wanted.device.device_id,
        *after,
        wanted.end,
        [layout for layout, _ in pairs],
        [slot for _, slot in pairs],
        wanted.everything,
        limit,
    )
    if len(wanted.channels) == 1:
        rows = await database.fetch(SQL["one_channel"], *arguments)
        found = [Row(time, layout, [value], [quality or 0]) for time, layout, value, quality in rows]
        return _in_units(found, wanted)
    rows = await database.fetch(SQL["many_channels"], *arguments)
    places = {
        layout: [channel.slots.get(layout, 0) - 1 for channel in wanted.channels]
        for layout in {layout for layout, _ in pairs}
    }
    return _in_units([_several(row, places[row["layout_id"]], wanted.everything) for row in rows], wanted)


async def _by_frames(
    database: Database, wanted: Selection, after: tuple[datetime, int], limit: int, deadline: Deadline | None
) -> list[Row]:
    found: list[Row] = []
    async with aclosing(blocks.blocks(database, wanted, AT_ONCE, after, deadline)) as parts:
        async for block in parts:
            kept = np.flatnonzero(block.present.any(axis=0))[: limit - len(found)]
            values, marks = block.values[:, kept].astype(object), np.zeros((len(block.values), len(kept)), object)
            values[np.isnan(block.values[:, kept])] = None
            if block.qualities is not None:
                marks = block.qualities[:, kept].astype(object)
            marks[~block.present[:, kept]] = None
            instants = map(times.from_microseconds, block.times[kept].tolist())
            originals = _originals(block, kept)
            found += map(Row, instants, block.layouts[kept].tolist(), values.T.tolist(), marks.T.tolist(), originals)
            if len(found) >= limit:
                break
    return found


def _originals(block: FrameBlock, kept: Ints) -> Iterable[list[Original | None] | None]:
    if block.originals is None:
        return repeat(None)
    found: list[list[Original | None]] = [[None] * len(block.values) for _ in kept]
    values, marks, numbers = block.originals.part(kept)
    for channel, frame in zip(*np.nonzero(numbers), strict=True):
        value = float(values[channel, frame])
        number = int(numbers[channel, frame])
        found[frame][channel] = Original(None if isnan(value) else value, int(marks[channel, frame]), number)
    return found


def _in_units(rows: list[Row], wanted: Selection) -> list[Row]:
    """The rows with their values in the units of the columns."""
    shown = [(place, one.shown) for place, one in enumerate(wanted.channels) if one.shown is not None]
    for row in rows if shown else ():
        time = times.microseconds(row.time)
        for place, unit in shown:
            row.values[place] = unit.value(time, row.values[place])
            if not unit.has(time):
                row.qualities[place] = None
    return rows


def _several(row: asyncpg.Record, places: Sequence[int], everything: bool) -> Row:
    time, layout, stored, marked = row
    values = [stored[place] if place >= 0 else None for place in places]
    if marked is None:
        qualities: list[int | None] = [None if value is None else 0 for value in values]
    else:
        marks = [marked[place] if place >= 0 else None for place in places]
        if not everything:
            values = [None if mark else value for value, mark in zip(values, marks, strict=True)]
        qualities = [
            mark if mark is not None or value is None else 0 for value, mark in zip(values, marks, strict=True)
        ]
    return Row(time, layout, values, qualities)
