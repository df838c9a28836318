"""Evaluates a rule over the stored frames of devices, one after the other, with memory for some thousand frames."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from api.database import Connection, Database
from api.jobs.job import Job, Looked, Period
from api.problems import NotFound
from api.queries import load
from schema import times
from schema.alarms import history
from schema.alarms.phases import ConfirmedPhase, PhaseSince, changes
from schema.alarms.rules import Rule
from schema.alarms.stored import sent
from schema.alarms.timeline import CommittedFrame

SQL = load("alarm_trials")
DEVICE_ID = load("devices")["id"]
"""Not by `api.queries.devices`: with the shapes of its answers comes FastAPI, 0.2 s of each trial's start."""
AT_A_TIME = 2000
"""Frames that are read at a time; after each reading the clock is looked at."""
MOST_PERIODS = 1000
"""Periods with which a trial stops."""
MOST_PHASES = 10_000
PHASE_BEFORE = timedelta(days=92)
"""How far before the begin the phase that held at the begin is looked for."""

Slots = dict[int, list[tuple[int, str]]]
"""Layout id → the channels that the rule reads, as (slot from 0, name)."""
Phases = list[PhaseSince]


@dataclass(frozen=True, slots=True)
class Share:
    """The deadline and the number of periods that the evaluation of one device may use."""

    deadline: float
    periods: int


async def evaluate(database: Database, job: Job, now: datetime) -> AsyncIterator[Looked]:
    """Yield what is found of each device, one after the other. Each may take its share of the time that is left."""
    rule = Rule.model_validate_json(job.rule)
    begin, end = times.from_microseconds(job.begin), min(times.from_microseconds(job.end), now)
    left, deadline = MOST_PERIODS, time.monotonic() + job.seconds
    for place, name in enumerate(job.devices):
        now_s = time.monotonic()
        share = Share(now_s + max(deadline - now_s, 0) / (len(job.devices) - place), left)
        looked = await _device(database, rule, name, (begin, max(begin, end)), share)
        left -= len(looked.periods)
        yield looked


async def _device(database: Database, rule: Rule, name: str, span: tuple[datetime, datetime], share: Share) -> Looked:
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(DEVICE_ID, name)
        if row is None:  # it was there a moment ago
            raise NotFound(f"no device {name} is registered")
        number = row["device_id"]
        slots = await _slots(connection, number, rule)
        phases, too_many = await _phases(connection, number, span) if rule.scope.phases else ([], False)
        run = TrialRun(rule, phases, span[0].timestamp())
        cursor = await connection.cursor(SQL["frames" if rule.channels else "bare_frames"], number, *span)
        whole = False
        while len(run.periods) < share.periods and not whole:
            rows = await cursor.fetch(AT_A_TIME)
            run.take(_frames(rows, slots), share.periods)
            whole = len(rows) < AT_A_TIME and len(run.periods) < share.periods
            if time.monotonic() >= share.deadline:
                break
        run.end(span[1].timestamp() if whole else run.until)
    return Looked(name, run.frames, run.until, whole, too_many, run.found())


async def _slots(connection: Connection, device_id: int, rule: Rule) -> Slots:
    slots: Slots = defaultdict(list)
    for row in await connection.fetch(SQL["layouts"], device_id, list(rule.channels)):
        slots[row["layout_id"]].append((row["ordinal"] - 1, row["name"]))
    return slots


async def _phases(connection: Connection, device_id: int, span: tuple[datetime, datetime]) -> tuple[Phases, bool]:
    """Return the phases in force in the span, as they are known now, and whether the device told too many. The one that
    held at the begin comes first, with the time of the begin."""
    rows = await connection.fetch(SQL["phases"], device_id, *span, MOST_PHASES, span[0] - PHASE_BEFORE)
    told = [PhaseSince(row["time"].timestamp(), row["phase"]) for row in rows]
    confirmed = []
    for name, begins, ends, is_open in await connection.fetch(SQL["confirmed_phases"], device_id, *span):
        begin, end = begins.timestamp(), None if ends is None else ends.timestamp()
        confirmed.append(ConfirmedPhase(name, begin, end, is_open, confirmed_at=begin))
    return list(changes(confirmed, told, *(edge.timestamp() for edge in span))), len(rows) > MOST_PHASES


def _frames(rows: Sequence[asyncpg.Record], slots: Slots) -> Iterator[CommittedFrame]:
    for row in rows:
        at, received, boot, seq, *content = row
        values = []
        if content:
            layout, *stored = content
            values = sent(slots.get(layout, ()), *stored)
        yield CommittedFrame(at.timestamp(), received.timestamp(), boot, seq, values)


class TrialRun:
    """The evaluation of one device. Everything before `until` was evaluated."""

    def __init__(self, rule: Rule, phases: Phases, begin: float) -> None:
        self._run = history.DryRun([rule.model_copy(update={"enabled": True})])
        self._phases = deque(phases)
        self.periods: list[history.StatePeriod] = []
        self.frames, self.until = 0, begin

    def take(self, frames: Iterator[CommittedFrame], most: int) -> None:
        """Evaluate more frames, until there are `most` periods."""
        for frame in frames:
            self._phases_until(frame.time)
            self.periods += self._run.frame(frame)
            self.frames += 1
            self.until = frame.time
            if len(self.periods) >= most:
                return

    def end(self, until: float) -> None:
        """End the evaluation at this time; periods that are open then stay open."""
        self._phases_until(until)
        self.periods += self._run.end(until)
        self.until = until

    def found(self) -> list[Period]:
        ordered = sorted(self.periods, key=lambda period: period.begin)
        return [Period(one.what, one.begin, one.end, one.value, one.detail) for one in ordered]

    def _phases_until(self, moment: float) -> None:
        while self._phases and self._phases[0][0] <= moment:
            self.periods += self._run.phase(*self._phases.popleft())
