"""The charts of a report: every channel over the whole time, from what is stored, in as many points as can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np

from api.http.plain_words import channel as called
from api.queries import telemetry_buckets
from api.queries.deadline import Deadline
from api.queries.devices import Channel, DeviceChannels
from api.queries.samples import gap
from api.queries.selection import Selection
from api.queries.telemetry_buckets import BucketWish
from api.reports.gathering import Gathering
from api.series.grid import Division
from api.shapes.reports import MOST_CHARTS, ReportBand, ReportChart, ReportLine, ReportMark
from schema import times

POINTS = 600
"""Of a line."""
MOST_READING_S = 600.0
SETPOINT = "_setpoint"
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


async def charts(
    gathering: Gathering, wanted: Sequence[str], marks: Sequence[ReportMark], check: Callable[[], None]
) -> list[ReportChart]:
    """Return a chart for each channel, with a line for each device, and the setpoint beside its value.
    `check` is called after each channel. Raises TooLong."""
    deadline, found = Deadline(MOST_READING_S), dict[tuple[str, str | None], ReportChart]()
    bands = [ReportBand(phase.name, *map(gathering.hours, (time.begin, time.end))) for phase, time in gathering.phases]
    for device in gathering.devices:
        chosen = gathering.channels(device, wanted)
        names = {one.name for one in chosen}
        for channel in chosen:
            of = channel.name.removesuffix(SETPOINT)
            if channel.name != of and of in names:
                continue
            setpoint = next(
                (one for one in device.channels if one.name == of + SETPOINT and one.name != channel.name), None
            )
            key = channel.name, channel.unit
            if key not in found:
                if len(found) == MOST_CHARTS:
                    continue
                terms = channel.terms
                hours = gathering.hours(gathering.span.end)
                title = called(channel.name, terms.title)
                found[key] = ReportChart(title, channel.unit, terms.decimals, hours, [], bands, list(marks))
            for one in (channel, setpoint):
                if one is not None:
                    found[key].lines.append(await _line(gathering, device, one, deadline))
            check()
    return list(found.values())


async def _line(gathering: Gathering, device: DeviceChannels, channel: Channel, deadline: Deadline) -> ReportLine:
    span = gathering.span
    selection = Selection(device, (channel,), span.begin, span.end, False)
    usual = await gap(gathering.database, selection, channel)
    width = _width(span.end - span.begin)
    wish = BucketWish(Division(width), ("avg", "min", "max"))
    found = await telemetry_buckets.whole(gathering.database, selection, wish, deadline)
    begin, step = times.microseconds(span.begin), width / times.MICROSECOND
    # A point stands in the middle of its time; a line goes over times without samples that are no gap.
    hours = (found.times - begin + step / 2) / 3.6e9
    far = np.diff(found.times, prepend=found.times[:1]) > max(step, usual or 0) * 1.5
    points: list[list[float] | None] = []
    for is_far, hour, *values in zip(far, hours, *found.cells, strict=True):
        points += [None] if is_far else []
        mean, least, most = (float(value) for value in values)
        points.append([round(float(hour), 6), mean, least, most])
    return ReportLine(
        device.name,
        channel.name,
        called(channel.name, channel.terms.title),
        channel.name.endswith(SETPOINT),
        channel.step,
        points,
    )


def _width(length: timedelta) -> timedelta:
    """Return the width of POINTS buckets or fewer: seconds, minutes or hours, so that aggregates can be read."""
    unit = next((one for one in (HOUR, MINUTE) if length / POINTS > one), SECOND)
    return max(1, -(-length // (POINTS * unit))) * unit
