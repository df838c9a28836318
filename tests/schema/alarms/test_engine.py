"""The rules of a device, fed as live: delays, unknowns, noise, phases and people."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest

from schema.alarms.engine import DeviceAlarms
from schema.alarms.machine import Action, AlarmState, NotPossible
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame
from tests.schema.alarms.lines import HIGH, LOW, NAN, T0, Row, causes, frame, limit, play, restarted, rule, seen


def when(at: float) -> datetime:
    return datetime.fromtimestamp(T0 + at, UTC)


# Delays and unknowns: rule, then (time, value, what is seen).
TABLES: dict[str, tuple[Rule, list[Row]]] = {
    "on-delay": (
        rule(limit(), on_delay=10),
        [(0, HIGH, "-"), (9.9, HIGH, "-"), (10, HIGH, "A"), (11, LOW, "-"), (12, HIGH, "-"), (22, HIGH, "A")],
    ),
    "on-delay interrupted": (
        rule(limit(), on_delay=10),
        [(0, HIGH, "-"), (9, HIGH, "-"), (9.5, LOW, "-"), (10, HIGH, "-"), (19, HIGH, "-"), (20, HIGH, "A")],
    ),
    "on-delay with a deadband: it must be beyond the limit all the while": (
        rule(limit(deadband=0.5), on_delay=10),
        [(0, HIGH, "-"), (5, 37.8, "-"), (10, HIGH, "-"), (20, HIGH, "A"), (21, 37.8, "A")],
    ),
    "on-delay in tenths of a second": (
        rule(limit(), on_delay=0.3),
        [(0.1, HIGH, "-"), (0.2, HIGH, "-"), (0.3, HIGH, "-"), (0.4, HIGH, "A")],
    ),
    "off-delay": (
        rule(limit(), off_delay=10),
        [(0, HIGH, "A"), (1, LOW, "A"), (10, LOW, "A"), (10.5, HIGH, "A"), (11, LOW, "A"), (21, LOW, "-")],
    ),
    "off-delay with a deadband: it must be beyond the deadband all the while": (
        rule(limit(deadband=0.5), off_delay=10),
        [(0, HIGH, "A"), (1, LOW, "A"), (6, 37.8, "A"), (7, LOW, "A"), (16, LOW, "A"), (17, LOW, "-")],
    ),
    "time in which it is unknown does not count for a delay": (
        rule(limit(), on_delay=10),
        [(0, HIGH, "-"), (4, NAN, "?-"), (14, NAN, "?-"), (16, HIGH, "-"), (21, HIGH, "-"), (22, HIGH, "A")],
    ),
    "nor for a delay off": (
        rule(limit(), off_delay=10),
        [(0, HIGH, "A"), (1, LOW, "A"), (5, NAN, "?A"), (30, LOW, "A"), (35, LOW, "A"), (36, LOW, "-")],
    ),
    "a delay of a channel that is sent seldom does not stretch": (
        rule(limit(), on_delay=130),
        [(0, LOW, "-"), (70, HIGH, "-"), (140, HIGH, "-"), (210, HIGH, "A"), (280, LOW, "-")],
    ),
    "other frames are time too: the value holds until it is stale": (
        rule(limit(), on_delay=10),
        [(0, HIGH, "-"), (5, {"y": 1.0}, "-"), (10, {"y": 1.0}, "A"), (11, LOW, "-"), (80, {"y": 1.0}, "?-")],
    ),
    "a gap counts for stale_after at most": (
        rule(limit(), on_delay=100, stale_after=60),
        [(0, HIGH, "-"), (1000, HIGH, "-"), (1039, HIGH, "-"), (1040, HIGH, "A")],
    ),
    "a clock that is set forward is a gap": (
        rule(limit(), on_delay=90),
        [(0, HIGH, "-"), (10, HIGH, "-"), (3600, HIGH, "-"), (3619, HIGH, "-"), (3620, HIGH, "A")],
    ),
    "hold": (
        rule(limit()),
        [(0, NAN, "?-"), (1, LOW, "-"), (2, NAN, "?-"), (3, HIGH, "A"), (4, NAN, "?A"), (5, LOW, "-")],
    ),
    "raise": (
        rule(limit(), unknown="raise"),
        [(0, NAN, "?A"), (1, LOW, "-"), (2, NAN, "?A"), (3, HIGH, "A"), (4, NAN, "?A"), (5, LOW, "-")],
    ),
    "raise, after the delay": (
        rule(limit(), unknown="raise", on_delay=10),
        [
            (0, LOW, "-"),
            (1, NAN, "?-"),
            (10, NAN, "?-"),
            (11, NAN, "?A"),
            (12, LOW, "-"),
            (13, HIGH, "-"),
            (23, NAN, "?A"),
        ],
    ),
    "clear": (
        rule(limit(), unknown="clear"),
        [(0, NAN, "?-"), (1, HIGH, "A"), (2, NAN, "?-"), (3, HIGH, "A"), (4, LOW, "-")],
    ),
    "clear, after the delay": (
        rule(limit(), unknown="clear", off_delay=10),
        [(0, HIGH, "A"), (1, NAN, "?A"), (10, NAN, "?A"), (11, NAN, "?-"), (12, HIGH, "A")],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_delays_and_unknowns_are_as_worked_out_by_hand(name: str) -> None:
    one, rows = TABLES[name]
    play(one, rows)


def test_a_delay_is_exact_whatever_the_fractions() -> None:
    for tenth in range(100):
        device = DeviceAlarms([rule(limit(), on_delay=0.3)])
        made = [one for n in range(6) for one in device.frame(frame((tenth + n) / 10, HIGH))]
        assert causes(made) == [((tenth + 3) / 10, "condition")]


def noise(seconds: int) -> list[CommittedFrame]:
    """A value that comes near the limit of 38, goes beyond it for a quarter of an hour, and returns; with noise."""
    made = random.Random(7)
    return [frame(t, 37.9 + 0.4 * math.sin(t / 600) ** 3 + made.gauss(0, 0.15), boot=1, seq=t) for t in range(seconds)]


@pytest.mark.parametrize(
    ("one", "fewest", "most"),
    [
        (rule(limit()), 500, 5000),
        (rule(limit(deadband=0.2)), 20, 500),
        (rule(limit(deadband=0.2), on_delay=15, off_delay=15), 2, 4),
    ],
)
def test_noise_chatters_without_deadband_and_delay_and_not_with_them(one: Rule, fewest: int, most: int) -> None:
    device = DeviceAlarms([one])
    made = [transition for sent in noise(3600) for transition in device.frame(sent)]
    assert fewest <= len(made) <= most


def test_parts_of_a_frame_may_come_one_by_one_and_twice() -> None:
    both = rule({"kind": "formula", "expression": "x > 5 and y > 5"})
    device = DeviceAlarms([both])
    device.frame(frame(0, {"x": 6.0}))
    assert seen(device.alarms["r"]) == "?-"
    device.frame(frame(0, {"y": 6.0}))
    assert seen(device.alarms["r"]) == "A"
    before = device.memory()
    assert not device.frame(frame(0, {"x": 1.0}))  # of one time the first stays
    assert device.memory() == before


OFF = {"kind": "deviation", "channel": "x", "setpoint": "y", "limit": 2}
STEPS = [37.0, 39.5, 42.0, 39.0, 36.0]


@pytest.mark.parametrize("order", ["xy", "yx"])
@pytest.mark.parametrize("live", [True, False])
def test_value_and_setpoint_of_one_instant_may_come_in_two_frames(order: str, live: bool) -> None:
    rules = [rule(OFF)]
    device, made = DeviceAlarms(rules, live=live), []
    for t, value in enumerate(STEPS):
        for channel in order:
            made += device.frame(frame(t, {channel: value}))
            if live:
                device = restarted(device, rules)
    assert [cause for _, cause in causes(made)] == ["unknown", "known"]
    assert not device.frame(frame(5, {"x": 39.0}))  # is it the first part?
    assert causes(device.tick(T0 + 6.1)) == [(5, "condition")]  # it was all
    assert causes(device.frame(frame(7, {"x": 36.0}))) == [(7, "return")]


def test_a_channel_that_comes_alone_is_evaluated_at_once() -> None:
    device = DeviceAlarms([rule(OFF)])
    device.frame(frame(0, {"x": 37.0, "y": 37.0}))
    for t in range(1, 30):
        device.frame(frame(t, {"x": 37.0}))
    assert causes(device.frame(frame(30, {"x": 40.0}))) == [(30, "condition")]


def test_a_phase_suppresses_and_coming_back_is_evaluated_afresh() -> None:
    device = DeviceAlarms([rule(limit(), scope={"phases": ["batch", "feed"]}, on_delay=10)])
    made = device.frame(frame(0, HIGH))
    assert [(one.cause, one.after) for one in made] == [("phase", AlarmState.SUPPRESSED)]
    for t in range(1, 30):
        made = device.frame(frame(t, HIGH))
    assert device.alarms["r"].active
    assert device.alarms["r"].state is AlarmState.SUPPRESSED
    (one,) = device.phase(T0 + 30, "batch")
    assert (one.before, one.after, one.detail) == (AlarmState.SUPPRESSED, AlarmState.NORMAL, "run phase: batch")
    assert not device.phase(T0 + 31, "feed")
    assert not [one for t in range(31, 40) for one in device.frame(frame(t, HIGH))]
    (one,) = device.frame(frame(40, HIGH))
    assert one.after is AlarmState.UNACKNOWLEDGED
    (one,) = device.phase(T0 + 50, "harvest")
    assert one.after is AlarmState.SUPPRESSED
    assert not device.phase(T0 + 45, "batch")  # older than what is known
    (one,) = device.phase(T0 + 60, "batch")
    assert one.after is AlarmState.NORMAL


def test_a_phase_that_is_told_after_a_newer_frame_is_evaluated_at_once() -> None:
    device = DeviceAlarms([rule(limit(), scope={"phases": ["batch"]}), rule(limit(), "all")])
    device.frame(frame(10, HIGH))
    made = device.phase(T0 + 5, "batch")
    assert [(one.cause, one.after) for one in made] == [
        ("phase", AlarmState.NORMAL),
        ("condition", AlarmState.UNACKNOWLEDGED),
    ]
    device.phase(T0 + 20, "harvest")
    device.tick(T0 + 200)  # nothing came meanwhile: it is unknown what is so now
    assert [one.cause for one in device.phase(T0 + 201, "batch")] == ["phase"]


def test_a_phase_and_a_frame_of_one_instant_are_evaluated_together() -> None:
    device = DeviceAlarms([rule(limit(), scope={"phases": ["batch"]})])
    device.frame(frame(0, HIGH))
    assert [one.cause for one in device.phase(T0 + 10, "batch")] == ["phase"]
    assert device.frame(frame(10, LOW)) == []
    device.phase(T0 + 20, "harvest")
    device.frame(frame(30, HIGH))
    assert [one.cause for one in device.phase(T0 + 40, "batch")] == ["phase"]
    assert device.tick(T0 + 40) == []
    (one,) = device.tick(T0 + 41.5)  # no frame of that instant comes
    assert (one.cause, one.at.timestamp() - T0) == ("condition", 40)


def test_what_a_person_suppresses_no_phase_releases_and_no_person_what_the_phase_does() -> None:
    rules = [rule(limit(), scope={"phases": ["batch"]})]
    device = DeviceAlarms(rules)
    device.phase(T0, "batch")
    device.frame(frame(0, LOW))
    device.act("r", Action.SUPPRESS, when(1))
    device.phase(T0 + 2, "harvest")
    device = restarted(device, rules)
    device.phase(T0 + 3, "batch")
    assert device.alarms["r"].suppressed
    device.phase(T0 + 4, "harvest")
    made = device.act("r", Action.UNSUPPRESS, when(5))
    assert (made.after, made.detail) == (AlarmState.SUPPRESSED, "the run phase still suppresses the alarm")
    with pytest.raises(NotPossible, match="run phase"):
        device.act("r", Action.UNSUPPRESS, when(6))
    device.phase(T0 + 7, "batch")
    assert not device.alarms["r"].suppressed


def test_shelving_ends_by_the_clock_and_what_is_so_then_is_raised() -> None:
    rules = [rule(limit())]
    device = DeviceAlarms(rules)
    device.frame(frame(0, HIGH))
    made = device.act("r", Action.SHELVE, when(1), until=when(100))
    assert (made.cause, made.before, made.after) == ("shelve", AlarmState.UNACKNOWLEDGED, AlarmState.SHELVED)
    device = restarted(device, rules)
    device.frame(frame(99, HIGH))
    assert not device.tick(T0 + 99.9)
    (made,) = device.tick(T0 + 100)
    assert (made.cause, made.after, made.at) == ("shelving-ended", AlarmState.UNACKNOWLEDGED, when(100))
    assert not device.tick(T0 + 101)


def test_a_shelving_for_once_ends_with_the_return() -> None:
    device = DeviceAlarms([rule(limit())])
    device.frame(frame(0, HIGH))
    device.act("r", Action.SHELVE, when(1), until=when(1000), once=True)
    assert not device.frame(frame(2, HIGH))
    (made,) = device.frame(frame(3, LOW))
    assert (made.cause, made.before, made.after) == ("return", AlarmState.SHELVED, AlarmState.NORMAL)


def test_acts_are_those_of_the_machine() -> None:
    device = DeviceAlarms([rule(limit(), latch=True), rule(limit(), "off", enabled=False)])
    with pytest.raises(NotPossible):
        device.act("r", Action.ACKNOWLEDGE, when(0))
    for name in ("none", "off"):
        with pytest.raises(KeyError):
            device.act(name, Action.ACKNOWLEDGE, when(0))
    device.frame(frame(0, HIGH))
    assert device.act("r", Action.ACKNOWLEDGE, when(1)).after is AlarmState.ACKNOWLEDGED
    (made,) = device.frame(frame(2, LOW))
    assert made.after is AlarmState.LATCHED
    assert device.act("r", Action.RESET, when(3)).after is AlarmState.NORMAL


def test_a_changed_rule_goes_on_from_its_alarm() -> None:
    device = DeviceAlarms([rule(limit(), on_delay=10), rule(limit(), "other", on_delay=10)])
    for t in range(11):
        device.frame(frame(t, HIGH))
    memory = device.memory()
    del memory["rules"]["r"]
    changed = DeviceAlarms([rule(limit(40)), rule(limit(), "other", on_delay=10)], memory, device.alarms)
    made = changed.frame(frame(11, HIGH))
    assert [(one.rule, one.cause) for one in made] == [("r", "return")]
