"""Evaluates all rules of one device on its committed frames: delays, unknowns, states, transitions.

It is pure, so the same code evaluates live and in a dry run, and a repetition from a checkpoint gives the same result.
A frame is

* news, if its time or its sequence is newer than all before: its values are taken and the rules are evaluated. With a
  newer sequence and an older time it is a block of other channels, and only those channels are taken whose known value
  is older. But if it is older by more than 30 s and one of its channels has a newer value, then the clock was set back:
  all times in memory move along with it;
* a part of the newest frame, if it has the same time: its channels that had not come are taken;
* a backlog (schema/alarms/lateness.py), if it is newer but came more than 30 s later than is usual: values and windows
  take it at its own time, it makes no transition, and it drops running delays. The first frame in time starts afresh;
* late history otherwise, which changes nothing at all. So a device without a sequence whose clock is set back is not
  evaluated until its clock has caught up; rules for silence report that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schema.alarms import conditions, machine
from schema.alarms.lateness import LATE, Lag
from schema.alarms.machine import Action, Alarm, AlarmState, Condition, NotPossible
from schema.alarms.rules import Rule, Silent
from schema.alarms.snapshot import Snapshot, Value
from schema.messages import BAD

LARGEST = 1e300
"""A greater value counts as bad: so differences stay finite, and can be written as JSON."""
TOLERANCE = 1e-6
"""Seconds. Times are exact to a microsecond."""
WHILE_UNKNOWN = {"hold": None, "raise": True, "clear": False}


@dataclass(frozen=True, slots=True)
class CommittedFrame:
    """A frame as it was committed. Times are in s since 1970."""

    time: float
    received: float
    boot: int | None
    seq: int | None
    values: Sequence[tuple[str, float | None, int]]
    """(channel, value, quality) of the channels that were sent."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an alarm's state, or of its condition alone (then `before` and `after` are equal)."""

    rule: str
    at: datetime
    cause: str
    """`condition`, `return`, `unknown`, `known`, `shelving-ended`, `phase`, or a machine.Action."""
    before: AlarmState
    after: AlarmState
    value: float | None
    detail: str
    alarm: Alarm
    """The alarm after the transition."""


class Position(NamedTuple):
    """The position of a device's evaluation: its newest frame. Times are in s since 1970."""

    time: float
    received: float
    boot: int | None
    seq: int | None
    set_back_from: float
    """The device's time before its clock was set back. Up to it, only a newer sequence makes a frame news. 0 if the
    clock was never set back."""


