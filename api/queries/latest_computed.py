"""The newest values of computed channels."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from api.database import Database
from api.queries import telemetry_at
from api.queries.deadline import Deadline
from api.queries.selection import Selection
from api.shapes.latest import Latest
from schema import times


async def values(
    database: Database, wanted: Selection, newest: str | None, within: timedelta, deadline: Deadline
) -> list[Latest]:
    """Return the newest sample of each computed channel, in the unit of its formula, at most `within` older than the
    device's newest frame."""
    found = []
    for channel in wanted.channels:
        if channel.computed is not None:
            plain = replace(channel, shown=None)
            sample = None
            if newest is not None:
                wish = telemetry_at.AtWish([times.parse_instant(newest)], within, "last", deadline)
                sample = await telemetry_at.last_of(database, wanted, plain, wish)
            said = () if sample is None else (sample.value, sample.quality, times.text(sample.time))
            found.append(Latest(channel.name, plain.unit, *said))
    return found
