"""Curves of runs on one clock, as runs.js draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from api.database import Database
from api.http.plain_words import channel as named
from api.queries import devices, run_alignment, run_statistics
from api.queries.plant import MAIN
from api.queries.run_alignment import HOUR, AlignedChannel, AlignedChannels, numbers
from api.queries.runs import StoredRun
from api.series.gaps import in_gaps
from api.shapes.run_comparison import ChannelEnvelope, Comparison
from schema import times

FIRST_CHANNELS, MOST_POINTS, MOST_GAPS = 4, 1000, 20


class Gap(NamedTuple):
    """Hours of a run without a sample of any channel that is shown."""

    begin: float
    end: float


class RunChart(NamedTuple):
    """What runs.js draws, and what the page says beside it."""

    facts: dict[str, Any]
    lines: list[list[str]]
    """the names of the lines of each chart"""
    gaps: list[Gap]
    more: int
    """gaps beyond those"""


async def channels_of(database: Database, names: Sequence[str]) -> list[str]:
    """Return what can be shown of devices: the main channels first."""
    found = await devices.many(database, list(names))
    known = {one.name: one.terms.kind for device in found for one in device.channels}
    return [*(one for one in MAIN if one in known), *(one for one in known if one not in MAIN)]


async def run_chart(database: Database, run: StoredRun) -> RunChart | None:
    """Return the curves of a run; None without a device that has sent something."""
    shown = (await channels_of(database, run.devices))[:FIRST_CHANNELS] if run.devices else []
    if not shown:
        return None
    asked = Comparison(runs=[run.name], channel=shown, max_points=MOST_POINTS)
    found = await run_alignment.align(database, asked.runs, asked)
    begins = run.span().begin
    phases = [[one.name, (one.begins - begins) / HOUR] for one in run.phases]
    several = len(run.devices) > 1
    chart = drawn(found, {}, phases, lambda one: one.device if several else "")
    for one, values in zip(chart.facts["charts"], planned(run, found).values(), strict=True):
        one["plan"] = values
    return chart


def planned(run: StoredRun, found: AlignedChannels) -> dict[str, list[float | None]]:
    """Return what was planned of each channel, at the middles of the buckets; empty without a plan."""
    plans = run.profiles
    instants = times.microseconds(run.span().begin) + np.array(
        [round((hour * HOUR + found.width / 2) / times.MICROSECOND) for hour in found.hours], np.int64
    )
    result: dict[str, list[float | None]] = {}
    for channel in dict.fromkeys(one.channel.name for one in found.channels):
        values = np.full(len(instants), np.nan)
        for profile in plans:
            for _, part, begin in run_statistics.parts(run, profile) if profile.channel == channel else ():
                inside = (instants >= times.microseconds(part.begin)) & (instants < times.microseconds(part.end))
                values = np.where(inside, run_statistics.planned_values(profile, begin, instants), values)
        result[channel] = [] if np.isnan(values).all() else numbers(values)
    return result


def drawn(found: AlignedChannels, bands: dict[str, ChannelEnvelope], phases: list[list[Any]], name: Any) -> RunChart:
    """Return a chart for each channel, with a line for each run and device, and the band that a channel has."""
    by_channel: dict[str, list[AlignedChannel]] = {}
    for one in found.channels:
        by_channel.setdefault(one.channel.name, []).append(one)
    charts = []
    for channel, lines in by_channel.items():
        band = bands.get(channel)
        charts.append(
            {
                "title": named(channel, lines[0].channel.terms.title),
                "unit": lines[0].channel.unit,
                "step": lines[0].channel.step,
                "plan": [],
                "lines": [_line(one) for one in lines],
                "band": None if band is None else [band.low, band.high],
            }
        )
    facts = {"hours": found.hours, "phases": phases, "charts": charts}
    names = [[name(one) for one in lines] for lines in by_channel.values()]
    gaps = list(_gaps(found))
    return RunChart(facts, names, gaps[:MOST_GAPS], len(gaps[MOST_GAPS:]))


def _line(one: AlignedChannel) -> list[float | Literal[False] | None]:
    """Return the values of a line; None: it breaks off there, False: it goes straight on to the next value."""
    empty, gap = np.isnan(one.values).tolist(), in_gaps(one.counts).tolist()
    values = numbers(one.values)
    return [False if empty[n] and not gap[n] else value for n, value in enumerate(values)]


def _gaps(found: AlignedChannels) -> Iterable[Gap]:
    """Yield times that are a gap of all channels together."""
    if not found.channels:
        return
    missing = in_gaps(np.max([one.counts for one in found.channels], axis=0))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    width = found.width / HOUR
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        yield Gap(round((found.first + int(begin)) * width, 3), round((found.first + int(end)) * width, 3))