class _Watch:
    """One rule of the device, with its alarm."""

    __slots__ = ("alarm", "by_person", "holds", "is_known", "is_outside", "judged", "rule", "since", "test")

    def __init__(self, rule: Rule, alarm: Alarm, device_memory: Mapping[str, Any]) -> None:
        memory = device_memory.get("rules", {}).get(rule.name, {})
        self.rule, self.alarm = rule, alarm
        self.test = conditions.test(rule, memory.get("test"))
        self.test.value = memory.get("value")
        self.since: float | None = memory.get("since")
        """When the condition began to differ from the alarm; moved on by the time in which it was unknown."""
        self.judged: float = memory.get("judged", 0.0)
        """When the condition was last judged."""
        self.is_outside, self.by_person = device_memory.get("suppressed", {}).get(rule.name, (False, False))
        """Whether the run phase suppresses the alarm, and whether a person does."""
        self.take(alarm)

    def take(self, alarm: Alarm) -> None:
        self.alarm, self.holds, self.is_known = alarm, alarm.active, alarm.condition is not Condition.UNKNOWN

    def become(self, alarm: Alarm, at: float, cause: str, detail: str) -> Transition:
        before = self.alarm.state
        self.take(alarm)
        return Transition(self.rule.name, moment(at), cause, before, alarm.state, self.test.value, detail, alarm)

    def judge(self, outcome: bool | None, seen: Snapshot, *, time: float, at: float) -> list[Transition]:
        """The transition that follows from an outcome, if any. A delay counts only time in which the condition was
        known: it goes on after an unknown, and a gap counts for `stale_after` at most."""
        rule, holds = self.rule, self.holds
        wanted = WHILE_UNKNOWN[rule.unknown] if outcome is None else outcome
        if self.since is not None:
            elapsed = max(time - self.judged, 0.0)
            was_unknown = not self.is_known and rule.unknown == "hold"
            self.since += elapsed if was_unknown else max(elapsed - rule.stale_after, 0.0)
        if wanted is holds:
            self.since = None
        elif wanted is not None:
            if self.since is None:
                self.since = time
            if time - self.since >= (rule.off_delay if holds else rule.on_delay) - TOLERANCE:
                holds, self.since = wanted, None
        self.judged = time
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
        return [self.become(alarm, at, cause, self.test.words(seen, outcome))]

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
        due = self.rule.when.after if isinstance(self.rule.when, Silent) else float("inf")
        return min(due, self.rule.stale_after) if self.test.channels else due

    def memory(self) -> dict[str, Any]:
        return {"test": self.test.memory(), "value": self.test.value, "since": self.since, "judged": self.judged}


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
        self._live = live
        self.channels = frozenset[str]().union(*(watch.test.channels for watch in self._watched.values()))
        """The channels that the rules read; others need not be given."""
        self._patience = min((watch.first_due() for watch in self._watched.values()), default=float("inf"))
        self._lag = Lag(memory.get("lag"))
        self._before_set_back: float = memory.get("before_set_back", 0.0)
        self._seen = Snapshot(**memory.get("seen", {}))
        self.phase_time: float
        """The time of the newest phase, in s since 1970; 0 if there was none."""
        self.phase_time, self._seen.phase = memory.get("phase", (0.0, None))
        self._seen.values = {
            channel: Value(*value) for channel, value in memory.get("values", {}).items() if channel in self.channels
        }
        self._has_begun = bool(memory.get("seen"))
        self._is_scoped = False

    @property
    def alarms(self) -> dict[str, Alarm]:
        return {name: watch.alarm for name, watch in self._watched.items()}

    @property
    def evaluated_until(self) -> float | None:
        """The time of the newest frame, in s since 1970."""
        return self._seen.time if self._has_begun else None

    @property
    def position(self) -> Position | None:
        seen = self._seen
        if not self._has_begun:
            return None
        return Position(seen.time, seen.received, seen.boot, seen.seq, self._before_set_back)

    def frame(self, frame: CommittedFrame) -> list[Transition]:
        """Evaluate a frame that was committed."""
        seen, time = self._seen, frame.time
        is_first, is_next = not self._has_begun, self._is_next(frame)
        if not (is_first or is_next or self._is_not_older(frame)):
            return []
        if (
            is_next
            and time < seen.time - LATE
            and any(channel in seen.values and seen.values[channel].time > time for channel, _, _ in frame.values)
        ):
            self._set_back(frame)
        is_newer = is_first or is_next or time > seen.time
        if not self._take_values(frame) and not is_newer:
            return []
        is_ahead = is_first or time >= seen.time
        if is_newer:
            seen.boot, seen.seq = frame.boot, frame.seq
        if is_first or time > seen.time:
            seen.time, seen.received = time, frame.received
        heard = frame.received if self._live else time
        if is_first or heard > seen.heard:
            seen.heard = heard
        seen.now = seen.heard
        self._has_begun = True
        made = [] if self._is_scoped else self._scope(seen.time)
        if self._live and is_ahead and not self._lag.is_live(time, frame.received):
            for watch in self._watched.values():
                watch.test.step(seen, watch.holds)
                watch.since = None
            return made
        for watch in self._watched.values():
            outcome = watch.test.step(seen, watch.holds)
            if outcome is watch.holds and watch.is_known and watch.since is None:
                continue
            made += watch.judge(outcome, seen, time=seen.time, at=seen.time)
        return made

    def phase(self, time: float, phase: str | None) -> list[Transition]:
        """Take a phase that the run has entered; null ends the run. Phases older than the newest are ignored."""
        if time < self.phase_time:
            return []
        self.phase_time, self._seen.phase = time, phase
        return self._scope(time)

    def tick(self, now: float) -> list[Transition]:
        """Evaluate what is due for lack of frames (silence, stale values) and ends of shelving. `now` is the
        evaluator's clock; everything committed before it has been given."""
        made = [] if self._is_scoped else self._scope(now)
        for watch in self._watched.values():
            if watch.alarm.shelved_until is not None:
                alarm = machine.tick(watch.alarm, moment(now))
                if alarm is not watch.alarm:
                    made.append(watch.become(alarm, now, "shelving-ended", ""))
        if self._has_begun and now - self._seen.heard >= self._patience:
            made += self._miss(now)
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
        seen = self._seen
        began = {name: getattr(seen, name) for name in ("time", "received", "heard", "now", "boot", "seq")}
        memory: dict[str, Any] = {
            "lag": self._lag.memory(),
            "before_set_back": self._before_set_back,
            "phase": [self.phase_time, seen.phase],
            "values": {channel: [value.time, value.value, value.quality] for channel, value in seen.values.items()},
            "rules": {name: watch.memory() for name, watch in self._watched.items()},
            "suppressed": {name: [watch.is_outside, watch.by_person] for name, watch in self._watched.items()},
        }
        if self._has_begun:
            memory["seen"] = began
        return memory

    def _is_next(self, frame: CommittedFrame) -> bool:
        """Whether the frame follows by its sequence, which a clock that is set does not change."""
        seen = self._seen
        if frame.boot is None or frame.seq is None or seen.boot is None or seen.seq is None:
            return False
        return frame.boot > seen.boot or (frame.boot == seen.boot and frame.seq > seen.seq)

    def _is_not_older(self, frame: CommittedFrame) -> bool:
        """Whether the frame is not older by its time. A frame of an older boot always is older.

        In the same boot a frame with an older sequence is older too, unless its time is after every time before the
        clock was set back: then the device has begun to count anew.
        """
        seen = self._seen
        if frame.time < seen.time:
            return False
        if frame.boot is None or seen.boot is None:
            return True
        if frame.boot != seen.boot or frame.seq is None or seen.seq is None:
            return frame.boot >= seen.boot
        return frame.seq >= seen.seq or frame.time > self._before_set_back

    def _take_values(self, frame: CommittedFrame) -> bool:
        """Take the frame's values; return whether any was new. The first value of a channel at one time stays."""
        values, time, took = self._seen.values, frame.time, False
        for channel, value, quality in frame.values:
            if channel not in self.channels:
                continue
            newest = values.get(channel)
            if newest is None:
                newest = values[channel] = Value(time, None, BAD)
            elif newest.time >= time:
                continue
            is_number = value is not None and -LARGEST <= value <= LARGEST  # NaN is not
            newest.time = time
            newest.value = value if is_number else None
            newest.quality = quality if is_number else quality or BAD
            took = True
        return took

    def _set_back(self, frame: CommittedFrame) -> None:
        step = frame.time - self._seen.time
        self._before_set_back = max(self._before_set_back, self._seen.time)
        for value in self._seen.values.values():
            value.time += step - TOLERANCE  # now older than this frame, so that its values are news
        for watch in self._watched.values():
            watch.judged += step
            if watch.since is not None:
                watch.since += step
        self._seen.time += step
        self._lag.take(frame.time, frame.received)

    def _miss(self, now: float) -> list[Transition]:
        """Evaluate after a long time without frames. A frame may be under way for LATE seconds, and values count as
        stale only if they would be so even then; else a device that sends once a minute would be unknown for a moment
        before each frame."""
        seen = self._seen
        grace = LATE if self._live else 0.0
        time = seen.time + (now - seen.heard)
        later = replace(seen, time=max(time - grace, seen.time), now=now)
        made: list[Transition] = []
        for watch in self._watched.values():
            outcome = watch.test.step(later, watch.holds)
            # Other rules, with their delays, wait for a frame.
            if outcome is None or isinstance(watch.rule.when, Silent):
                made += watch.judge(outcome, later, time=time, at=now)
        return made

    def _scope(self, at: float) -> list[Transition]:
        """Suppress by design the rules that are not for the current phase."""
        self._is_scoped = True
        phase = self._seen.phase
        return [change for watch in self._watched.values() for change in watch.scope(phase, at)]


def moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)
