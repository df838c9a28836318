"""Samples of one channel as arrays, page by page: what buckets, plots and files are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from api.database import Database
from api.problems import TooLong
from api.queries import devices, load
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series.gaps import usual_gap
from api.series.samples import Ints, Samples, parse
from schema import times

SQL = load("samples")
AT_ONCE = 500_000
"""Samples that one statement reads: bounds its time, and the memory of who reads (20 MB)."""
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
