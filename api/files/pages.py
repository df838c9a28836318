"""Copies the frames of a device page by page, by their key: neither a connection nor a snapshot is held between pages,
a reader may be as slow as it likes, and what is stored meanwhile neither repeats nor hides a frame."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.database import Database
from api.files.copied import CopiedFrames, parse
from api.queries import devices, exports, telemetry_raw
from api.queries.exports import Range, Slots
from api.queries.selection import Selection
from api.queries.telemetry_raw import DeviceRow
from schema import times

FIRST_SPAN = timedelta(hours=1)
"""The time that the first page looks into. A statement that looked to the end would be planned over all chunks."""
WIDER, NARROWER = 4, 2
MOST_FRAMES = 50_000
"""Of a page."""


@dataclass(frozen=True)
class FramePage:
    """Frames of one device, in order of time, with the slots that were copied."""

    selection: Selection
    slots: Slots
    frames: CopiedFrames

    @property
    def last(self) -> tuple[datetime, int]:
        """The key of the last frame: (time, layout_id)."""
        return times.from_microseconds(int(self.frames.times[-1])), int(self.frames.layouts[-1])


@dataclass(frozen=True)
class EdgeRows:
    """The samples beside the time of one device: those before it, or those after it."""

    selection: Selection
    rows: Sequence[DeviceRow]


async def pages_between(
    database: Database, wanted: Selection, most_values: int, within: timedelta | None
) -> AsyncGenerator[FramePage | EdgeRows, None]:
    """Yield the pages, with `within` between the samples that are at most so far before and after the time."""
    rows = [] if within is None else await telemetry_raw.outside_rows(database, 0, wanted, within)
    if before := [row for row in rows if row.time < wanted.begin]:
        yield EdgeRows(wanted, before)
    async with aclosing(pages(database, wanted, most_values)) as found:
        async for page in found:
            yield page
    if after := [row for row in rows if row.time >= wanted.end]:
        yield EdgeRows(wanted, after)


async def pages(
    database: Database, wanted: Selection, most_values: int, after: tuple[datetime, int] | None = None
) -> AsyncGenerator[FramePage, None]:
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
        page = FramePage(wanted, slots, frames)
        if len(frames):
            yield page
        if len(frames) == limit:
            after, span = page.last, max(FIRST_SPAN, span / NARROWER)
        else:
            after, span = (until, 0), span * WIDER
