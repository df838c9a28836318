"""SQL for runs: their facts, devices, phases and states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
from pydantic import TypeAdapter, ValidationError

from api.database import Database
from api.http.description import raw
from api.problems import BadParameter, Conflict, NotFound
from api.queries import load
from api.series import phases as series
from api.series.phases import RunPhase
from api.shapes.run_plans import Plan, PlannedProfile
from api.shapes.runs import (
    GivenPhases,
    NewRun,
    RunAnswer,
    RunChange,
    RunDetail,
    RunListParameters,
    RunPhaseAnswer,
    RunPhases,
    RunProposal,
    RunStateAnswer,
    RunStep,
)
from schema import times
from schema.times import Span

SQL = load("runs")
LAST_ID = 2**63 - 1
MOST_EVENTS = 1000
"""Events of phases that are looked at for a run."""
HOUR = timedelta(hours=1)
PLAN = TypeAdapter[list[PlannedProfile]](Plan)
PROPOSED_FOR, MOST_PROPOSED = timedelta(days=30), 100
"""How long a run that a device has told of is proposed, and how many are at most."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run, and what is looked up by it."""

    row: Mapping[str, Any]
    phases: list[RunPhase] = field(default_factory=list)
    """confirmed ones, and proposals by events for the times between them"""

    @property
    def run_id(self) -> int:
        return int(self.row["run_id"])

    @property
    def name(self) -> str:
        return str(self.row["run"])

    @property
    def devices(self) -> list[str]:
        return list(self.row["devices"])

    @property
    def begins(self) -> datetime | None:
        return self.row["begins"]  # type: ignore[no-any-return]

    @property
    def profiles(self) -> list[PlannedProfile]:
        """What is planned; nothing where the event of a device gave what is no plan."""
        try:
            return PLAN.validate_json(self.row["plan"])
        except ValidationError:
            return []

    def span(self) -> Span:
        """Return its time, up to now while it lasts. Raises Conflict for a run that has not started."""
        if self.begins is None:
            raise Conflict(f"run {self.name} has not started")
        return Span(self.begins, self.row["ends"] or max(now(), self.begins + times.MICROSECOND))

    def span_of(self, phase: str | None) -> Span:
        """Return the time of the newest phase of that name, or of the whole run. Raises NotFound and Conflict."""
        span = self.span()
        if phase is None:
            return span
        found = [one for one in self.phases if one.name == phase]
        if not found:
            known = ", ".join(dict.fromkeys(one.name for one in self.phases)) or "none"
            raise NotFound(f"run {self.name} has no phase {phase}; it has {known}")
        return Span(found[-1].begins, found[-1].ends or max(span.end, found[-1].begins + times.MICROSECOND))


def now() -> datetime:
    return datetime.now(UTC)


async def page(database: Database, asked: RunListParameters, before: Sequence[Any], limit: int) -> list[asyncpg.Record]:
    """Return runs after the key `before` (sorted_at, run_id), newest first."""
    words = asked.q and "%" + asked.q.lower().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    filters = asked.state or None, asked.device, asked.material, asked.strain, words
    return await database.fetch_planned(SQL["page"], *before, limit, *filters)


def item(row: Mapping[str, Any]) -> RunAnswer:
    return RunAnswer.of(row, hours=_hours(row["begins"], row["ends"]))


async def stored(database: Database, name: str) -> StoredRun:
    """Return a run with its phases. Raises NotFound, which names runs that are called alike."""
    row = await database.fetchrow(SQL["one"], name)
    if row is None:
        raise await _unknown(database, name)
    return StoredRun(row, await _phases(database, row))


async def _unknown(database: Database, name: str) -> NotFound:
    near = await database.fetch(SQL["near"], f"%{name[:20].translate({37: None, 95: None, 92: None})}%")
    meant = f"did you mean {near[0]['name']}?" if near else "/api/v1/runs lists those that there are"
    return NotFound(f"there is no run {name}; {meant}")


async def detail(database: Database, name: str) -> RunDetail:
    run = await stored(database, name)
    states = [RunStateAnswer.of(row) for row in await database.fetch(SQL["states"], run.run_id)]
    planned = raw(run.row["plan"] if run.profiles else "[]")
    given = {"phases": [phase_answer(one) for one in run.phases], "states": states, "plan": planned}
    return RunDetail.of(run.row, hours=_hours(run.begins, run.row["ends"]), **given)


