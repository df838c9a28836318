"""Blocks of a time with the samples beside it: one of each channel before it, and one after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

import numpy as np

from api.database import Database
from api.queries import telemetry_raw
from api.queries.blocks import blocks
from api.queries.frames import FrameBlock
from api.queries.selection import Selection
from api.queries.telemetry_raw import DeviceRow
from api.series.copied import NOT_SENT
from schema.times import microseconds


async def blocks_between(
    database: Database, wanted: Selection, most_values: int, within: timedelta | None
) -> AsyncGenerator[FrameBlock, None]:
    """Yield the blocks, with `within` between the samples that are at most so far before and after the time."""
    rows = [] if within is None else await telemetry_raw.outside_rows(database, 0, wanted, within)
    if before := [row for row in rows if row.time < wanted.begin]:
        yield _edge(wanted, before)
    async with aclosing(blocks(database, wanted, most_values)) as found:
        async for block in found:
            yield block
    if after := [row for row in rows if row.time >= wanted.end]:
        yield _edge(wanted, after)


def _edge(wanted: Selection, rows: Sequence[DeviceRow]) -> FrameBlock:
    """The samples beside the time, which have their units already."""
    times = np.array([microseconds(row.time) for row in rows], np.int64)
    values = np.array([[np.nan if one is None else one for one in row.values] for row in rows]).T
    sent = [[NOT_SENT if one is None else one for one in row.qualities] for row in rows]
    qualities = np.array(sent, np.int16).T
    present = np.asarray(qualities != NOT_SENT)
    layouts = np.zeros(len(rows), np.int32)
    return FrameBlock(wanted, times, layouts, values, qualities if wanted.everything else None, present)
