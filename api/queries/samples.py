"""Samples of one channel as arrays, page by page: what buckets, plots and files are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from api.database import Database
from api.queries import blocks, devices, exports, load
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.frames import FrameBlock
from api.queries.selection import Selection
from api.series.gaps import usual_gap
from api.series.samples import Ints, Samples, parse
from schema import times

SQL = load("samples")
AT_ONCE = 500_000
"""Samples that one statement reads: bounds its time, and the memory of who reads (20 MB)."""
TOGETHER_AT_ONCE = 500_000
"""Values in memory at a time where several channels, or the inputs of a computed one, are read together."""
FEW, WIDE = 3, 8
"""Fewer channels are read each by itself, and so are those of which more values than WIDE for each would be copied."""
MOST_TIME = timedelta(days=32)
"""The time that one statement looks through: it may hold none of the channel's samples."""
LOOKED_AT, AROUND = 200, timedelta(days=1)
"""The samples at each end of a time by which the usual distance is told, and how far beyond it they are looked for: a
short time may hold one sample, or none."""


async def pages(
    database: Database, wanted: Selection, channel: Channel, deadline: Deadline | None = None
) -> AsyncIterator[Samples]:
    """Yield the samples of a channel in the order of their time; of any quality if the selection has everything.

    Each page is a statement of its own: no connection is held between two of them. Raises TooLong.
    """
    if wanted.is_by_frames(channel):
        async for [samples] in pages_together(database, replace(wanted, channels=(channel,)), deadline):
            yield samples
        return
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
    """Yield the samples of all channels of the selection in pages as `pages` does: a list with one entry a channel. To
    read the same frames for each channel anew takes several times as long."""
    async with aclosing(blocks.blocks(database, wanted, TOGETHER_AT_ONCE, deadline=deadline)) as found:
        async for block in found:
            yield [_of_channel(block, number) for number in range(len(wanted.channels))]


def _of_channel(block: FrameBlock, number: int) -> Samples:
    qualities = np.zeros(len(block.times), np.int16) if block.qualities is None else block.qualities[number]
    return Samples(block.times, block.values[number], qualities).where(block.present[number])


async def are_near(database: Database, wanted: Selection) -> bool:
    """Whether to read the channels, stored ones, together costs less: of wide layouts a few are read alone."""
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
    time. None if that cannot be told. A computed channel has a sample where an input has one: the least counts."""
    if channel.computed is not None:
        gaps = [await gap(database, wanted, one) for one in channel.computed.inputs]
        return min((one for one in gaps if one is not None), default=None)
    device, layouts, slots = wanted.device.device_id, list(channel.slots), list(channel.slots.values())
    begin, end = wanted.begin, wanted.end
    async with database.connection() as connection:
        by = LOOKED_AT, wanted.as_of
        first = await connection.fetch(SQL["first_times"], device, begin, end + AROUND, layouts, slots, *by)
        last = await connection.fetch(SQL["last_times"], device, begin - AROUND, end, layouts, slots, *by)
    return usual_gap(*(_ascending([row["time"] for row in rows]) for rows in (first, last)))


def _ascending(moments: list[datetime]) -> Ints:
    return np.array(sorted(times.microseconds(moment) for moment in moments), dtype=np.int64)
