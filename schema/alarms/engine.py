"""Evaluates all rules of one device on its committed frames: delays, unknowns, states, transitions.

It is pure, so the same code evaluates live and in a dry run, and a repetition from a checkpoint gives the same result.
timeline.py says which frame is the newest. A backlog is evaluated at its own time, delays included, but makes no
transition: the first frame in time makes the one that is due then. While a backlog lasts for more than a minute, all
conditions but silence are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schema.alarms import conditions, machine
from schema.alarms.intake import WELL, Intake
from schema.alarms.lateness import SETTLED
from schema.alarms.machine import Action, Alarm, AlarmState, Condition, NotPossible
from schema.alarms.rules import Rule, Silent
from schema.alarms.snapshot import Snapshot
from schema.alarms.timeline import TOLERANCE, CommittedFrame, Position, Timeline

SETTLE_S = 1.0
"""Seconds after which a frame waits no more for its other parts."""
WHILE_UNKNOWN = {"hold": None, "raise": True, "clear": False}


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an alarm's state, or of its condition alone (then `before` and `after` are equal)."""

    rule: str
    at: datetime
    cause: str
    """`condition`, `return`, `unknown`, `known`, `late`, `late-return`, `shelving-ended`, `phase`, or an Action."""
    before: AlarmState
    after: AlarmState
    value: float | None
    detail: str
    alarm: Alarm
    """The alarm after the transition."""


