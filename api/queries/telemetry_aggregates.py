"""Buckets of a long time out of the database's continuous aggregates, where it has them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from api.database import Database
from api.queries import load, samples
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.series.samples import Ints, PartSums, parse_sums
from schema import times
from schema.times import Span

SQL = load("telemetry_aggregates")
LONG = timedelta(days=2)
"""From this time on the aggregates are looked at: a shorter one is read as quickly, and has what came just now."""
WIDTHS = {"hours": timedelta(hours=1), "minutes": timedelta(minutes=1)}
MOST_PARTS = 200
"""The most parts of the time that are read beside the aggregates."""


async def added_up(
    database: Database, wanted: Selection, channel: Channel, edges: Ints
) -> tuple[list[Span], PartSums | None]:
    """Return what the aggregates have of the good samples of a channel, and the times that are left to be read.

    An hour, or minute, with a sample that is not good or beyond 1e100 is left: the aggregates count those differently.
    So is one with a correction. Without aggregates, in a short time, for values that are converted, computed or of what
    was known at a time, and where the edges of the buckets are not theirs, the whole time is left.
    """
    whole = [Span(wanted.begin, wanted.end)]
    name = next((name for name, width in WIDTHS.items() if _fits(edges, width)), None)
    is_other = channel.shown or channel.computed or wanted.as_of
    if wanted.end - wanted.begin < LONG or name is None or is_other:
        return whole, None
    row = await database.fetchrow(SQL["are_there"])
    if row is None or not row["are_there"]:
        return whole, None
    width = WIDTHS[name]
    inner = _inner(wanted, width)
    if inner.begin >= inner.end:
        return whole, None
    key = wanted.device.device_id, channel.channel_id, inner.begin, inner.end
    content = await samples.copied(database, SQL[name], *key)
    found = await asyncio.to_thread(parse_sums, content)
    out = found.bad > 0
    if wanted.corrected and channel.corrected is not None:
        out |= channel.corrected.touched(found.times, width // times.MICROSECOND)
    left = [Span(wanted.begin, inner.begin), *_joined(found.times[out], width), Span(inner.end, wanted.end)]
    left = [span for span in left if span.begin < span.end]
    return (whole, None) if len(left) > MOST_PARTS else (left, found.where(~out))


def _fits(edges: Ints, width: timedelta) -> bool:
    """Whether all edges but the first and the last, which are those of the time, are round ones of that width."""
    step = width // times.MICROSECOND
    return len(edges) > 1 and bool((edges[1:-1] % step == 0).all())


def _inner(wanted: Selection, width: timedelta) -> Span:
    """Return the whole hours, or minutes, of the time."""
    return Span(times.floor(wanted.begin + width - times.MICROSECOND, width), times.floor(wanted.end, width))


def _joined(begins: Ints, width: timedelta) -> Sequence[Span]:
    """Return the times of these hours, or minutes; those that follow each other as one."""
    step = width // times.MICROSECOND
    runs = np.split(begins, np.flatnonzero(np.diff(begins) != step) + 1) if len(begins) else []
    return [Span(times.from_microseconds(int(run[0])), times.from_microseconds(int(run[-1]) + step)) for run in runs]
