"""A dry run: when would these rules have fired over stored history? Evaluated by the same lines as live; streaming,
with memory for the rules alone."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from schema.alarms.engine import CommittedFrame, DeviceAlarms, Transition
from schema.alarms.machine import Alarm, Condition
from schema.alarms.rules import Rule, Silent

What = Literal["active", "unknown", "suppressed"]
SOON = 0.001
"""s after the moment from which a value is stale."""


@dataclass(frozen=True, slots=True)
class StatePeriod:
    """In which a rule of the device was so. Times in s since 1970."""

    rule: str
    what: What
    """`active`: the alarm was raised until the condition returned. `unknown`: it could not be told, whatever the rule
    says of that. `suppressed`: by its run phase. An active alarm may be unknown too."""
    begin: float
    end: float | None
    """Null: it was still so at the end."""
    value: float | None
    """What was compared when it began."""
    detail: str


class DryRun:
    """Of one device over frames in order of time; nobody acknowledges, resets or shelves.

    Silence is a hole in what is stored: one that was filled later was none. A latched alarm counts as active only while
    its condition is.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._engine = DeviceAlarms(rules, live=False)
        self._dues = sorted({due for rule in rules for due in _dues(rule)})
        self._newest: float | None = None
        self._passed = float("-inf")
        self._open: dict[tuple[str, What], StatePeriod] = {}

    def frame(self, frame: CommittedFrame) -> list[StatePeriod]:
        """Returns the periods that have ended."""
        ended = self._pass_until(frame.time)
        self._newest = frame.time if self._newest is None else max(self._newest, frame.time)
        return ended + self._take(self._engine.frame(frame))

    def phase(self, time: float, phase: str | None) -> list[StatePeriod]:
        return self._pass_until(time) + self._take(self._engine.phase(time, phase))

    def end(self, until: float) -> list[StatePeriod]:
        """What ended in the time without frames before `until`, and then what has not ended."""
        ended = self._pass_until(until)
        return ended + sorted(self._open.values(), key=lambda period: (period.begin, period.rule, period.what))

    def _pass_until(self, time: float) -> list[StatePeriod]:
        """The moments without a frame at which something falls due."""
        ended: list[StatePeriod] = []
        if self._newest is None:
            return ended
        for due in self._dues:
            moment = self._newest + due
            if moment >= time:
                break
            if moment > self._passed:
                self._passed = moment
                ended += self._take(self._engine.tick(moment))
        return ended

    def _take(self, transitions: list[Transition]) -> list[StatePeriod]:
        if not transitions:
            return []
        ended: list[StatePeriod] = []
        alarms = self._engine.alarms
        for transition in transitions:
            for what, is_so in _is(alarms[transition.rule]):
                key = transition.rule, what
                at = transition.at.timestamp()
                if is_so and key not in self._open:
                    self._open[key] = StatePeriod(transition.rule, what, at, None, transition.value, transition.detail)
                elif not is_so and key in self._open:
                    was = self._open.pop(key)
                    ended.append(StatePeriod(was.rule, was.what, was.begin, at, was.value, was.detail))
        return ended


def _is(alarm: Alarm) -> tuple[tuple[What, bool], ...]:
    return (
        ("active", alarm.active and not alarm.held_back),
        ("unknown", alarm.condition is Condition.UNKNOWN),
        ("suppressed", alarm.suppressed),
    )


def _dues(rule: Rule) -> Iterator[float]:
    """How long after the last frame a rule may change, s."""
    due = rule.when.after if isinstance(rule.when, Silent) else rule.stale_after + SOON
    yield due
    if isinstance(rule.when, Silent) or rule.unknown == "raise":
        yield due + rule.on_delay
    if rule.unknown == "clear":
        yield due + rule.off_delay


def would_have(
    rules: Sequence[Rule], frames: Iterable[CommittedFrame], phases: Iterable[tuple[float, str | None]], until: float
) -> Iterator[StatePeriod]:
    """The periods in the order in which they end; `frames` and `phases` in order of time, read once."""
    run = DryRun(rules)
    events = heapq.merge(
        ((time, 0, phase) for time, phase in phases),
        ((frame.time, 1, frame) for frame in frames),
        key=lambda event: event[:2],
    )
    for time, _, event in events:
        yield from run.frame(event) if isinstance(event, CommittedFrame) else run.phase(time, event)
    yield from run.end(until)
