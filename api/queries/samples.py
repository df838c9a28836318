"""Samples of one channel as arrays, page by page: what buckets, plots and files are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from api.database import Database
from api.problems import TooLong
from api.queries import devices, exports, load
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series import copied as copied_frames
from api.series.copied import CopiedFrames
from api.series.gaps import usual_gap
from api.series.samples import Ints, Samples, parse
from schema import times

SQL = load("samples")
AT_ONCE = 500_000
"""Samples that one statement reads: bounds its time, and the memory of who reads (20 MB)."""
AT_ONCE_TOGETHER = 1_000_000
"""The same where all channels are read together (12 MB)."""
FEW, WIDE = 3, 8
"""Fewer channels are read each by itself, and so are those of which more values than WIDE for each would be copied."""
MOST_TIME = timedelta(days=32)
"""The time that one statement looks through: it may hold none of the channel's samples."""
MOST_READING_S = 30.0
"""How long the samples of one answer may be read."""
LOOKED_AT, AROUND = 200, timedelta(days=1)
"""The samples at each end of a time by which the usual distance is told, and how far beyond it they are looked for: a
short time may hold one sample, or none."""


class Deadline:
    """The moment by which all samples of an answer must have been read."""

    def __init__(self, seconds: float = MOST_READING_S) -> None:
        self._at = time.monotonic() + seconds

    def check(self) -> None:
        """Raise TooLong if the moment has passed."""
        if time.monotonic() > self._at:
            raise TooLong("ask for a shorter time, fewer channels or fewer devices")


async def pages(
    database: Database, wanted: Selection, channel: Channel, deadline: Deadline | None = None
) -> AsyncIterator[Samples]:
    """Yield the samples of a channel in the order of their time; of any quality if the selection has everything.

    Each page is a statement of its own: no connection is held between two of them. Raises TooLong.
    """
    begin, end = wanted.begin, wanted.end
    if not channel.slots:
        return
    if end - begin > MOST_TIME:
        begin, end = await extent(database, wanted)
    while begin < end:
        if deadline is not None:
            deadline.check()
        until = min(end, begin + MOST_TIME)
        page = await _page(database, replace(wanted, begin=begin, end=until), channel)
        begin = until
        if len(page.times) == AT_ONCE:
            # More samples may have the time of the last one: all of that time come with the next page.
            begin = times.from_microseconds(int(page.times[-1]))
            page = page.between(0, int(np.searchsorted(page.times, page.times[-1])))
        yield page if channel.shown is None else channel.shown.samples(page)


async def pages_together(
    database: Database, wanted: Selection, deadline: Deadline | None = None
) -> AsyncIterator[list[Samples]]:
    """Yield the samples of all channels of the selection, whatever their quality, in pages as `pages` does: a list with
    one entry a channel. To read the same frames for each channel anew takes several times as long."""
    slots = await exports.slots(database, wanted)
    if not slots.first:
        return
    channels = [
        (channel, {layout: slots.place(layout, slot) for layout, slot in channel.slots.items()})
        for channel in wanted.channels
    ]
    most = max(1, AT_ONCE_TOGETHER // max(slots.last[layout] - slots.first[layout] + 1 for layout in slots.first))
    begin, end = wanted.begin, wanted.end
    if end - begin > MOST_TIME:
        begin, end = await extent(database, wanted)
    after = (begin, 0)
    while after[0] < end:
        if deadline is not None:
            deadline.check()
        until = min(end, after[0] + MOST_TIME)
        content = await exports.page(database, wanted, slots, exports.Range(after, until, most))
        frames = await asyncio.to_thread(copied_frames.parse, content)
        if len(frames):
            yield await asyncio.to_thread(_of_channels, frames, channels)
        after = (until, 0) if len(frames) < most else frames.last


def _of_channels(frames: CopiedFrames, channels: Sequence[tuple[Channel, Mapping[int, int]]]) -> list[Samples]:
    found = ((channel, frames.samples(places)) for channel, places in channels)
    return [samples if channel.shown is None else channel.shown.samples(samples) for channel, samples in found]


async def are_near(database: Database, wanted: Selection) -> bool:
    """Whether to read the channels of the selection together costs less: of wide layouts a few are read alone."""
    if len(wanted.channels) < FEW:
        return False
    slots = await exports.slots(database, wanted)
    copied = sum(slots.last[layout] - slots.first[layout] + 1 for layout in slots.first)
    return copied <= WIDE * sum(len(channel.slots) for channel in wanted.channels)


async def extent(database: Database, wanted: Selection) -> tuple[datetime, datetime]:
    """Return the part of the time in which the device has sent."""
    found = await devices.extent(database, wanted.device.device_id)
    if found is None:
        return wanted.end, wanted.end
    return max(wanted.begin, found[0]), min(wanted.end, found[1] + times.MICROSECOND)


async def _page(database: Database, wanted: Selection, channel: Channel) -> Samples:
    layouts, slots = list(channel.slots), list(channel.slots.values())
    name, where = ("one_layout", (layouts[0], slots[0])) if len(layouts) == 1 else ("layouts", (layouts, slots))
    range_ = wanted.device.device_id, wanted.begin, wanted.end
    content = await copied(database, SQL[name], *range_, *where, wanted.everything, AT_ONCE)
    return await asyncio.to_thread(parse, content)


async def copied(database: Database, statement: str, *arguments: Any) -> bytes:
    """Return what the statement gives as a binary COPY."""
    content = bytearray()

    async def keep(part: bytes) -> None:
        content.extend(part)

    async with database.connection() as connection:
        await connection.copy_from_query(statement.rstrip(";"), *arguments, output=keep, format="binary")
    return bytes(content)


async def gap(database: Database, wanted: Selection, channel: Channel) -> int | None:
    """Return the longest distance of two samples, in µs, that is no gap: by the usual distance at both ends of the
    time. None if that cannot be told."""
    device, layouts, slots = wanted.device.device_id, list(channel.slots), list(channel.slots.values())
    begin, end = wanted.begin, wanted.end
    async with database.connection() as connection:
        first = await connection.fetch(SQL["first_times"], device, begin, end + AROUND, layouts, slots, LOOKED_AT)
        last = await connection.fetch(SQL["last_times"], device, begin - AROUND, end, layouts, slots, LOOKED_AT)
    return usual_gap(*(_ascending([row["time"] for row in rows]) for rows in (first, last)))


def _ascending(moments: list[datetime]) -> Ints:
    return np.array(sorted(times.microseconds(moment) for moment in moments), dtype=np.int64)