class _Watch:
    """One rule of the device, with its alarm."""

    __slots__ = (
        *("alarm", "by_person", "holds", "is_known", "is_outside", "judged", "rule", "since", "test", "waits"),
        *("was_known", "was_late"),
    )

    def __init__(self, rule: Rule, alarm: Alarm, device_memory: Mapping[str, Any]) -> None:
        memory = device_memory.get("rules", {}).get(rule.name, {})
        self.rule, self.alarm = rule, alarm
        self.test = conditions.test(rule, memory.get("test"))
        self.test.value = memory.get("value")
        self.since: float | None = memory.get("since")
        """When the condition began to differ from the alarm; moved on by the time in which it was unknown."""
        self.judged: float = memory.get("judged", 0.0)
        """When the condition was last judged."""
        self.was_known: bool = memory.get("was_known", alarm.condition is not Condition.UNKNOWN)
        """Whether the condition was known then; in a backlog the alarm does not say so."""
        self.was_late: bool = memory.get("was_late", False)
        """Whether a backlog told that the alarm would have been raised, and not yet that it would have returned."""
        self.waits: bool = memory.get("waits", False)
        """Whether the newest frame waits for its other parts: they came together before."""
        self.is_outside, self.by_person = device_memory.get("suppressed", {}).get(rule.name, (False, False))
        """Whether the run phase suppresses the alarm, and whether a person does."""
        self.take(alarm)

    def take(self, alarm: Alarm) -> None:
        self.alarm, self.holds, self.is_known = alarm, alarm.active, alarm.condition is not Condition.UNKNOWN

    def move(self, step: float) -> None:
        """Move times along with the device's clock."""
        self.judged += step
        if self.since is not None:
            self.since += step

    def become(self, alarm: Alarm, at: float, cause: str, detail: str) -> Transition:
        before = self.alarm.state
        self.take(alarm)
        return Transition(self.rule.name, moment(at), cause, before, alarm.state, self.test.value, detail, alarm)

    def judge(
        self, outcome: bool | None, seen: Snapshot, *, time: float, at: float, detail: str = ""
    ) -> list[Transition]:
        """The transition that follows from an outcome, if any; `detail` instead of the test's words."""
        rule, holds = self.rule, self.holds
        wanted = WHILE_UNKNOWN[rule.unknown] if outcome is None else outcome
        self.delay(outcome, seen, time)
        delay = (rule.off_delay if holds else rule.on_delay) - TOLERANCE
        if self.since is not None and wanted is not None and time - self.since >= delay:
            holds, self.since = wanted, None
        is_known = outcome is not None
        if holds is self.holds and is_known is self.is_known:
            return []
        if not is_known:
            cause = "unknown"
        elif holds is self.holds:
            cause = "known"
        else:
            cause = "condition" if holds else "return"
        alarm = machine.see(self.alarm, Condition.ACTIVE if holds else Condition.NORMAL, latch=rule.latch)
        if not is_known:
            alarm = machine.see(alarm, Condition.UNKNOWN)
        return [self.become(alarm, at, cause, detail or self.test.words(seen, outcome))]

    def delay(self, outcome: bool | None, seen: Snapshot, time: float) -> None:
        """Count the delay. It counts only time in which the condition was known: it goes on after an unknown, and a gap
        counts for as long at most as a value is known without another."""
        rule = self.rule
        wanted = WHILE_UNKNOWN[rule.unknown] if outcome is None else outcome
        if self.since is not None:
            elapsed = time - self.judged  # below 0 after a tick that took the device's clock for more than it shows
            longest = max(rule.stale_after, self.test.longest_gap(seen))
            was_unknown = elapsed < 0 or (not self.was_known and rule.unknown == "hold")
            self.since += elapsed if was_unknown else max(elapsed - longest, 0.0)
        if wanted is self.holds:
            self.since = None
        elif wanted is not None and self.since is None:
            self.since = time
        self.judged, self.was_known = time, outcome is not None

    def late(self, outcome: bool | None, seen: Snapshot) -> list[Transition]:
        """Count the delay in a backlog. That the alarm would have been raised, or have returned, is told; its state
        stays as it is."""
        self.delay(outcome, seen, seen.time)
        if self.holds or self.is_outside or self.was_late is (self.since is not None):
            return []
        if self.was_late:
            return [] if outcome is None else [self.tell_late("late-return", outcome, seen)]
        if self.since is None or seen.time - self.since < self.rule.on_delay - TOLERANCE:
            return []
        return [self.tell_late("late", outcome, seen)]

    def tell_late(self, cause: str, outcome: bool | None, seen: Snapshot) -> Transition:
        self.was_late = cause == "late"
        words = f"{self.test.words(seen, outcome)}, known {seen.received - seen.time:.0f} s later"
        return self.become(self.alarm, seen.time, cause, words)

    def is_part(self, seen: Snapshot) -> bool:
        """Whether the newest frame has one of the channels, and lacks one that came with it at the instant before."""
        values = [value for channel in self.test.channels if (value := seen.values.get(channel)) is not None]
        here = next((value for value in values if value.time == seen.time), None)
        return here is not None and any(value.time == here.time_before for value in values)

    def scope(self, phase: str | None, at: float) -> list[Transition]:
        """Suppress by design the alarm of a rule that is not for this phase. One that returns counts delays anew."""
        phases = self.rule.scope.phases
        is_outside = bool(phases) and phase not in phases
        if is_outside is self.is_outside:
            return []
        self.is_outside, self.since = is_outside, None
        alarm = self.alarm
        if is_outside:
            alarm = machine.act(alarm, Action.SUPPRESS, now=moment(at))
        else:
            if alarm.active:
                alarm = machine.see(alarm, Condition.NORMAL, latch=self.rule.latch)
            if alarm.suppressed and not self.by_person:
                alarm = machine.act(alarm, Action.UNSUPPRESS, now=moment(at))
        return [self.become(alarm, at, "phase", f"run phase: {phase or 'none'}")]

    def first_due(self) -> float:
        """Seconds without a frame before which a tick cannot change this rule."""
        return self.rule.when.after if isinstance(self.rule.when, Silent) else self.rule.stale_after

    def memory(self) -> dict[str, Any]:
        return {
            "test": self.test.memory(),
            "value": self.test.value,
            "since": self.since,
            "judged": self.judged,
            "was_known": self.was_known,
            "was_late": self.was_late,
            "waits": self.waits,
        }


