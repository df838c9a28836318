"""Runs the evaluator's turns while this process leads: read what is new, apply the rules, write one transaction.

The database is the only truth. After any failure, also a COMMIT with an unknown outcome, the evaluator drops its memory
and reads everything again. The frames since then are evaluated a second time, with the same result.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Concatenate, ParamSpec

import asyncpg
import numpy as np
import structlog

from gateway.alarms import metrics
from gateway.alarms.alarm_store import ActOutcome, AlarmStore
from gateway.alarms.coverage import Coverage
from gateway.alarms.feed import FeedReading, FrameFeed
from gateway.alarms.lead import AlarmLead
from gateway.alarms.watch import ActRefused, Blind, DeviceWatch
from gateway.errors import LeadLost
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles, listening
from gateway.runtime.events import unless_stopped, wait_at_most
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings
from schema.alarms.engine import moment
from schema.alarms.intake import Intakes
from schema.alarms.machine import AlarmState

log = structlog.get_logger()
P = ParamSpec("P")

AT_ONCE = 1000
"""Devices that one reading of the feed asks for."""
BREATH = 50
"""Devices evaluated in a row before other tasks of the process get a turn."""
SPREAD = 97
"""Number of slots within `timing.remember_s` over which the devices' first writes are spread."""
ACTS_AT_ONCE = 500
DEFECT_S = 60.0
"""Seconds for which a device is left out after its evaluation has failed by a defect."""
LAST_WRITE_S = 5.0
BEAT_S = 5.0
"""Seconds between two notes in the database that alarms are evaluated."""

SKIPPED = "select count(*) from frames where device_id = $1 and time > $2 and time < $3"


