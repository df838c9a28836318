"""Raw samples of several devices, device by device, in pages that begin after a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from api.database import Database
from api.queries import telemetry, telemetry_at
from api.queries.deadline import Deadline
from api.queries.selection import Selection
from api.queries.telemetry_at import Sample
from api.shapes.telemetry import Original

BEFORE_ALL = 0
"""A layout_id less than any: the page begins with the first frame of the instant."""


class Position(NamedTuple):
    """The row after which a page begins."""

    device: str
    time: datetime
    layout_id: int


class DeviceRow(NamedTuple):
    """One frame of a device: a value and a quality for each channel of its selection; a quality of None: not sent."""

    number: int
    """of the selection"""
    device: str
    time: datetime
    layout_id: int
    values: Sequence[float | None]
    qualities: Sequence[int | None]
    originals: Sequence[Original | None] | None = None
    """What was sent where samples are corrected; None: nothing is, or the row is outside the time."""


class RawWish(NamedTuple):
    """How many rows are wanted, how far around the time for a sample of each channel (None: not at all), and until when
    they must have been read."""

    limit: int
    within: timedelta | None = None
    deadline: Deadline | None = None


async def page(
    database: Database, selections: Sequence[Selection], after: Position | None, wish: RawWish
) -> tuple[list[DeviceRow], Position | None]:
    """Return at most `limit` rows after a position, and the position after which the next page begins, if there is one.

    With `within`, the rows of each device also have the samples around its time; these do not count against the limit.
    Raises TooLong.
    """
    rows: list[DeviceRow] = []
    for number, one in enumerate(selections):
        name = one.device.name
        if after is not None and name < after.device:
            continue
        begins = after is None or name > after.device
        key = (one.begin, BEFORE_ALL) if after is None or begins else (after.time, after.layout_id)
        if wish.deadline is not None:
            wish.deadline.check()
        left = wish.limit - sum(row.layout_id != BEFORE_ALL for row in rows)
        rows_found = await telemetry.raw(database, one, key, left + 1, wish.deadline)
        found = [DeviceRow(number, name, *row) for row in rows_found]
        ends = len(found) <= left
        outside: list[DeviceRow] = []
        if wish.within is not None and (begins or ends):
            outside = await outside_rows(database, number, one, wish.within)
        if begins:
            rows += [row for row in outside if row.time < one.begin]
        if not ends:
            rows += found[:left]
            return rows, _position(rows, name, key)
        rows += found
        rows += [row for row in outside if row.time >= one.end]
    return rows, None


def _position(rows: Sequence[DeviceRow], name: str, key: tuple[datetime, int]) -> Position:
    """Return the key of the newest row of this device, or that after which its rows begin."""
    if rows and rows[-1].device == name and rows[-1].layout_id != BEFORE_ALL:
        return Position(name, rows[-1].time, rows[-1].layout_id)
    return Position(name, *key)


async def pages(database: Database, selections: Sequence[Selection], wish: RawWish) -> AsyncIterator[list[DeviceRow]]:
    """Yield all rows in pages: no connection and no snapshot is held while a slow client reads."""
    after: Position | None = None
    while True:
        rows, after = await page(database, selections, after, wish)
        yield rows
        if after is None:
            return


async def outside_rows(database: Database, number: int, wanted: Selection, within: timedelta) -> list[DeviceRow]:
    """Return rows, in the order of time, with the sample of each channel before the time and the one after it."""
    found: dict[datetime, dict[int, Sample]] = {}
    for place, channel in enumerate(wanted.channels):
        for sample in await telemetry_at.around(database, wanted, channel, within):
            if sample is not None:
                found.setdefault(sample.time, {})[place] = sample
    return [_row(number, wanted, time, found[time]) for time in sorted(found)]


def _row(number: int, wanted: Selection, time: datetime, samples: dict[int, Sample]) -> DeviceRow:
    some = [samples.get(place) for place in range(len(wanted.channels))]
    return DeviceRow(
        number,
        wanted.device.name,
        time,
        BEFORE_ALL,
        [None if one is None else one.value for one in some],
        [None if one is None else one.quality for one in some],
    )