class DeviceAlarms:
    """The alarms of one device under `rules`: those whose scope covers the device. This class skips disabled rules and
    handles phases.

    `memory` is what `memory()` returned (it may have been through JSON), and `alarms` the alarms at that moment: the
    new object goes on exactly as the old one would. For a changed rule leave out `memory["rules"][name]`, and keep its
    alarm. `live=False` takes every frame as news: for a dry run over stored frames, in order of time.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        memory: Mapping[str, Any] | None = None,
        alarms: Mapping[str, Alarm] | None = None,
        *,
        live: bool = True,
    ) -> None:
        memory, alarms = memory or {}, alarms or {}
        self._watched = {
            rule.name: _Watch(rule, alarms.get(rule.name, Alarm()), memory) for rule in rules if rule.enabled
        }
        self.channels = frozenset[str]().union(*(watch.test.channels for watch in self._watched.values()))
        """The channels that the rules read; others need not be given."""
        self._patience = min((watch.first_due() for watch in self._watched.values()), default=float("inf"))
        self._timeline = Timeline(self.channels, memory, live=live)
        self._seen = self._timeline.seen
        waiting = memory.get("entered", [])
        self._entered = [(since, self._watched[name]) for since, name in waiting if name in self._watched]
        """Rules that returned with a phase, with its time: they wait for a frame of that instant."""
        self._entered_at: float | None = memory.get("entered_at")
        self.phase_time: float
        """The time of the newest phase, in s since 1970; 0 if there was none."""
        self.phase_time, self._seen.phase = memory.get("phase", (0.0, None))
        self._is_scoped = False
        self._is_waiting = any(watch.waits for watch in self._watched.values())

    @property
    def alarms(self) -> dict[str, Alarm]:
        return {name: watch.alarm for name, watch in self._watched.items()}

    @property
    def evaluated_until(self) -> float | None:
        """The time of the newest frame, in s since 1970."""
        return self._seen.time if self._timeline.has_begun else None

    @property
    def position(self) -> Position | None:
        return self._timeline.position

    @property
    def oddities(self) -> tuple[float, float]:
        """When the device's clock was set back last, and when its numbers went back last, in s since 1970; 0: never."""
        return self._timeline.set_back_at, self._timeline.numbers_back_at

    @property
    def phase_name(self) -> str | None:
        """The phase that the rules follow."""
        return self._seen.phase

    @property
    def is_late(self) -> bool:
        """Whether the newest frames are of a backlog."""
        return self._timeline.late_for > 0

    def frame(self, frame: CommittedFrame) -> list[Transition]:
        """Evaluate a frame that was committed."""
        is_newer = self._timeline.is_newer(frame)
        settled = self.settle() if self._is_waiting and is_newer else []
        if self._entered and is_newer:
            settled += self._enter(frame.time)
        taken, seen = self._timeline.take(frame), self._seen
        if taken.moved:
            for watch in self._watched.values():
                watch.move(taken.moved)
        if not taken.is_news:
            return settled
        made = settled if self._is_scoped else settled + self._scope(seen.time)
        late_for = self._timeline.late_for if taken.is_late else 0.0
        for watch in self._watched.values():
            if len(watch.test.channels) > 1 and not taken.is_late:
                watch.waits = watch.is_part(seen)
                if watch.waits:
                    self._is_waiting = True
                    continue
            outcome = watch.test.step(seen, watch.holds or watch.was_late)
            if late_for >= SETTLED and not isinstance(watch.rule.when, Silent):
                late = f"frames come {seen.received - seen.time:.0f} s after their time"
                made += watch.judge(None, seen, time=seen.time, at=seen.heard, detail=late)
            elif outcome is watch.holds and watch.is_known and watch.since is None and not watch.was_late:
                continue
            elif taken.is_late:
                made += watch.late(outcome, seen)
            else:
                if watch.was_late and outcome is False:
                    made.append(watch.tell_late("late-return", outcome, seen))
                watch.was_late = False
                made += watch.judge(outcome, seen, time=seen.time, at=seen.time)
        return made

    def settle(self) -> list[Transition]:
        """Evaluate the rules that wait for other parts of the newest frame: no more come."""
        seen, made, self._is_waiting = self._seen, list[Transition](), False
        for watch in self._watched.values():
            if watch.waits:
                watch.waits = False
                made += watch.judge(watch.test.step(seen, watch.holds), seen, time=seen.time, at=seen.time)
        return made

    def phase(self, time: float, phase: str | None) -> list[Transition]:
        """Take a phase that the run has entered; null ends the run. Phases older than the newest are ignored. A rule
        that returns is evaluated by the frame of that instant or a newer one; if none comes within SETTLE_S, by the
        newest."""
        if time < self.phase_time:
            return []
        self.phase_time, self._seen.phase = time, phase
        outside = [watch for watch in self._watched.values() if watch.is_outside and watch.is_known]
        made = self._scope(time)
        if self._timeline.has_begun and not self._timeline.late_for:
            self._entered = [one for one in self._entered if not one[1].is_outside]
            self._entered += [(time, watch) for watch in outside if not watch.is_outside]
            self._entered_at = None
            if time <= self._seen.time:
                made += self._enter(math.inf)
        return made

    def _enter(self, before: float) -> list[Transition]:
        """End the wait of rules that returned with a phase: evaluate those of a phase `before` by the newest frame."""
        seen, entered, self._entered = self._seen, self._entered, []
        return [
            change
            for since, watch in entered
            if since < before
            for change in watch.judge(
                watch.test.step(seen, watch.holds), seen, time=max(since, seen.time), at=max(since, seen.time)
            )
        ]

    def tick(self, now: float, intake: Intake = WELL) -> list[Transition]:
        """Evaluate what is due for lack of frames (silence, stale values) and ends of shelving. `now` is the
        evaluator's clock; everything committed before it has been given."""
        waited = now - self._timeline.waits_since(now)
        made = self.settle() if self._is_waiting and waited >= SETTLE_S else []
        if self._entered:
            self._entered_at = now if self._entered_at is None else self._entered_at
            made += self._enter(math.inf) if now - self._entered_at >= SETTLE_S else []
        if not self._is_scoped:
            made += self._scope(now)
        for watch in self._watched.values():
            if watch.alarm.shelved_until is not None:
                alarm = machine.tick(watch.alarm, moment(now))
                if alarm is not watch.alarm:
                    made.append(watch.become(alarm, now, "shelving-ended", ""))
        if waited >= self._patience:
            made += self._miss(now, intake)
        return made

    def act(
        self, rule: str, action: Action, now: datetime, until: datetime | None = None, once: bool = False
    ) -> Transition:
        """Apply an act of a person. Raises machine.NotPossible, or KeyError when the device has no such rule."""
        watch = self._watched[rule]
        if action is Action.UNSUPPRESS and watch.is_outside:
            if not watch.by_person:
                raise NotPossible("the run phase suppresses the alarm")
            watch.by_person = False  # the phase goes on suppressing it
            return watch.become(watch.alarm, now.timestamp(), action.value, "the run phase still suppresses the alarm")
        alarm = machine.act(watch.alarm, action, now=now, until=until, once=once)
        if action in (Action.SUPPRESS, Action.UNSUPPRESS):
            watch.by_person = action is Action.SUPPRESS
        return watch.become(alarm, now.timestamp(), action.value, "")

    def memory(self) -> dict[str, Any]:
        """The state that all frames up to now have left, as JSON, without the alarms."""
        return self._timeline.memory() | {
            "phase": [self.phase_time, self._seen.phase],
            "entered": [[since, watch.rule.name] for since, watch in self._entered],
            "entered_at": self._entered_at,
            "rules": {name: watch.memory() for name, watch in self._watched.items()},
            "suppressed": {name: [watch.is_outside, watch.by_person] for name, watch in self._watched.items()},
        }

    def _miss(self, now: float, intake: Intake) -> list[Transition]:
        """Evaluate after a long time without a newer frame."""
        time, later = self._timeline.later(now)
        later.intake = intake
        waited = now - self._timeline.waits_since(now)
        made: list[Transition] = []
        for watch in self._watched.values():
            is_silence = isinstance(watch.rule.when, Silent)
            if not is_silence and waited < watch.rule.stale_after:
                continue
            has_nothing = not (self._timeline.has_begun or is_silence)
            outcome = None if has_nothing else watch.test.step(later, watch.holds)
            # Other rules, with their delays, wait for a frame.
            if outcome is None or is_silence:
                detail = "the device has not sent anything yet" if has_nothing else ""
                made += watch.judge(outcome, later, time=time, at=now, detail=detail)
        return made

    def _scope(self, at: float) -> list[Transition]:
        """Suppress by design the rules that are not for the current phase."""
        self._is_scoped = True
        phase = self._seen.phase
        return [change for watch in self._watched.values() for change in watch.scope(phase, at)]


def moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)