async def phases(database: Database, name: str) -> RunPhases:
    run = await stored(database, name)
    return RunPhases(run=name, phases=[phase_answer(one) for one in run.phases], version=run.row["version"])


def phase_answer(phase: RunPhase) -> RunPhaseAnswer:
    return RunPhaseAnswer(
        phase=phase.name,
        begins=times.text(phase.begins),
        ends=times.optional_text(phase.ends),
        hours=_hours(phase.begins, phase.ends) or 0.0,
        status="confirmed" if phase.is_confirmed else "proposed",
        origin=phase.origin,
        evidence=phase.evidence,
        confirmed_by=phase.confirmed_by,
        confirmed_at=times.optional_text(phase.confirmed_at),
    )


async def confirmed(database: Database, run_id: int) -> list[RunPhase]:
    """Return the confirmed phases of a run as they are stored."""
    rows = await database.fetch(SQL["phases"], run_id)
    return [
        RunPhase(row["phase"], row["begins"], row["ends"], row["origin"], row["confirmed_by"], row["confirmed_at"])
        for row in rows
    ]


async def _phases(database: Database, row: asyncpg.Record) -> list[RunPhase]:
    """Return confirmed phases, and proposals by the events of the run's devices."""
    if row["begins"] is None:
        return []
    stored_ones = await confirmed(database, row["run_id"])
    span = row["device_ids"], row["begins"], row["ends"] or times.LAST
    events = await database.fetch(SQL["phase_events"], *span, MOST_EVENTS)
    told = series.by_events(((one["time"], one["phase"], one["device"]) for one in events), row["ends"])
    return series.merged(stored_ones, told, row["ends"])


def _hours(begins: datetime | None, ends: datetime | None) -> float | None:
    return None if begins is None else round(((ends or now()) - begins) / HOUR, 4)


async def of_device(database: Database, device: str) -> StoredRun | None:
    """Return the run that a device is in now."""
    rows = await database.fetch(SQL["of_devices"], [device], now())
    return await stored(database, rows[0]["run"]) if rows else None


async def proposed(database: Database, begin: datetime | None = None) -> list[RunProposal]:
    """Return the runs that devices say have begun since then, or in the last days, and that nobody has made."""
    rows = await database.fetch(SQL["proposed"], begin or now() - PROPOSED_FOR, MOST_PROPOSED)
    return [RunProposal.of(row) for row in rows]


# -- changes


async def create(database: Database, given: NewRun, who: str) -> RunDetail:
    facts = json.dumps(given.facts())
    devices = list(dict.fromkeys(given.devices))
    await database.execute(SQL["create"], given.run, devices, given.begins, facts, who, given.why)
    return await detail(database, given.run)


async def change(database: Database, name: str, given: RunChange, version: int | None, who: str) -> RunDetail:
    devices = None if given.devices is None else list(dict.fromkeys(given.devices))
    await database.execute(SQL["change"], name, devices, json.dumps(given.facts()), version, who, given.why)
    return await detail(database, name)


async def step(database: Database, name: str, given: RunStep, version: int | None, who: str) -> RunDetail:
    await database.execute(SQL["step"], name, given.state, given.at, version, who, given.why)
    return await detail(database, name)


async def put_phases(database: Database, name: str, given: GivenPhases, version: int | None, who: str) -> RunPhases:
    """Make these the phases of a run. One without an end ends where the next one begins."""
    said = sorted(given.phases, key=lambda one: one.begins)
    ends = [one.ends or following.begins for one, following in pairwise(said)] + [one.ends for one in said[-1:]]
    if any(end is not None and end <= one.begins for one, end in zip(said, ends, strict=True)):
        raise BadParameter("phases", "a phase ends after it begins")
    rows = [
        {
            "name": one.phase,
            "begins": times.text(one.begins),
            "ends": times.optional_text(end),
            "origin": one.origin,
        }
        for one, end in zip(said, ends, strict=True)
    ]
    await database.execute(SQL["put_phases"], name, json.dumps(rows), version, who, given.why)
    return await phases(database, name)
