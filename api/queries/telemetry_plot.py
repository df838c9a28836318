"""Samples for a chart: of each channel the points of M4, with its gaps and bad samples."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from api.database import Database
from api.queries import plot_hours, samples, telemetry_at
from api.queries.deadline import Deadline
from api.queries.devices import Channel
from api.queries.selection import Selection
from api.queries.telemetry_at import Sample
from api.queries.telemetry_buckets import texts
from api.series import grid
from api.series.plot import POINTS_OF_A_PIXEL, Plot, Points
from api.series.samples import Floats, Ints, Samples
from api.shapes.telemetry_many import Series
from schema import times

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Line:
    """What a chart shows of one channel of a device."""

    device: str
    channel: Channel
    gap: timedelta | None
    """The longest distance of two samples over which the line is drawn."""
    points: Points


@dataclass(frozen=True, slots=True)
class PlotWish:
    """What is wanted of each line."""

    most: int
    """points, beside gaps and what lies around the time"""
    gap: timedelta | None
    """the longest distance of two samples that is no gap; None: three times the usual one of the channel"""
    within: timedelta | None
    """how far before and after the time another sample is looked for; None: not at all"""


async def lines(database: Database, wanted: Selection, wish: PlotWish, deadline: Deadline) -> list[Line]:
    """Return a line for each channel. Raises TooLong."""
    edges = _edges(wanted, wish)
    together = tuple(
        one for one in wanted.channels if one.computed is None and not plot_hours.are_of_use(wanted, one, edges)
    )
    are_near = await samples.are_near(database, replace(wanted, channels=together))
    groups = [(channel,) for channel in wanted.channels if not are_near or channel not in together]
    some = [replace(wanted, channels=group) for group in [*groups, *([together] if are_near else [])]]
    found = [line for one in some for line in await _lines(database, one, wish, deadline)]
    places = {id(channel): place for place, channel in enumerate(wanted.channels)}
    return sorted(found, key=lambda line: places[id(line.channel)])


async def _lines(database: Database, wanted: Selection, wish: PlotWish, deadline: Deadline) -> list[Line]:
    """Return the lines of channels that are read together."""
    edges = _edges(wanted, wish)
    gaps = [await _gap(database, wanted, channel, wish) for channel in wanted.channels]
    plots = [Plot(edges, everything=wanted.everything, gap=gap) for gap in gaps]
    everything = replace(wanted, everything=True)
    if len(plots) == 1:
        [channel] = wanted.channels
        if plot_hours.are_of_use(wanted, channel, edges):
            found_pages = plot_hours.pages(database, wanted, channel, edges, deadline)
        else:
            found_pages = samples.pages(database, everything, channel, deadline)
        async for page in found_pages:
            await asyncio.to_thread(plots[0].add, page)
    else:
        async for pages in samples.pages_together(database, everything, deadline):
            await asyncio.to_thread(_add, plots, pages)
    found = []
    for channel, plot, gap in zip(wanted.channels, plots, gaps, strict=True):
        points = plot.results()
        if wish.within is not None:
            points = _extended(points, await telemetry_at.around(database, wanted, channel, wish.within), gap)
        found.append(Line(wanted.device.name, channel, None if gap is None else gap * times.MICROSECOND, points))
    return found


def _edges(wanted: Selection, wish: PlotWish) -> Ints:
    return grid.pixels(wanted.begin, wanted.end, max(1, wish.most // POINTS_OF_A_PIXEL)).edges


async def _gap(database: Database, wanted: Selection, channel: Channel, wish: PlotWish) -> int | None:
    return await samples.gap(database, wanted, channel) if wish.gap is None else wish.gap // times.MICROSECOND


def _add(plots: Sequence[Plot], pages: Sequence[Samples]) -> None:
    for plot, page in zip(plots, pages, strict=True):
        plot.add(page)


def _extended(points: Points, around: tuple[Sample | None, Sample | None], gap: int | None) -> Points:
    """Return the points with the samples before and after them; a gap between them is one, too."""
    before, after = (_point(sample) for sample in around)
    parts = [before, (points.times, points.values), after]
    found_times, found_values = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    far = np.flatnonzero(np.diff(found_times) > gap) if gap is not None else np.empty(0, np.int64)
    far = far[np.isfinite(found_values[far]) & np.isfinite(found_values[far + 1])]
    far = far[(far < len(before[0])) | (far + 1 >= len(found_times) - len(after[0]))]
    middles = found_times[far] + (found_times[far + 1] - found_times[far]) // 2
    return Points(np.insert(found_times, far + 1, middles), np.insert(found_values, far + 1, np.nan), points.bad)


def _point(sample: Sample | None) -> tuple[Ints, Floats]:
    if sample is None or sample.value is None:
        return np.empty(0, np.int64), np.empty(0)
    return np.array([times.microseconds(sample.time)]), np.array([sample.value])


def gap_text(gap: timedelta) -> str:
    """Return a gap as a duration, rounded up to whole milliseconds."""
    return times.duration_text(-(-gap // MILLISECOND) * MILLISECOND)


def series(line: Line) -> Series:
    """Return a line as the answer has it."""
    points, bad = line.points, line.points.bad
    return Series(
        device=line.device,
        channel=line.channel.name,
        unit=line.channel.unit,
        step=line.channel.step,
        computed=line.channel.computed is not None,
        gap=None if line.gap is None else gap_text(line.gap),
        points=[list(point) for point in zip(texts(points.times), points.values.tolist(), strict=True)],
        bad=[list(one) for one in zip(texts(bad.times), bad.qualities.tolist(), bad.values.tolist(), strict=True)],
    )


def long_rows(lines: Sequence[Line]) -> Iterator[list[Any]]:
    """Yield points and bad samples of each line, for CSV."""
    for line in lines:
        points, bad = line.points, line.points.bad
        head = [line.device, line.channel.name, line.channel.unit]
        for time, value in zip(texts(points.times), points.values.tolist(), strict=True):
            yield [*head, time, value, None]
        for time, value, quality in zip(texts(bad.times), bad.values.tolist(), bad.qualities.tolist(), strict=True):
            yield [*head, time, value, quality]
