"""A dry run: when would these rules have raised alarms over stored history? The same code evaluates as live; it
streams, and needs memory for the rules alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from schema.alarms.engine import DeviceAlarms, Transition
from schema.alarms.machine import Alarm, Condition
from schema.alarms.rules import Rule, Silent
from schema.alarms.timeline import CommittedFrame

What = Literal["active", "unknown", "suppressed"]
SOON = 0.001
"""Seconds after the moment at which a value becomes stale."""


@dataclass(frozen=True, slots=True)
class StatePeriod:
    """A period in which a rule of the device was in one state. Times in s since 1970."""

    rule: str
    what: What
    """`active`: from the raise of the alarm until the condition returned. `unknown`: the condition was unknown,
    whatever the rule's `unknown` says. `suppressed`: by the run phase. An active alarm may be unknown too."""
    begin: float
    end: float | None
    """None if the state lasted until the end."""
    value: float | None
    """The value that was compared when the state began."""
    detail: str


class DryRun:
    """A dry run of rules on one device over frames in order of time, in which nobody acknowledges, resets or shelves.

    Silence is a hole in the stored frames; a hole that was filled later is none. A latched alarm counts as active only
    while its condition is.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._engine = DeviceAlarms(rules, live=False)
        self._dues = sorted({due for rule in rules for due in _dues(rule)})
        self._newest: float | None = None
        self._passed = float("-inf")
        self._open: dict[tuple[str, What], StatePeriod] = {}

    def frame(self, frame: CommittedFrame) -> list[StatePeriod]:
        """Evaluate a frame; return the periods that have ended."""
        ended = self._pass_until(frame.time)
        self._newest = frame.time if self._newest is None else max(self._newest, frame.time)
        return ended + self._take(self._engine.frame(frame))

    def phase(self, time: float, phase: str | None) -> list[StatePeriod]:
        return self._pass_until(time) + self._take(self._engine.phase(time, phase))

    def end(self, until: float) -> list[StatePeriod]:
        """End the run at `until`: return the periods that ended since the last frame, and then those still open."""
        ended = self._pass_until(until) + self._take(self._engine.settle())
        return ended + sorted(self._open.values(), key=lambda period: (period.begin, period.rule, period.what))

    def _pass_until(self, time: float) -> list[StatePeriod]:
        """Evaluate at the moments before `time` at which something falls due without a frame."""
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
                    ended.append(replace(self._open.pop(key), end=at))
        return ended


def _is(alarm: Alarm) -> tuple[tuple[What, bool], ...]:
    return (
        ("active", alarm.active and not alarm.held_back),
        ("unknown", alarm.condition is Condition.UNKNOWN),
        ("suppressed", alarm.suppressed),
    )


def _dues(rule: Rule) -> Iterator[float]:
    """Seconds after the last frame at which the rule may change."""
    due = rule.when.after if isinstance(rule.when, Silent) else rule.stale_after + SOON
    yield due
    if isinstance(rule.when, Silent) or rule.unknown == "raise":
        yield due + rule.on_delay
    if rule.unknown == "clear":
        yield due + rule.off_delay
