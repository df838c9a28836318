"""Values at given times, and the samples on both sides of a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from api.database import Connection, Database
from api.queries import load
from api.queries.devices import Channel
from api.queries.samples import Deadline
from api.queries.selection import Selection
from api.series.shown import ShownUnit
from schema import times

SQL = load("telemetry_at")
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


async def values(database: Database, wanted: Selection, wish: AtWish, deadline: Deadline) -> list[list[Value]]:
    """Return for each of the instants the value of each channel.

    `last`: of the last sample at or before the instant that is at most `within` older. `linear`: on the line from there
    to the first sample after it, at most `within` later; a step channel has the last value all the same.
    """
    columns = []
    async with database.connection() as connection:
        for channel in wanted.channels:
            deadline.check()
            before = await _beside(connection, "before", wanted, channel, wish)
            if wish.method == "last" or channel.step:
                columns.append([_held(before.get(n)) for n in range(len(wish.instants))])
                continue
            after = await _beside(connection, "after", wanted, channel, wish)
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
    async with database.connection() as connection:
        last = AtWish([wanted.begin - times.MICROSECOND], within, "last")
        before = await _beside(connection, "before", wanted, channel, last)
        after = await _beside(connection, "after", wanted, channel, AtWish([wanted.end], within, "last"))
    return before.get(0), after.get(0)


async def _beside(
    connection: Connection, side: Side, wanted: Selection, channel: Channel, wish: AtWish
) -> Mapping[int, Sample]:
    """Return the sample on that side of each instant, by the number of the instant; where there is none, none."""
    if not channel.slots:
        return {}
    rows = await connection.fetch(
        SQL[side],
        wanted.device.device_id,
        wish.instants,
        list(channel.slots),
        list(channel.slots.values()),
        wish.within,
        wanted.everything,
        min(wish.instants) - wish.within,
        max(wish.instants) + wish.within,
    )
    found = {n - 1: Sample(time, value, quality) for n, time, value, quality in rows}
    return found if channel.shown is None else dict(_in_unit(found, channel.shown))


def _in_unit(found: Mapping[int, Sample], shown: ShownUnit) -> Iterator[tuple[int, Sample]]:
    """Yield the samples that are of a column, in its unit."""
    for number, sample in found.items():
        time = times.microseconds(sample.time)
        if shown.has(time):
            yield number, sample._replace(value=shown.value(time, sample.value))
