"""Values at given times, and the samples on both sides of a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from api.database import Database
from api.queries import load, samples
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series.samples import Samples
from api.series.shown import ShownUnit
from schema import times

SQL = load("telemetry_at")
FIRST_REACH, WIDER = timedelta(minutes=5), 12
"""How far around an instant what is made of frames is looked for first, and how many times as far then."""
Side: TypeAlias = Literal["before", "after"]
Method: TypeAlias = Literal["last", "linear"]


class Sample(NamedTuple):
    time: datetime
    value: float | None
    quality: int


class Value(NamedTuple):
    """The value of a channel at a time; a quality of None means that there is none."""

    value: float | None
    quality: int | None


NOTHING = Value(None, None)


class AtWish(NamedTuple):
    """At which instants values are wanted, how far samples may be from these, and how values are made of them."""

    instants: Sequence[datetime]
    within: timedelta
    method: Method
    deadline: Deadline | None = None
    """until when they may be read"""


async def values(database: Database, wanted: Selection, wish: AtWish) -> list[list[Value]]:
    """Return for each of the instants the value of each channel.

    `last`: of the last sample at or before the instant that is at most `within` older. `linear`: on the line from there
    to the first sample after it, at most `within` later; a step channel has the last value all the same.
    """
    columns = []
    for channel in wanted.channels:
        if wish.deadline is not None:
            wish.deadline.check()
        before = await _beside(database, "before", wanted, channel, wish)
        if wish.method == "last" or channel.step:
            columns.append([_held(before.get(n)) for n in range(len(wish.instants))])
            continue
        after = await _beside(database, "after", wanted, channel, wish)
        columns.append([_between(at, before.get(n), after.get(n)) for n, at in enumerate(wish.instants)])
    return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in wish.instants]


def _held(sample: Sample | None) -> Value:
    return NOTHING if sample is None else Value(sample.value, sample.quality)


def _between(at: datetime, before: Sample | None, after: Sample | None) -> Value:
    """Return the value on the line between two samples; its quality is the worse of theirs, as numbers go."""
    if before is not None and before.time == at:
        return _held(before)
    if before is None or after is None:
        return NOTHING
    quality = max(before.quality, after.quality)
    if before.value is None or after.value is None:
        return Value(None, quality)
    share = (at - before.time) / (after.time - before.time)
    value = before.value * (1 - share) + after.value * share
    return Value(value if math.isfinite(value) else None, quality)


async def around(
    database: Database, wanted: Selection, channel: Channel, within: timedelta
) -> tuple[Sample | None, Sample | None]:
    """Return the last sample before the time of the selection and the first one after it, at most `within` apart."""
    last = AtWish([wanted.begin - times.MICROSECOND], within, "last")
    before = await _beside(database, "before", wanted, channel, last)
    after = await _beside(database, "after", wanted, channel, AtWish([wanted.end], within, "last"))
    return before.get(0), after.get(0)


async def last_of(database: Database, wanted: Selection, channel: Channel, wish: AtWish) -> Sample | None:
    """Return the last sample of a channel at or before the only instant of the wish."""
    found = await _beside(database, "before", wanted, channel, wish)
    return found.get(0)


async def _beside(
    database: Database, side: Side, wanted: Selection, channel: Channel, wish: AtWish
) -> Mapping[int, Sample]:
    """Return the sample on that side of each instant, by the number of the instant; where there is none, none."""
    begin, end = min(wish.instants) - wish.within, max(wish.instants) + wish.within
    if replace(wanted, begin=begin, end=end + times.MICROSECOND).is_by_frames(channel):
        return await _beside_by_frames(database, side, wanted, channel, wish)
    if not channel.slots:
        return {}
    rows = await database.fetch(
        SQL[side],
        wanted.device.device_id,
        wish.instants,
        list(channel.slots),
        list(channel.slots.values()),
        wish.within,
        wanted.everything,
        begin,
        end,
    )
    found = {n - 1: Sample(time, value, quality) for n, time, value, quality in rows}
    return found if channel.shown is None else dict(_in_unit(found, channel.shown))


async def _beside_by_frames(
    database: Database, side: Side, wanted: Selection, channel: Channel, wish: AtWish
) -> Mapping[int, Sample]:
    """Read the samples around the instants: a short time first, and more only for those where that has none."""
    found: dict[int, Sample] = {}
    reach = min(wish.within, FIRST_REACH)
    while True:
        left = sorted((at, number) for number, at in enumerate(wish.instants) if number not in found)
        for some in _near(left, reach):
            begin, end = some[0][0], some[-1][0] + times.MICROSECOND
            span = (begin - reach, end) if side == "before" else (begin, end + reach)
            read = replace(wanted, begin=span[0], end=span[1])
            pages = [page async for page in samples.pages(database, read, channel, wish.deadline)]
            found |= _picked(side, some, reach, pages)
        if reach >= wish.within or len(found) == len(wish.instants):
            return found
        reach = min(wish.within, reach * WIDER)


def _near(instants: Sequence[tuple[datetime, int]], reach: timedelta) -> Iterator[list[tuple[datetime, int]]]:
    """Yield the instants in groups; those of a group are read at once."""
    group: list[tuple[datetime, int]] = []
    for one in instants:
        if group and one[0] - group[-1][0] > 2 * reach:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _picked(
    side: Side, some: Sequence[tuple[datetime, int]], reach: timedelta, pages: Sequence[Samples]
) -> Iterator[tuple[int, Sample]]:
    if not pages:
        return
    whole = pages[0]
    for page in pages[1:]:
        whole = whole.followed_by(page)
    for at, number in some:
        moment, far = times.microseconds(at), reach // times.MICROSECOND
        place = int(np.searchsorted(whole.times, moment, "right" if side == "before" else "left"))
        place -= side == "before"
        if 0 <= place < len(whole.times) and abs(int(whole.times[place]) - moment) <= far:
            value = float(whole.values[place])
            time = times.from_microseconds(int(whole.times[place]))
            yield number, Sample(time, value if math.isfinite(value) else None, int(whole.qualities[place]))


def _in_unit(found: Mapping[int, Sample], shown: ShownUnit) -> Iterator[tuple[int, Sample]]:
    """Yield the samples that are of a column, in its unit."""
    for number, sample in found.items():
        time = times.microseconds(sample.time)
        if shown.has(time):
            yield number, sample._replace(value=shown.value(time, sample.value))
