"""The newest values of computed channels, and of those that are corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from api.database import Database
from api.queries import devices, telemetry_at
from api.queries.computed import with_computed
from api.queries.deadline import Deadline
from api.queries.latest import WantedLatest
from api.queries.selection import Selection
from api.shapes.latest import DeviceLatest, Latest
from schema import times


async def values(
    database: Database, wanted: Selection, newest: str | None, within: timedelta, deadline: Deadline
) -> list[Latest]:
    """Return the newest sample of each computed channel, in the unit of its formula, and of each that is corrected, at
    most `within` older than the device's newest frame."""
    found = []
    for channel in wanted.channels:
        if channel.computed is not None or (wanted.corrected and channel.corrected is not None):
            plain = channel if channel.computed is None else replace(channel, shown=None)
            sample = None
            if newest is not None:
                wish = telemetry_at.AtWish([times.parse_instant(newest)], within, "last", deadline)
                sample = await telemetry_at.last_of(database, wanted, plain, wish)
            said = () if sample is None else (sample.value, sample.quality, times.text(sample.time))
            found.append(Latest(channel.name, plain.unit, *said))
    return found


async def add_named(database: Database, items: Sequence[DeviceLatest], asked: WantedLatest, deadline: Deadline) -> None:
    """Add to each device the newest samples of the computed channels that were asked for by name: of those that a
    device sends none is looked for. Raises TooLong."""
    lacking = [one for one in items if asked.channels and asked.channels - {it.channel for it in one.values}]
    if not lacking:
        return
    known = await devices.many(database, [one.device for one in lacking])
    found = await with_computed(database, known)
    channels = {one.name: one for one in found.devices}
    for item in lacking:
        of = channels[item.device]
        names = tuple(one for one in of.channels if one.computed is not None and one.name in (asked.channels or ()))
        wanted = Selection(
            of, names, times.FIRST, times.LAST, asked.everything, corrected=False
        )  # as all of the answer
        item.values.extend(await values(database, wanted, item.time, asked.within, deadline))
