"""Any device, torn apart: what a restart, a repetition or late history must not change."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schema.alarms.engine import DeviceAlarms, Transition
from schema.alarms.machine import Alarm
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame
from tests.schema.alarms.lines import NAN, T0, limit, rule

HIGH, LOW = 39.0, 37.0


def when(at: float) -> datetime:
    return datetime.fromtimestamp(T0 + at, UTC)


def restarted(device: DeviceAlarms, rules: Sequence[Rule]) -> DeviceAlarms:
    return DeviceAlarms(rules, json.loads(json.dumps(device.memory(), allow_nan=False)), device.alarms)


RULES = [
    rule(limit(1.0, deadband=0.5), "limit", on_delay=3, off_delay=2),
    rule(limit(1.0), "plain", unknown="raise"),
    rule({"kind": "deviation", "channel": "x", "setpoint": "y", "limit": 2}, "deviation", unknown="clear", off_delay=4),
    rule({"kind": "rate", "channel": "x", "limit": 20, "window": 20, "deadband": 5}, "rate"),
    rule({"kind": "frozen", "channel": "x", "after": 5, "tolerance": 0.1}, "frozen", latch=True),
    rule({"kind": "quality", "channel": "y"}, "quality", scope={"phases": ["a"]}),
    rule({"kind": "silent", "after": 20}, "silent", on_delay=5),
    rule({"kind": "gap", "frames": 2, "window": 40}, "gap"),
    rule({"kind": "skew", "limit": 2}, "skew"),
    rule({"kind": "formula", "expression": "x > y or y > 3"}, "formula", clear="x < 0", on_delay=2),
]


@dataclass(frozen=True)
class Happening:
    frame: CommittedFrame | None
    phase: str | None
    now: float
    restarts: bool

    def befalls(self, device: DeviceAlarms) -> list[Transition]:
        if self.frame is not None:
            return device.frame(self.frame)
        return device.phase(self.now, self.phase) if self.phase is not None else device.tick(self.now)


number = st.sampled_from([None, NAN, -1.0, 0.5, 0.9, 1.1, 2.0, 4.0, 1e300])
sent = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.tuples(number, st.sampled_from([0, 0, 0, 1])))


@st.composite
def happenings(draw: st.DrawFn) -> list[Happening]:
    made, time, now, received, boot, seq = [], T0, T0, T0, 1, 0
    has_sequence = draw(st.booleans())
    for _ in range(draw(st.integers(1, 25))):
        step = draw(st.sampled_from([0.0, 1.0, 1.0, 1.0, 2.5, 10.0, 100.0]))
        restarts = draw(st.booleans())
        kind = draw(st.sampled_from(["frame"] * 6 + ["tick", "phase", "boot", "back"]))
        now += step
        if kind == "tick":
            made.append(Happening(None, None, now, restarts))
            continue
        if kind == "phase":
            made.append(Happening(None, draw(st.sampled_from(["a", "b"])), now, restarts))
            continue
        time += step
        if kind == "boot":
            boot, seq = boot + 1, draw(st.integers(0, 3))
        elif kind == "back" and has_sequence:
            time -= 500
        received = max(received, now + draw(st.sampled_from([0.0, 0.5, 3.0, 100.0])))
        values = [(channel, value, quality) for channel, (value, quality) in draw(sent).items()]
        sequence = seq if has_sequence else None
        made.append(
            Happening(
                CommittedFrame(time, received, boot if has_sequence else None, sequence, values), None, now, restarts
            )
        )
        seq += draw(st.sampled_from([1, 1, 1, 3]))
    return made


def test_a_rule_that_waits_for_a_frame_of_its_phase_does_so_after_a_restart() -> None:
    rules = [rule({"kind": "quality", "channel": "y"}, "quality", scope={"phases": ["a"]})]
    device = DeviceAlarms(rules)
    device.frame(CommittedFrame(T0, T0, None, None, [("y", None, 0)]))
    device.phase(T0 + 1, "a")
    [raised] = restarted(device, rules).frame(CommittedFrame(T0 + 2.5, T0 + 2.5, None, None, []))
    assert (raised.at, raised.cause) == (when(1), "condition")


def test_a_rule_waits_for_a_frame_of_its_phase_no_longer_because_of_a_restart() -> None:
    rules = [rule({"kind": "quality", "channel": "y"}, "quality", scope={"phases": ["a"]})]
    device = DeviceAlarms(rules)
    device.frame(CommittedFrame(T0, T0, None, None, [("y", None, 0)]))
    device.phase(T0 + 1, "a")
    assert device.tick(T0 + 1.2) == []
    [raised] = restarted(device, rules).tick(T0 + 2.3)
    assert (raised.at, raised.cause) == (when(1), "condition")


def test_when_the_numbers_of_a_device_went_back_is_known_after_a_restart() -> None:
    device = DeviceAlarms(RULES)
    for n, seq in enumerate((5, 6, 0)):
        device.frame(CommittedFrame(T0 + n, T0 + n, 1, seq, [("x", 0.0, 0)]))
    assert restarted(device, RULES).oddities == device.oddities == (0.0, T0 + 2)


@settings(deadline=None, max_examples=100)
@given(happenings())
def test_a_restart_at_any_point_changes_nothing(happened: list[Happening]) -> None:
    one, other = DeviceAlarms(RULES), DeviceAlarms(RULES)
    for happening in happened:
        assert happening.befalls(one) == happening.befalls(other)
        if happening.restarts:
            other = restarted(other, RULES)
    assert one.alarms == other.alarms
    assert one.memory() == other.memory()


MADE_ANEW = {"_is_scoped", "_is_waiting", "_was_active", "_formula"}
"""Attributes that are made of the rule, or that the next frame or tick makes of the others."""


def state(it: Any) -> Any:
    """All that an object holds, down to numbers and texts, however its classes keep it."""
    if isinstance(it, dict):
        return {key: state(value) for key, value in it.items()}
    if isinstance(it, list | tuple | deque):
        return [state(one) for one in it]
    if isinstance(it, Rule | datetime) or type(it).__module__ == "builtins":
        return "NaN" if it != it else it
    slots = chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(it).__mro__)
    names = {*slots, *getattr(it, "__dict__", {})} - MADE_ANEW
    return {name: state(getattr(it, name)) for name in names if not name.startswith("__")}


@settings(deadline=None, max_examples=100)
@given(happenings())
def test_nothing_that_a_device_holds_is_lost_in_a_restart(happened: list[Happening]) -> None:
    device = DeviceAlarms(RULES)
    for happening in happened:
        happening.befalls(device)
        if happening.restarts:
            assert state(restarted(device, RULES)) == state(device)


@settings(deadline=None, max_examples=100)
@given(happenings())
def test_what_is_given_again_after_a_restart_changes_nothing(happened: list[Happening]) -> None:
    """As the evaluator does that knows a checkpoint, and reads from a little before it."""
    one, other, given = DeviceAlarms(RULES), DeviceAlarms(RULES), []
    for happening in happened:
        assert happening.befalls(one) == happening.befalls(other)
        if happening.frame is None:
            continue
        given.append(happening.frame)
        if happening.restarts:
            other = restarted(other, RULES)
            if happening.frame.seq is not None:
                for again in given[-5:]:
                    assert not other.frame(again)
            else:
                assert not other.frame(given[-1])
    assert one.memory() == other.memory()


@settings(deadline=None, max_examples=100)
@given(happenings(), st.floats(0.001, 10_000), st.integers(1, 50))
def test_late_history_never_changes_anything(happened: list[Happening], by: float, numbers: int) -> None:
    one, other = DeviceAlarms(RULES), DeviceAlarms(RULES)
    for happening in happened:
        assert happening.befalls(one) == happening.befalls(other)
        newest, known = happening.frame, other.memory()["values"]
        if newest is not None and newest.time == other.evaluated_until:
            seq = None if newest.seq is None else max(newest.seq - numbers, 0)
            values = [(channel, 99.0, 0) for channel in known if known[channel][0] >= newest.time - by]
            late = CommittedFrame(newest.time - by, newest.received, newest.boot, seq, values)
            assert not other.frame(late)
    assert one.memory() == other.memory()


@settings(deadline=None, max_examples=100)
@given(happenings())
def test_transitions_are_of_changes_and_their_states_join(happened: list[Happening]) -> None:
    device, states = DeviceAlarms(RULES), {one.name: Alarm().state for one in RULES}
    for happening in happened:
        before = device.alarms
        made = happening.befalls(device)
        for transition in made:
            assert transition.before is states[transition.rule]
            assert transition.value is None or math.isfinite(transition.value)
            states[transition.rule] = transition.after
        assert {name for name, alarm in device.alarms.items() if alarm != before[name]} <= {one.rule for one in made}
    assert states == {name: alarm.state for name, alarm in device.alarms.items()}
