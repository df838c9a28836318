"""Figures of a run: statistics of its phases, plan beside what was, and phases that its data propose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from api.database import Database
from api.problems import BadParameter, NotFound
from api.queries import run_alignment, runs, selection, telemetry_buckets
from api.queries.deadline import Deadline
from api.queries.runs import StoredRun
from api.queries.selection import Selection
from api.queries.telemetry_buckets import BucketWish, unit
from api.series import detection
from api.series.grid import Division
from api.series.phases import RunPhase, merged
from api.series.samples import Floats, Ints
from api.shapes.run_comparison import PhaseStatistics, ProposedPhases, RunStatistics, StatisticsParameters
from api.shapes.run_plans import PlanAgainstActual, PlannedProfile, RunPlanAnswer
from api.shapes.selection import SelectionParameters
from schema import times
from schema.times import Span

NAMES = ("avg", "twa", "min", "max", "stddev", "integral", "count", "percent_good")
HOUR = timedelta(hours=1)
MOST_BUCKETS = 2_000
TOLD_BY = ("*_setpoint", "*_rate")
"""The channels whose changes propose phases, where a device has them."""


async def statistics(database: Database, name: str, asked: StatisticsParameters) -> RunStatistics:
    """Return figures of the whole run and of each of its phases. Raises NotFound, Conflict and TooLong."""
    run = await runs.stored(database, name)
    question = _question(run, asked.channel, asked.unit)
    how = {"corrections": asked.corrections, "as_of": asked.as_of}
    selected = await selection.resolve(database, question.model_copy(update=how))
    whole = RunPhase("", run.span().begin, run.row["ends"], "person")
    deadline, found = Deadline(), []
    for phase in (whole, *run.phases):
        for one in selected.selections:
            found += await _figures(database, phase, one, deadline)
    told = selected.applied, selected.corrections, selected.as_of
    return RunStatistics(name, found, *told, list(selected.warnings))


def _question(run: StoredRun, channels: Sequence[str], units: Sequence[str] = ()) -> SelectionParameters:
    if not run.devices:
        raise NotFound(f"run {run.name} has no device")
    span = run.span()
    return SelectionParameters.model_validate(
        {
            **{"device": run.devices, "channel": list(channels), "unit": list(units)},
            **{"from": times.text(span.begin), "to": times.text(span.end)},
        }
    )


async def _figures(database: Database, phase: RunPhase, wanted: Selection, deadline: Deadline) -> list[PhaseStatistics]:
    begin, end = phase.begins, min(phase.ends or wanted.end, wanted.end)
    if begin >= end:
        return []
    wish = BucketWish(Division(end - begin, origin=begin), NAMES, empty=True)
    found = await telemetry_buckets.whole(database, replace(wanted, begin=begin, end=end), wish, deadline)
    answers = []
    for number, channel in enumerate(wanted.channels):
        cells = dict(zip(NAMES, found.cells[number * len(NAMES) :], strict=False))
        plain = {name: _number(cells[name][0]) for name in NAMES if name != "count"}
        answers.append(
            PhaseStatistics(
                phase=phase.name or None,
                begins=times.text(begin),
                ends=times.optional_text(phase.ends),
                hours=round((end - begin) / HOUR, 6),
                device=wanted.device.name,
                channel=channel.name,
                unit=channel.unit,
                integral_unit=unit(channel, "integral"),
                count=int(cells["count"][0]),
                **plain,
            )
        )
    return answers


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# -- plan


async def plan(database: Database, name: str) -> RunPlanAnswer:
    """Return how each planned profile compares with what was, phase by phase."""
    run = await runs.stored(database, name)
    span = run.span()
    text = times.fitting_bucket(span.begin, span.end, MOST_BUCKETS) or "52w"
    width, deadline = times.parse_duration(text), Deadline()
    found: list[PlanAgainstActual] = []
    warnings: list[str] = []
    for profile in run.profiles:
        try:
            selected = await selection.resolve(database, _question(run, [profile.channel]))
        except BadParameter as error:  # the other profiles are compared all the same
            warnings.append(error.detail)
            continue
        for one in selected.selections:
            wish = BucketWish(Division(width, origin=span.begin), ("avg",))
            rows = await telemetry_buckets.whole(database, one, wish, deadline)
            middles = rows.times + (width // times.MICROSECOND) // 2
            actual = rows.cells[0].astype(np.float64)
            for phase, part, begin in parts(run, profile):
                planned = planned_values(profile, begin, middles)
                inside = (middles >= times.microseconds(part.begin)) & (middles < times.microseconds(part.end))
                found.append(_against(one, phase, middles, np.where(inside, planned, np.nan), actual))
    return RunPlanAnswer(name, text, found, warnings)


def parts(run: StoredRun, profile: PlannedProfile) -> Iterator[tuple[str | None, Span, datetime]]:
    """Yield the phases in which a profile counts, with their time and with the begin of its hours: its own phase, or
    without one all of them, from the start of the run."""
    span = run.span()
    named = [one for one in run.phases if profile.phase in (None, one.name)]
    for one in named:
        begin = span.begin if profile.phase is None else one.begins
        yield one.name, Span(one.begins, one.ends or span.end), begin
    if not named and profile.phase is None:
        yield None, span, span.begin


def planned_values(profile: PlannedProfile, begin: datetime, instants: Ints) -> Floats:
    """Return what was planned at these instants (µs since 1970), if hour 0 is at `begin`; NaN before the first
    point."""
    hours = (instants - times.microseconds(begin)) / (HOUR / times.MICROSECOND)
    at = np.array([one.hours for one in profile.points])
    values = np.array([one.value for one in profile.points])
    found = np.interp(hours, at, values) if profile.kind == "ramp" else values[np.searchsorted(at, hours, "right") - 1]
    return np.where(hours < at[0], np.nan, found)


def _against(one: Selection, phase: str | None, instants: Ints, planned: Floats, actual: Floats) -> PlanAgainstActual:
    both = ~(np.isnan(planned) | np.isnan(actual))
    distance = (actual - planned)[both]
    worst = int(np.argmax(np.abs(distance))) if len(distance) else None
    [channel] = one.channels
    return PlanAgainstActual(
        channel=channel.name,
        unit=channel.unit,
        device=one.device.name,
        phase=phase,
        planned=_mean(planned[~np.isnan(planned)]),
        actual=_mean(actual[both]),
        deviation=_mean(distance),
        largest=None if worst is None else round(float(distance[worst]), 9),
        largest_at=None if worst is None else times.text(times.from_microseconds(int(instants[both][worst]))),
    )


def _mean(values: Floats) -> float | None:
    return round(float(values.mean()), 9) if len(values) else None


# -- phases that data propose


async def proposals(database: Database, name: str) -> ProposedPhases:
    """Return the phases that events of the devices tell, else those that their setpoints and rates do."""
    run = await runs.stored(database, name)
    told = [one for one in run.phases if not one.is_confirmed]
    if told or any(one.origin == "event" for one in run.phases):
        return ProposedPhases(name, "event", [runs.phase_answer(one) for one in told])
    confirmed = await runs.confirmed(database, run.run_id)
    found = merged(confirmed, await by_data(database, run), run.row["ends"])
    return ProposedPhases(name, "data", [runs.phase_answer(one) for one in found if not one.is_confirmed])


async def by_data(database: Database, run: StoredRun) -> list[RunPhase]:
    """Return the phases that changes of setpoints and rates tell, the first of them from the start of the run."""
    span = run.span()
    text = times.fitting_bucket(span.begin, span.end, MOST_BUCKETS // 4) or "52w"
    width, deadline = times.parse_duration(text), Deadline()
    selected = await selection.resolve(database, _question(run, []))
    width = max(width, await run_alignment.sample_width(database, selected.selections))
    changes: list[detection.LevelChange] = []
    for one in selected.selections:
        channels = tuple(it for it in selection.matching(one.channels, TOLD_BY) if it.computed is None)
        wish = BucketWish(Division(width, origin=span.begin), ("avg",), empty=True)
        rows = await telemetry_buckets.whole(database, replace(one, channels=channels), wish, deadline)
        for channel, levels in zip(channels, rows.cells, strict=True):
            changes += detection.changes(channel.name, levels.astype(np.float64))
    groups = detection.joined(changes)
    edges = [span.begin, *(span.begin + group[0].bucket * width for group in groups)]
    names = ["start", *(group[0].name for group in groups)]
    words = ["before the first change", *("; ".join(one.words for one in group) for group in groups)]
    ends = [*(end for _, end in pairwise(edges)), run.row["ends"]]
    return [
        RunPhase(name, begins, end, "data", evidence=evidence)
        for name, begins, end, evidence in zip(names, edges, ends, words, strict=True)
        if end is None or begins < end
    ]
