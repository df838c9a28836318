"""Channels of runs on one clock: which buckets are read of each run, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from api.database import Database
from api.problems import BadParameter, NotFound
from api.queries import runs, samples, selection, telemetry_buckets
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.queries.telemetry_buckets import BucketWish
from api.series.gaps import USUAL_DISTANCES
from api.series.grid import Division
from api.series.samples import Floats, Ints
from api.shapes.run_comparison import AlignedRuns, AlignedSeries, Alignment, Comparison
from api.shapes.selection import SelectionParameters
from schema import times
from schema.times import Span

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LONG = timedelta(days=2)
"""From this length on buckets are whole minutes or hours of the database, so that its aggregates serve."""
MOST_MINUTES = 400_000
"""The most minutes of channels that are read for one answer; beyond, whole hours are read."""
LOOKED_AT = 8
"""Channels whose usual distance of samples is looked at."""
AT_ONCE = 2
"""How many channels are read at the same time, of the connections that an organization has."""


@dataclass(frozen=True, slots=True)
class AlignedChannel:
    """A channel of a run, in buckets on the clock of all runs; NaN: no sample."""

    run: str
    device: str
    channel: Channel
    since: datetime
    shift: timedelta
    values: Floats
    low: Floats
    high: Floats
    counts: Ints
    """samples of each bucket"""


@dataclass(frozen=True, slots=True)
class AlignedChannels:
    """What `align` has read."""

    width: timedelta
    first: int
    """the number of buckets of the first one from hour 0; negative: before it"""
    count: int
    channels: list[AlignedChannel]
    warnings: list[str]

    @property
    def hours(self) -> list[float]:
        return [round((self.first + number) * (self.width / HOUR), 6) for number in range(self.count)]


@dataclass(frozen=True, slots=True)
class _Part:
    """What is read of a run: a time, whose clock is 0 at `since`."""

    run: str
    devices: list[str]
    since: datetime
    span: Span


async def align(database: Database, names: Sequence[str], asked: Alignment) -> AlignedChannels:
    """Return channels of runs on one clock. Raises NotFound, Conflict for a run that has not started, TooLong."""
    parts, warnings = [], []
    for name in dict.fromkeys(names):
        part, warning = await _part(database, name, asked)
        parts += [part] if part else []
        warnings += [warning] if warning else []
    if not parts:
        raise NotFound(warnings[0])
    wanted: list[tuple[_Part, Selection]] = []
    for part in parts:
        question = SelectionParameters.model_validate(
            {
                **{"device": part.devices, "channel": asked.channel, "unit": asked.unit, "quality": asked.quality},
                **{"from": times.text(part.span.begin), "to": times.text(part.span.end)},
                "corrections": asked.corrections,
            }
        )
        selected = await selection.resolve(database, question)
        warnings += [f"{part.run}: {one}" for one in selected.warnings]
        wanted += [(part, one) for one in selected.selections]
    least = await sample_width(database, [one for _, one in wanted])
    width, granule = _width(parts, sum(len(one.channels) for _, one in wanted) / len(parts), asked, least)
    begin = int((asked.begin or 0.0) * HOUR // width)
    longest = max(one.span.end - one.since for one in parts)
    end = -int(-(longest if asked.end is None else asked.end * HOUR) // width)
    reading = _Reading(database, width, granule, begin, max(1, end - begin))
    return AlignedChannels(width, begin, reading.count, await reading.all(wanted), warnings)


async def _part(database: Database, name: str, asked: Alignment) -> tuple[_Part | None, str | None]:
    run = await runs.stored(database, name)
    if not run.devices:
        return None, f"run {name} has no device"
    try:
        span = run.span_of(asked.phase)
    except NotFound as error:
        return None, error.detail
    begin = span.begin if asked.begin is None else span.begin + asked.begin * HOUR
    end = span.end if asked.end is None else min(span.begin + asked.end * HOUR, runs.now())
    if begin >= end:
        return None, f"run {name} is shorter than that"
    return _Part(name, run.devices, span.begin, Span(begin, end)), None


async def sample_width(database: Database, wanted: Sequence[Selection]) -> timedelta:
    """Return the narrowest round width in which the first channels of each device usually have a sample: narrower
    buckets would be empty."""
    looked_at = [(one, channel) for one in wanted for channel in one.channels[:LOOKED_AT]][:LOOKED_AT]
    gaps = [await samples.gap(database, one, channel) for one, channel in looked_at]
    usual = max((one for one in gaps if one is not None), default=0) / USUAL_DISTANCES
    widths = (times.parse_duration(one) for one in times.ROUND)
    return next((one for one in widths if one >= usual * times.MICROSECOND), HOUR)


def _width(parts: Sequence[_Part], channels: float, asked: Alignment, least: timedelta) -> tuple[timedelta, timedelta]:
    """Return the width of buckets, and what their edges are whole ones of (0: of nothing)."""
    longest = max(one.span.end - one.span.begin for one in parts)
    text = times.fitting_bucket(times.ORIGIN, times.ORIGIN + longest, asked.max_points)
    if text is None:
        raise BadParameter("max_points", "no round width is wide enough: ask for more, or for less time")
    width = max(least, times.parse_duration(text))
    if longest < LONG or width < MINUTE:
        return width, timedelta(0)
    minutes = sum((one.span.end - one.span.begin) / MINUTE for one in parts) * channels
    if minutes > MOST_MINUTES:
        width = max(width, HOUR)
    return width, HOUR if not width % HOUR else MINUTE


class _Reading:
    """Reads buckets of one width, of as many as there are on the common clock."""

    def __init__(self, database: Database, width: timedelta, granule: timedelta, first: int, count: int) -> None:
        self._database, self._width, self._granule, self._first, self.count = database, width, granule, first, count
        self._turns, self._deadline = asyncio.Semaphore(AT_ONCE), Deadline()

    async def all(self, wanted: Sequence[tuple[_Part, Selection]]) -> list[AlignedChannel]:
        return await asyncio.gather(*(self._one(part, one, it) for part, one in wanted for it in one.channels))

    async def _one(self, part: _Part, one: Selection, channel: Channel) -> AlignedChannel:
        origin = times.floor(part.since, self._granule) if self._granule else part.since
        begin, end = max(one.begin, origin + self._first * self._width), one.end
        if self._granule:  # what is left of a minute, or hour, at the edges would be read sample by sample
            begin, end = (
                times.floor(begin + self._granule - times.MICROSECOND, self._granule),
                times.floor(end, self._granule),
            )
        wish = BucketWish(Division(self._width, origin=origin), ("avg", "min", "max", "count"), empty=True)
        cells, counts = np.full((3, self.count), np.nan), np.zeros(self.count, np.int64)
        if begin < end:
            async with self._turns:
                read = replace(one, channels=(channel,), begin=begin, end=end)
                found = await telemetry_buckets.whole(self._database, read, wish, self._deadline)
            places = (found.times - times.microseconds(origin)) // (self._width // times.MICROSECOND) - self._first
            there = (places >= 0) & (places < self.count)
            for number, values in enumerate(found.cells[:3]):
                cells[number, places[there]] = values[there]
            counts[places[there]] = found.cells[3][there]
        avg, low, high = cells
        shift = part.since - origin
        return AlignedChannel(part.run, one.device.name, channel, part.since, shift, avg, low, high, counts)


async def compare(database: Database, asked: Comparison) -> AlignedRuns:
    found = await align(database, asked.runs, asked)
    return AlignedRuns(
        phase=asked.phase,
        bucket=times.duration_text(found.width),
        hours=found.hours,
        series=[series(one) for one in found.channels],
        warnings=found.warnings,
    )


def series(one: AlignedChannel) -> AlignedSeries:
    return AlignedSeries(
        run=one.run,
        device=one.device,
        channel=one.channel.name,
        unit=one.channel.unit,
        since=times.text(one.since),
        shift_s=one.shift.total_seconds(),
        values=numbers(one.values),
        low=numbers(one.low),
        high=numbers(one.high),
    )


def numbers(values: Floats) -> list[float | None]:
    """Return the values as JSON has them, null for NaN."""
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124


def only(found: AlignedChannels, names: Sequence[str]) -> AlignedChannels:
    """Return what was found of these runs, on the clock of all."""
    return replace(found, channels=[one for one in found.channels if one.run in names])