class Evaluator:
    def __init__(
        self, settings: Settings, pool: Pool, lead: AlarmLead, told: asyncio.Event, troubles: Troubles
    ) -> None:
        """`told` is set after each transaction that stores transitions."""
        self._settings = settings
        self._timing = settings.timing
        self._pool = pool
        self._lead = lead
        self._told = told
        self._troubles = troubles
        self._rules_told = asyncio.Event()
        self._skipped: asyncio.Queue[tuple[int, float, float]] = asyncio.Queue()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._watches: dict[int, DeviceWatch] = {}
        self._feed = FrameFeed(self._pool, self._settings.alarms_catch_up_s)
        self._coverage = Coverage()
        self._left_alone: dict[int, float] = {}
        self._write_due: dict[int, float] = {}
        self._look_due = self._tell_due = self._beat_due = self._intakes_due = 0.0
        self._intakes = Intakes()
        self._has_looked = False

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluate alarms while this process leads, until `stop` is set."""
        trouble = Trouble(self._troubles, "evaluate alarms")
        while not stop.is_set():
            await unless_stopped(stop, self._lead.leading.wait())
            if stop.is_set():
                return
            store = AlarmStore(self._pool, self._lead.epoch)
            self._begin_anew()
            try:
                async with listening(self._settings, "alarms", "biogate_alarm_rules", self._rules_told) as listener:
                    while self._lead.leading.is_set() and not stop.is_set():
                        if listener.is_closed():
                            raise ConnectionError("the database has ended a connection")
                        await self._turn_on_time(store, stop)
                        trouble.reset()
                if stop.is_set():
                    async with asyncio.timeout(LAST_WRITE_S):
                        await store.write([watch for watch in self._watches.values() if watch.since_write])
            except LeadLost as lost:
                log.warning("evaluation ends: lead lost", reason=str(lost))
                await asyncio.sleep(self._settings.alarms_interval_ms / 1000)
            except FAILURES as error:
                metrics.FAILURES.labels(sqlstate(error)).inc()
                await wait_at_most(trouble.failed(error), stop)
            finally:
                for metric in metrics.OF_THE_LEADER:
                    metric.forget()

    async def _turn_on_time(self, store: AlarmStore, stop: asyncio.Event) -> None:
        """Run one turn, then pause until the next is due; do not pause while frames are waiting."""
        begun = time.monotonic()
        behind = await self._turn(store)
        took = time.monotonic() - begun
        metrics.TURN.observe(took)
        metrics.BEHIND.set(behind)
        await wait_at_most(0.0 if behind else max(self._settings.alarms_interval_ms / 1000 - took, 0.0), stop)

    async def _turn(self, store: AlarmStore) -> int:
        """Run one turn; return how many devices still have unread frames."""
        asked_at = time.monotonic()
        at, asked = await store.now()
        now = at.timestamp()
        acts = await store.acts(ACTS_AT_ONCE) if asked else []
        if self._rules_told.is_set() or now >= self._look_due or not all(map(self._covers, acts)):
            await self._look(store, now)
        watches = list(self._watches.values())
        if now >= self._intakes_due:  # before the frames, of which it says that they are stored
            self._intakes_due, self._intakes = now + self._timing.tick_s, await store.intakes(now)
        complete: list[DeviceWatch] = []
        behind = 0
        async with self._feed.snapshot() as snapshot:
            notes = await self._feed.notes(snapshot, watches, now)
            for first in range(0, len(watches), AT_ONCE):
                reading = await self._feed.read(snapshot, watches[first : first + AT_ONCE], notes, now)
                await self._give(reading, now)
                complete += reading.complete
                behind += len(reading.more)
                for watch in reading.more:
                    watch.behind_since = watch.behind_since or now
        outcomes = [outcome for act in acts if (outcome := self._act(act, at)) is not None]
        for watch in complete:
            watch.behind_since = None
            if watch.follows_phases:
                self._guard(watch, DeviceWatch.follow, now)
            if now >= watch.tick_due:
                watch.tick_due = now + self._timing.tick_s
                self._guard(watch, DeviceWatch.tick, now, self._intakes.of(watch.device.cell))
        if now >= self._tell_due:
            self._tell_due = now + self._timing.tick_s
            await self._tell(store, now)
        await self._write(store, outcomes, now - asked_at)
        return behind

    # -- frames and phases

    async def _give(self, reading: FeedReading, now: float) -> None:
        for row in reading.first:
            is_old = row["received_at"].timestamp() < now - self._settings.alarms_catch_up_s
            names = self._feed.layouts[row["layout_id"]]
            self._guard(self._watches[row["device_id"]], DeviceWatch.first_frame, row, names, is_old)
        more = {watch.device.device_id for watch in reading.more}
        for n, device_id in enumerate(reading.frames.keys() | reading.phases.keys()):
            frames, phases = reading.frames.get(device_id, []), reading.phases.get(device_id, [])
            if device_id in more:  # phases after the last frame that was read come in a later turn
                phases = [row for row in phases if row["received_at"] <= frames[-1]["received_at"]]
            if (watch := self._watches.get(device_id)) is not None:
                self._guard(watch, self._give_all, frames, phases)
            if n % BREATH == BREATH - 1:
                await asyncio.sleep(0)

    def _give_all(self, watch: DeviceWatch, frames: Sequence[asyncpg.Record], phases: Sequence[asyncpg.Record]) -> None:
        metrics.EVALUATED.inc(len(frames))
        layouts, waiting = self._feed.layouts, deque(phases)
        for row in frames:
            while waiting and waiting[0]["received_at"] <= row["received_at"]:
                watch.phase(waiting.popleft())
            watch.frame(row, layouts[row["layout_id"]])
        for row in waiting:
            watch.phase(row)

    def _guard(
        self, watch: DeviceWatch, work: Callable[Concatenate[DeviceWatch, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Do `work` for one device; a defect there harms no other device. The device is left out for DEFECT_S, then
        begun again from what is stored."""
        device_id = watch.device.device_id
        if device_id not in self._watches:
            return
        try:
            work(watch, *args, **kwargs)
        except Exception:  # a defect with one device must not end the evaluation of the others
            metrics.DEFECTS.labels("device").inc()
            log.exception("the alarms of a device could not be evaluated: a defect", device=watch.device.name)
            del self._watches[device_id]
            self._left_alone[device_id] = time.monotonic() + DEFECT_S

    # -- people

    def _covers(self, act: asyncpg.Record) -> bool:
        watch = self._watches.get(act["device_id"])
        return watch is not None and any(stored.rule_id == act["rule_id"] for stored in watch.rules.values())

    def _act(self, act: asyncpg.Record, now: datetime) -> ActOutcome | None:
        """Apply an act of a person; None while the device is left out, so that the act waits. An act that fails by a
        defect is refused, so that it holds up no other one and is not tried at every turn."""
        device_id = act["device_id"]
        watch = self._watches.get(device_id)
        if watch is None:
            if device_id in self._left_alone:
                return None
            return ActOutcome(act["act_id"], "the rule does not cover the device", None)
        try:
            return ActOutcome(act["act_id"], None, watch.act(act, now))
        except ActRefused as refused:
            return ActOutcome(act["act_id"], str(refused), None)
        except Exception:  # nor may a defect in one act keep the others waiting
            metrics.DEFECTS.labels("act").inc()
            log.exception("an act could not be done: a defect", device=watch.device.name, action=act["action"])
            return ActOutcome(act["act_id"], "the act failed by a defect, which is in the log of the process", None)

    # -- rules and devices

    async def _look(self, store: AlarmStore, now: float) -> None:
        """Read rules and devices; begin, change or end the watches whose coverage has changed."""
        self._rules_told.clear()
        self._look_due = now + self._timing.rules_s
        with_alarms = set() if self._has_looked else await store.with_alarms()
        covered = self._coverage.of(await store.rules(), await store.devices())
        unreadable = self._coverage.unreadable
        self._left_alone = {one: until for one, until in self._left_alone.items() if until > time.monotonic()}
        new = [
            device_id
            for device_id, (_, rules) in covered.items()
            if (rules or device_id in with_alarms)
            and device_id not in self._watches
            and device_id not in self._left_alone
        ]
        for device_id, (memory, standing) in (await store.remembered(new) if new else {}).items():
            watch = self._watches[device_id] = DeviceWatch(covered[device_id][0], memory, standing)
            self._write_due[device_id] = time.monotonic() + self._timing.remember_s * (device_id % SPREAD) / SPREAD
            self._guard(watch, DeviceWatch.begin, *covered[device_id], now, unreadable)
            position = watch.engine.position
            if position is not None and (begin := self._feed.begins_at(position, now)) > position.time:
                self._skipped.put_nowait((device_id, position.time, begin))
        for device_id, watch in list(self._watches.items()):
            device, rules = covered[device_id]
            if watch.is_covered_by(rules, unreadable):
                watch.device = device
            else:
                self._guard(watch, DeviceWatch.change, device, rules, now, unreadable)
        confirmed = await store.confirmed(moment(now - self._settings.alarms_catch_up_s))
        for device_id, watch in self._watches.items():
            watch.phases.confirmed = confirmed.get(device_id, ())
        self._has_looked = True

    async def _tell(self, store: AlarmStore, now: float) -> None:
        """Set the gauges: standing alarms, rules that are not evaluated, watched devices, age of the newest frame."""
        states: Counter[tuple[str, ...]] = Counter()
        blind: Counter[tuple[str, ...]] = Counter()
        blind[Blind.DEFECT,] = len(self._left_alone)
        watched, newest = 0, 0.0
        for watch in self._watches.values():
            watched += bool(watch.rules)
            position = watch.engine.position
            newest = newest if position is None else max(newest, position.received)
            for row in watch.standing.values():
                if row.state is not AlarmState.NORMAL:
                    states[row.state.value, row.priority] += 1
            blind.update((why,) for why in watch.look(now))
        metrics.STANDING.replace(states)
        metrics.NOT_EVALUATED.replace({(why,): blind[why,] for why in Blind})
        metrics.WATCHED.set(watched)
        if newest:
            metrics.NEWEST_AGE.set(max(now - newest, 0.0))
        if now >= self._beat_due:
            self._beat_due = now + BEAT_S
            await store.beat()
            await store.defective(list(self._left_alone))

    async def skipped(self) -> None:
        """Count, for ever, frames too old to be evaluated, in a task of its own: a count may take long."""
        while True:
            frames = devices = 0
            waiting = [await self._skipped.get()]
            while waiting:
                device_id, after, before = waiting.pop()
                with contextlib.suppress(*FAILURES):
                    count = await self._pool.fetchval(SKIPPED, device_id, moment(after), moment(before))
                    frames, devices = frames + count, devices + bool(count)
                if not self._skipped.empty():
                    waiting.append(self._skipped.get_nowait())
            if frames:
                metrics.SKIPPED.inc(frames)
                log.warning("frames were too old to be evaluated", frames=frames, devices=devices)

    # -- what follows

    async def _write(self, store: AlarmStore, outcomes: Sequence[ActOutcome], clock: float) -> None:
        """Store what this turn has changed, and count it. `clock`: database clock minus time.monotonic(), s."""
        begun = time.monotonic()
        due = [
            watch
            for device_id, watch in self._watches.items()
            if watch.touched or watch.forget or (watch.since_write and self._write_due[device_id] <= begun)
        ]
        if not (due or outcomes):
            return
        made = [one for watch in due for one in watch.made]
        received = [one for watch in due for one in watch.received]
        await store.write(due, outcomes)
        for watch in due:
            self._write_due[watch.device.device_id] = begun + self._timing.remember_s
            if watch.forget:
                del self._watches[watch.device.device_id]
        for one in made:
            metrics.TRANSITIONS.labels(one.cause).inc()
            if one.after == AlarmState.UNACKNOWLEDGED != one.before:
                metrics.RAISED.labels(one.priority).inc()
        for outcome in outcomes:
            metrics.ACTS.labels("done" if outcome.refused is None else "refused").inc()
        if received:
            metrics.LAG.observe(time.monotonic() + clock - np.array(received))
        if made:
            self._told.set()
