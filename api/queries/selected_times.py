"""The times that a selection of samples has, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from api.queries.selection import Selected, Selection
from api.series.grid import Division
from schema import times


def edges_warnings(selected: Selected, division: Division) -> list[str]:
    """Return what to say of buckets that the time cuts."""
    begin, end = whole_range(selected)
    edges = division.grid(begin, begin + times.MICROSECOND).edges, division.grid(end - times.MICROSECOND, end).edges
    found = []
    if edges[0][0] != times.microseconds(begin):
        found.append("`from` is inside a bucket: the first bucket holds only what came from then on")
    if edges[1][-1] != times.microseconds(end):
        found.append("`to` is inside a bucket: the last bucket holds only what came before")
    return found


def until(wanted: Selection, newest: str | None, max_age: timedelta) -> Selection:
    """Return the selection with the time in which its newest samples are."""
    end = times.FIRST if newest is None else times.parse_instant(newest)
    return replace(
        wanted, begin=end - max_age if end - times.FIRST > max_age else times.FIRST, end=end + times.MICROSECOND
    )


def hours_since(since: datetime, row: Sequence[Any]) -> float:
    """Return the time of a row, which is device, time and values, in hours since then."""
    return round((datetime.fromisoformat(row[1]) - since) / timedelta(hours=1), 6)


def whole_range(selected: Selected) -> tuple[datetime, datetime]:
    """Return the time that holds those of all devices."""
    return min(one.begin for one in selected.selections), max(one.end for one in selected.selections)


def is_future(selected: Selected) -> bool:
    return whole_range(selected)[1] > datetime.now(UTC)
