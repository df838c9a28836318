"""Plots of a long time out of what is kept of each hour, and the samples of the rest of the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import numpy as np

from api.database import Database
from api.queries import load, samples
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series import hours
from api.series.hours import HOUR
from api.series.plot import KeptSamples
from api.series.samples import Ints, Samples
from schema import times

SQL = load("plot_hours")
WIDE = 2 * HOUR
"""The width of a pixel from which on hours are looked at: of narrower ones few lie within a pixel."""


def are_of_use(wanted: Selection, channel: Channel, edges: Ints) -> bool:
    """Whether hours can stand for samples. Values that are converted could be equal where the stored ones are not."""
    is_other = channel.computed is not None or channel.shown is not None or wanted.as_of is not None
    return not is_other and len(edges) > 1 and int(edges[1] - edges[0]) >= WIDE


async def pages(
    database: Database, wanted: Selection, channel: Channel, edges: Ints, deadline: Deadline
) -> AsyncIterator[Samples]:
    """Yield samples of a channel that make the same plot as all of them: of an hour within a pixel those that are kept,
    of the rest of the time all, of whatever quality. Raises TooLong."""
    kept = await _kept(database, wanted, channel, edges)
    begin = wanted.begin
    for first, last in hours.runs(kept.begins) if len(kept.begins) else ():
        run = kept.at(slice(first, last))
        async for page in _all(database, _part(wanted, begin, _moment(run.begins[0])), channel, deadline):
            yield page
        yield run.samples()
        begin = _moment(run.begins[-1] + HOUR)
    async for page in _all(database, _part(wanted, begin, wanted.end), channel, deadline):
        yield page


def _part(wanted: Selection, begin: datetime, end: datetime) -> Selection:
    return replace(wanted, begin=begin, end=end, everything=True)


def _moment(at: np.int64) -> datetime:
    return times.from_microseconds(int(at))


async def _all(database: Database, part: Selection, channel: Channel, deadline: Deadline) -> AsyncIterator[Samples]:
    if part.begin < part.end:
        async for page in samples.pages(database, part, channel, deadline):
            yield page


async def _kept(database: Database, wanted: Selection, channel: Channel, edges: Ints) -> KeptSamples:
    """Return the hours that can stand for their samples. If bad samples count as others do, those with one cannot, nor
    can those with a correction."""
    key = wanted.device.device_id, channel.channel_id, wanted.begin, wanted.end
    found = await asyncio.to_thread(hours.parse, await samples.copied(database, SQL["hours"], *key))
    usable = hours.within_pixels(found.begins, edges)
    if wanted.everything:
        usable &= ~found.bad_filled
    if wanted.corrected and channel.corrected is not None:
        usable &= ~channel.corrected.touched(found.begins, HOUR)
    return found.at(usable)
