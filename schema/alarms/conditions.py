"""Decides whether the condition of a rule holds, by the device's time: True, False, or None for unknown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, assert_never

from schema.alarms import expression, rules, windows
from schema.alarms.snapshot import Snapshot, Value, in_words, known, towards, why_unknown
from schema.alarms.windows import Memory

__all__ = ["Memory", "Snapshot", "Test", "Value", "test"]


class Test(Protocol):
    """The test of one rule on one device. Its memory outlives the process as JSON."""

    channels: frozenset[str]
    """The channels that it reads."""
    value: float | None
    """The value that it compared last, for people."""

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        """Evaluate after a new frame, or as time passes. `active` says whether the condition holds already (for
        deadbands and `clear`). The same snapshot gives the same result."""

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        """Describe for people what the step with this outcome compared."""

    def memory(self) -> Memory: ...


def test(rule: rules.Rule, memory: Memory | None = None) -> Test:  # noqa: PT028 - no test of pytest's
    """Make a rule's test, new or from its memory. Raises expression.BadExpression for a bad formula."""
    memory, stale_after = memory or {}, rule.stale_after
    made: Test
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
            made = _Quality(when, stale_after)
        case rules.Silent() as when:
            made = _Silent(when)
        case rules.SequenceGap() as when:
            made = windows.GapTest(when, memory)
        case rules.Skew() as when:
            made = windows.SkewTest(when, memory)
        case rules.Formula() as when:
            made = _Formula(when, stale_after)
        case other:
            assert_never(other)
    return made if rule.clear is None else _Clearing(made, rule.clear, stale_after)


class _Stateless:
    """The base of tests that need the snapshot alone."""

    value: float | None = None

    def __init__(self, channels: Iterable[str], stale_after: float) -> None:
        self.channels = frozenset(channels)
        self._stale_after = stale_after

    def memory(self) -> Memory:
        return {}


class _Limit(_Stateless):
    def __init__(self, when: rules.Limit, stale_after: float) -> None:
        super().__init__([when.channel], stale_after)
        self._channel = when.channel
        self._is_high = when.is_high
        self._raises = when.limit
        self._returns = when.limit - when.deadband if self._is_high else when.limit + when.deadband

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        self.value = value = known(seen, self._channel, self._stale_after)
        if value is None:
            return None
        limit = self._returns if active else self._raises
        return value > limit if self._is_high else value < limit

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        if outcome is None:
            return why_unknown(seen, self.channels, self._stale_after)
        side = "above" if self._is_high else "below"
        if outcome:
            return f"{in_words(self.value)} {side} {in_words(self._raises)}"
        return f"{in_words(self.value)} not {side} {in_words(self._returns)}"


class _Deviation(_Stateless):
    def __init__(self, when: rules.Deviation, stale_after: float) -> None:
        self._setpoint = when.setpoint_channel
        super().__init__([when.channel, self._setpoint], stale_after)
        self._when = when

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        when = self._when
        value, setpoint = known(seen, when.channel, self._stale_after), known(seen, self._setpoint, self._stale_after)
        if value is None or setpoint is None:
            self.value = None
            return None
        self.value = value - setpoint
        limit = when.limit - when.deadband if active else when.limit
        return towards(self.value, when.direction) > limit

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        if outcome is None:
            return why_unknown(seen, self.channels, self._stale_after)
        limit = self._when.limit if outcome else self._when.limit - self._when.deadband
        return (
            f"{in_words(self.value)} from {self._setpoint}, {'more' if outcome else 'not more'} than {in_words(limit)}"
        )


class _Quality(_Stateless):
    def __init__(self, when: rules.Quality, stale_after: float) -> None:
        super().__init__([when.channel], stale_after)
        self._channel = when.channel

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        newest = seen.values.get(self._channel)
        if newest is None or seen.time - newest.time > self._stale_after:
            self.value = None
            return None
        self.value = float(newest.quality)
        return newest.quality != 0 or newest.value is None

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        if outcome is None:
            return why_unknown(seen, self.channels, self._stale_after)
        return f"quality {in_words(self.value)}" if outcome else f"{self._channel} is good"


class _Silent(_Stateless):
    def __init__(self, when: rules.Silent) -> None:
        super().__init__([], 0.0)
        self._after = when.after

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        if seen.well_since > seen.now:
            self.value = None
            return None
        self.value = max(seen.now - max(seen.heard, seen.well_since), 0.0)
        return self.value >= self._after

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        if outcome is None:
            return "the intake stores nothing: nobody can tell whether the device sends"
        return f"nothing for {self.value:.0f} s" if outcome else "the device sends again"


class _Expression:
    def __init__(self, text: str, stale_after: float) -> None:
        self.text = text
        self._formula = expression.compile(text)
        self.channels = self._formula.channels
        self._read = tuple(sorted(self.channels))
        self._stale_after = stale_after

    def truth(self, seen: Snapshot) -> bool | None:
        return self._formula.truth(self.values(seen))

    def values(self, seen: Snapshot) -> Mapping[str, float | None]:
        return {channel: known(seen, channel, self._stale_after) for channel in self._read}

    def words(self, seen: Snapshot) -> str:
        values = ", ".join(f"{channel} {in_words(value)}" for channel, value in self.values(seen).items())
        return f"{values}: {self.text}"[:300]


class _Formula(_Stateless):
    def __init__(self, when: rules.Formula, stale_after: float) -> None:
        self._expression = _Expression(when.expression, stale_after)
        super().__init__(self._expression.channels, stale_after)

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        return self._expression.truth(seen)

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        unknown = why_unknown(seen, self.channels, self._stale_after) if outcome is None else ""
        return unknown or self._expression.words(seen)


class _Clearing:
    """A condition that returns only when the formula in `clear` holds."""

    def __init__(self, raises: Test, clear: str, stale_after: float) -> None:
        self._raises, self._clear = raises, _Expression(clear, stale_after)
        self._stale_after = stale_after
        self.channels = raises.channels | self._clear.channels
        self._was_active = False

    @property
    def value(self) -> float | None:
        return self._raises.value

    @value.setter
    def value(self, value: float | None) -> None:
        self._raises.value = value

    def step(self, seen: Snapshot, active: bool) -> bool | None:
        outcome = self._raises.step(seen, active)  # also while active: the test may keep a window
        self._was_active = active
        if not active:
            return outcome
        cleared = self._clear.truth(seen)
        return None if cleared is None else not cleared

    def words(self, seen: Snapshot, outcome: bool | None) -> str:
        if not self._was_active:
            return self._raises.words(seen, outcome)
        unknown = why_unknown(seen, self._clear.channels, self._stale_after) if outcome is None else ""
        return unknown or self._clear.words(seen)

    def memory(self) -> Memory:
        return self._raises.memory()
