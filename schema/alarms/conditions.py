"""Decides whether the condition of a rule holds, by the device's time: True, False, or None for unknown. Pure."""

from __future__ import annotations

from typing import assert_never

from schema.alarms import expression, rules, windows
from schema.alarms.snapshot import ConditionTest, Memory, Snapshot, in_words, towards, why_bad


def test(rule: rules.Rule, memory: Memory | None = None) -> ConditionTest:  # noqa: PT028 - no test of pytest's
    """Make a rule's test, new or from its memory. Raises BadExpression for a bad formula."""
    memory, stale_after = memory or {}, rule.stale_after
    made: ConditionTest
    match rule.when:
        case rules.Limit() as when:
            made = _Limit(when, stale_after)
        case rules.Deviation() as when:
            made = _Deviation(when, stale_after)
        case rules.RateOfChange() as when:
            made = windows.RateTest(when, stale_after, memory)
        case rules.Frozen() as when:
            made = windows.FrozenTest(when, stale_after, memory)
        case rules.Quality() as when:
            made = _Quality(when.channels, stale_after)
        case rules.Silent() as when:
            made = _Silent(when)
        case rules.SequenceGap() as when:
            made = windows.GapTest(when, memory)
        case rules.Skew() as when:
            made = windows.SkewTest(when, memory)
        case rules.Formula() as when:
            made = _Formula(when.expression, stale_after)
        case other:
            assert_never(other)
    return made if rule.clear is None else _Clearing(made, _Formula(rule.clear, stale_after))


class _Limit(ConditionTest):
    def __init__(self, when: rules.Limit, stale_after: float) -> None:
        super().__init__([when.channel], stale_after)
        self._channel = when.channel
        self._is_high = when.is_high
        self._raises = when.limit
        self._returns = when.limit - when.deadband if self._is_high else when.limit + when.deadband

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        self.value = value = self._known(seen, self._channel)
        if value is None:
            return None
        limit = self._returns if active else self._raises
        return value > limit if self._is_high else value < limit

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        side = "above" if self._is_high else "below"
        if outcome:
            return f"{in_words(self.value)} {side} {in_words(self._raises)}"
        return f"{in_words(self.value)} not {side} {in_words(self._returns)}"


class _Deviation(ConditionTest):
    def __init__(self, when: rules.Deviation, stale_after: float) -> None:
        super().__init__(when.channels, stale_after)
        self._when, self._setpoint = when, when.setpoint_channel

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        when = self._when
        value, setpoint = self._known(seen, when.channel), self._known(seen, self._setpoint)
        if value is None or setpoint is None:
            self.value = None
            return None
        self.value = value - setpoint
        limit = when.limit - when.deadband if active else when.limit
        return towards(self.value, when.direction) > limit

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        limit = self._when.limit if outcome else self._when.limit - self._when.deadband
        than = f"{'more' if outcome else 'not more'} than {in_words(limit)}"
        return f"{in_words(self.value)} from {self._setpoint}, {than}"


class _Quality(ConditionTest):
    marks_uncertain = False

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        [channel] = self.channels
        newest = seen.values.get(channel)
        if newest is None or self._is_stale(seen, newest):
            self.value = None
            return None
        self.value = float(newest.quality)
        return newest.quality != 0 or newest.value is None

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        [channel] = self.channels
        if outcome and self.value == 0:
            return why_bad(channel, seen.values[channel])
        return f"quality {in_words(self.value)}" if outcome else f"{channel} is good"


class _Silent(ConditionTest):
    def __init__(self, when: rules.Silent) -> None:
        super().__init__()
        self._after = when.after

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        well_since, settled_until = seen.intake
        if well_since > seen.now:
            self.value = None
            return None
        self.value = max(min(seen.now, settled_until) - max(seen.heard, well_since), 0.0)
        return self.value >= self._after

    def _why_unknown(self, seen: Snapshot) -> str:
        return "the intake stores nothing: nobody can tell whether the device sends"

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        return f"nothing for {self.value:.0f} s" if outcome else "the device sends again"


class _Formula(ConditionTest):
    def __init__(self, text: str, stale_after: float) -> None:
        self._formula = expression.compile(text)
        super().__init__(self._formula.channels, stale_after)

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        return self._formula.truth(self._values(seen))

    def _values(self, seen: Snapshot) -> dict[str, float | None]:
        return {channel: self._known(seen, channel) for channel in self.channels}

    def _compared(self, seen: Snapshot, outcome: bool | None) -> str:
        values = ", ".join(f"{channel} {in_words(value)}" for channel, value in sorted(self._values(seen).items()))
        return f"{values}: {self._formula.text}"[:300]


class _Clearing(ConditionTest):
    """A condition that returns only when the formula in `clear` holds."""

    def __init__(self, raises: ConditionTest, clear: _Formula) -> None:
        super().__init__(raises.channels | clear.channels)
        self._raises, self._clear = raises, clear
        self._was_active = False

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        outcome = self._raises.step(seen, active)  # also while active: the test may keep a window
        self.value, self._was_active = self._raises.value, active
        if not active:
            return outcome
        cleared = self._clear.step(seen, active)
        return None if cleared is None else not cleared

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        return (self._clear if self._was_active else self._raises).words(seen, outcome)

    def memory(self) -> Memory:
        return self._raises.memory()
