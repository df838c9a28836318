"""The buckets of a time: of a fixed width, of calendar days, weeks or months in a zone, or pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

import numpy as np

from api.series.samples import Ints
from schema import times

CalendarUnit: TypeAlias = Literal["day", "week", "month"]
UNITS = get_args(CalendarUnit)
DAY = timedelta(days=1)
LAST_OF_ALL_MONTHS = 28
LENGTHS: Mapping[CalendarUnit, timedelta] = {"day": DAY, "week": 7 * DAY, "month": LAST_OF_ALL_MONTHS * DAY}
UTC_ZONE = ZoneInfo("UTC")
MONTH_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets that follow each other: bucket k is [edges[k], edges[k + 1]); the first holds the begin of the time, the
    last its end."""

    edges: Ints
    """µs since 1970, in ascending order, one more than there are buckets"""

    @property
    def count(self) -> int:
        return max(0, len(self.edges) - 1)

    def within(self, begin: datetime, end: datetime) -> Ints:
        """Return the edges with the first and the last moved to the begin and the end of the time."""
        edges = self.edges.copy()
        if len(edges):
            edges[0] = max(edges[0], times.microseconds(begin))
            edges[-1] = min(edges[-1], times.microseconds(end))
        return edges


@dataclass(frozen=True, slots=True)
class Division:
    """How a time is divided into buckets."""

    width: timedelta | CalendarUnit
    zone: ZoneInfo = UTC_ZONE
    """whose calendar days, weeks and months follow"""
    origin: datetime | None = None
    """where a bucket begins, instead of a round time"""

    def grid(self, begin: datetime, end: datetime) -> Grid:
        """Return the buckets of that time."""
        if isinstance(self.width, timedelta):
            return fixed(begin, end, self.width, self.origin or times.ORIGIN)
        return calendar(begin, end, self.width, self.zone, self.origin)

    def count(self, begin: datetime, end: datetime) -> int:
        """Return how many buckets that time has; of those that follow a calendar, nearly."""
        shift = timedelta(0) if self.origin is None else self.origin - times.ORIGIN
        return times.bucket_count(begin - shift, end - shift, self.length)

    @property
    def length(self) -> timedelta:
        """The width, or the shortest that a day, week or month has."""
        return LENGTHS[self.width] if isinstance(self.width, str) else self.width

    @property
    def text(self) -> str:
        return self.width if isinstance(self.width, str) else times.duration_text(self.width)


def parse_width(given: object) -> timedelta | CalendarUnit:
    """Return the width of buckets as somebody wrote it: a duration like `10s`, or `day`, `week` or `month`."""
    if given in UNITS:
        return given  # type: ignore[return-value]
    try:
        return times.parse_duration(given)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{error}; or one of day, week, month, which follow the calendar of `tz`") from None


def fixed(begin: datetime, end: datetime, width: timedelta, origin: datetime = times.ORIGIN) -> Grid:
    """Return the buckets of that width, one of which begins at `origin`."""
    step, start = width // times.MICROSECOND, times.microseconds(origin)
    first = (times.microseconds(begin) - start) // step
    last = (times.microseconds(end) - 1 - start) // step + 1
    return Grid(np.arange(first, last + 1, dtype=np.int64) * step + start)


def calendar(
    begin: datetime, end: datetime, unit: CalendarUnit, zone: ZoneInfo, origin: datetime | None = None
) -> Grid:
    """Return days, weeks or months by the clocks of the zone; a day has 23 or 25 hours where they are changed.

    They begin at the time of the day (of weeks: and the day of the week, of months: and the day of the month, at most
    the 28th) that `origin` has there; without it at 00:00, on Mondays, on the 1st. ValueError for a later day.
    """
    local = (origin or (MONTH_ORIGIN if unit == "month" else times.ORIGIN).replace(tzinfo=zone)).astimezone(zone)
    anchor = local.replace(tzinfo=None)
    if unit == "month" and anchor.day > LAST_OF_ALL_MONTHS:
        raise ValueError(f"months begin on the {LAST_OF_ALL_MONTHS}th at the latest")
    edges: list[int] = []
    for moment in _walls(begin.astimezone(zone).replace(tzinfo=None), unit, anchor):
        instant = times.microseconds(moment.replace(tzinfo=zone).astimezone(UTC))
        if instant <= times.microseconds(begin):
            edges = [instant]
        elif instant > edges[-1]:  # a day that a zone left out has no time
            edges.append(instant)
        if instant >= times.microseconds(end):
            break
    return Grid(np.array(edges, dtype=np.int64))


def _walls(begin: datetime, unit: CalendarUnit, anchor: datetime) -> Iterator[datetime]:
    """Yield what clocks show at the edges, from two units before `begin` on."""
    if unit == "month":
        number = begin.year * 12 + begin.month - 1 - 2
        while True:
            yield anchor.replace(year=number // 12, month=number % 12 + 1)
            number += 1
    step = DAY * (7 if unit == "week" else 1)
    moment = anchor + ((begin - anchor) // step - 2) * step
    while True:
        yield moment
        moment += step


def pixels(begin: datetime, end: datetime, count: int) -> Grid:
    """Return so many buckets of equal width, to the microsecond; fewer if that is less than a microsecond each."""
    first, span = times.microseconds(begin), (end - begin) // times.MICROSECOND
    count = min(count, span)
    return Grid(first + np.arange(count + 1, dtype=np.int64) * span // count)
