"""Samples in buckets: what is read for them, and how the buckets of many channels and devices become rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

import numpy as np

from api.database import Database
from api.problems import TooMuch
from api.queries import samples, telemetry_aggregates
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series.buckets import SUMMABLE, Buckets, BucketTooLarge
from api.series.filling import Fill, filled
from api.series.grid import Division, Grid
from api.series.samples import Flags, Floats, Ints
from schema import times
from schema.times import Span

AGGREGATES = (
    *("avg", "twa", "min", "max", "first", "last", "count", "sum", "stddev", "median", "integral", "percent_good"),
)
AREAS = frozenset({"twa", "integral"})
FILLED = frozenset({"avg", "twa", "min", "max", "first", "last", "median"})
"""Values that a bucket without samples may be given; the others say what was there."""
SLICE, SLICE_VALUES = timedelta(days=1), 10_000
"""The time and the values of a slice of a stream."""
Cells: TypeAlias = Floats | Ints


@dataclass(frozen=True, slots=True)
class BucketWish:
    """What is wanted of each bucket."""

    division: Division
    aggregates: tuple[str, ...]
    gap: timedelta | None = None
    """the longest distance of two samples that is no gap; None: three times the usual one of the channel"""
    empty: bool = False
    """whether buckets without any sample have a row too"""
    fill: Fill | None = None
    fill_limit: int = 0
    """the longest run of empty buckets that is filled"""


@dataclass(frozen=True, slots=True)
class BucketRows:
    """Rows of one device."""

    times: Ints
    """the begin of each bucket, µs since 1970"""
    cells: list[Cells]
    """channel by channel, the aggregates as they were asked for; NaN: none"""


def unit(channel: Channel, aggregate: str) -> str | None:
    """Return the unit of an aggregate of a channel: an integral over hours of mL/h is in mL."""
    if aggregate == "count":
        return "1"
    if aggregate == "percent_good":
        return "%"
    if aggregate == "integral" and channel.unit is not None:
        return channel.unit[:-2] if channel.unit.endswith("/h") else f"{channel.unit}·h"
    return channel.unit


async def whole(database: Database, wanted: Selection, wish: BucketWish, deadline: Deadline) -> BucketRows:
    """Return all buckets of a device. Raises TooLong, and TooMuch for too many samples under one median."""
    return await BucketReading(database, wanted, wish, deadline).rows(wanted)


async def slices(database: Database, wanted: Selection, wish: BucketWish) -> AsyncIterator[BucketRows]:
    """Yield the buckets of a device slice by slice, from its first frame in the time to its last unless empty ones are
    wanted."""
    begin, end = (wanted.begin, wanted.end) if wish.empty else await samples.extent(database, wanted)
    columns = max(1, len(wanted.channels) * len(wish.aggregates))
    length = wish.division.length
    step = length * max(1, min(SLICE // length, SLICE_VALUES // columns))
    reading = BucketReading(database, wanted, wish, None)
    while begin < end:
        edges = wish.division.grid(begin, min(end, begin + step)).edges
        until = min(end, times.from_microseconds(int(edges[-1])))
        yield await reading.rows(replace(wanted, begin=begin, end=until))
        begin = until


class BucketReading:
    """Reads the buckets of a device, all at once or part by part."""

    def __init__(self, database: Database, wanted: Selection, wish: BucketWish, deadline: Deadline | None) -> None:
        self._database, self._wanted, self._wish, self._deadline = database, wanted, wish, deadline
        self._gaps: dict[int, int | None] = {}

    async def rows(self, part: Selection) -> BucketRows:
        """Return the buckets of a part of the time; areas also take what is known of the time around it."""
        wish, grid = self._wish, self._wish.division.grid(part.begin, part.end)
        found = [await self._results(part, channel, grid) for channel in part.channels]
        there = _there(found, grid, wish)
        begins = grid.edges[:-1][there] if grid.count else grid.edges
        cells = [results[name][there] for results in found for name in wish.aggregates]
        return BucketRows(begins, cells if wish.fill is None else _filled(cells, begins, part.channels, wish))

    async def _results(self, part: Selection, channel: Channel, grid: Grid) -> Mapping[str, Cells]:
        gap, names = await self._gap(channel), self._wish.aggregates
        edges = grid.within(part.begin, part.end)
        buckets = Buckets(edges, names, everything=part.everything, step=channel.step, gap=gap)
        if SUMMABLE.issuperset(names) and not part.everything:
            left, sums = await telemetry_aggregates.added_up(self._database, part, channel, edges)
            if sums is not None:
                await asyncio.to_thread(buckets.add_sums, sums)
        else:
            left = [Span(part.begin, part.end)]
        around = timedelta(0) if gap is None else gap * times.MICROSECOND
        everything = part.everything or "percent_good" in names
        try:
            for span in left:
                read = replace(part, begin=span.begin - around, end=span.end + around, everything=everything)
                async for page in samples.pages(self._database, read, channel, self._deadline):
                    await asyncio.to_thread(buckets.add, page)
        except BucketTooLarge as error:
            raise TooMuch("a bucket has too many samples for a median: use narrower buckets") from error
        return buckets.results()

    async def _gap(self, channel: Channel) -> int | None:
        """Return the longest distance that is no gap, in µs; None where it does not matter, or cannot be told."""
        if AREAS.isdisjoint(self._wish.aggregates):
            return None
        if self._wish.gap is not None:
            return self._wish.gap // times.MICROSECOND
        if channel.channel_id not in self._gaps:
            self._gaps[channel.channel_id] = await samples.gap(self._database, self._wanted, channel)
        return self._gaps[channel.channel_id]


def _there(found: Sequence[Mapping[str, Cells]], grid: Grid, wish: BucketWish) -> Flags:
    """Which buckets have a row: those with a sample of a channel, or all."""
    if wish.empty or wish.fill is not None:
        return np.ones(grid.count, np.bool_)
    name = "all" if "percent_good" in wish.aggregates else "count"
    areas = AREAS.intersection(wish.aggregates)
    there = np.zeros(grid.count, np.bool_)
    for results in found:
        there |= results[name] > 0
        for area in areas:  # a bucket between two samples has no sample and an area
            there |= ~np.isnan(results[area])
    return there


def _filled(cells: Sequence[Cells], begins: Ints, channels: Sequence[Channel], wish: BucketWish) -> list[Cells]:
    assert wish.fill is not None
    columns = [(channel, name) for channel in channels for name in wish.aggregates]
    found: list[Cells] = []
    for some, (channel, name) in zip(cells, columns, strict=True):
        how: Fill = "last" if channel.step else wish.fill
        found.append(filled(some.astype(np.float64), begins, how, wish.fill_limit) if name in FILLED else some)
    return found


def texts(instants: Ints) -> list[str]:
    """Return µs since 1970 as `times.text` has them."""
    said: list[str] = np.datetime_as_string(instants.astype("datetime64[us]"), unit="us").tolist()
    return [f"{one}Z" for one in said]
