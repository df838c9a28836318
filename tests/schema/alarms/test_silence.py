"""Devices that fall silent, never send, or send seldom: what the rules of a device make of that."""

from __future__ import annotations

import pytest

from schema.alarms.engine import DeviceAlarms
from schema.alarms.intake import STOPPED, Intake
from schema.alarms.machine import AlarmState
from tests.schema.alarms.lines import LOW, T0, causes, frame, limit, restarted, rule, seen


def test_a_device_that_falls_silent_becomes_unknown_and_so_do_its_alarms() -> None:
    rules = [rule(limit()), rule(limit(), "loud", unknown="raise", on_delay=5), rule({"kind": "gap"}, "gap")]
    device = DeviceAlarms(rules)
    device.frame(frame(0, LOW, lag=1, boot=1, seq=0))
    assert not device.tick(T0 + 91)  # 60 s, and 30 s for one that is on its way
    made = device.tick(T0 + 91.1)
    assert [(one.rule, one.cause) for one in made] == [("r", "unknown"), ("loud", "unknown")]
    assert not device.tick(T0 + 96)
    (raised,) = device.tick(T0 + 96.2)
    assert (raised.rule, raised.after) == ("loud", AlarmState.UNACKNOWLEDGED)
    assert [one.cause for one in device.frame(frame(100, LOW, boot=1, seq=1))] == ["known", "return"]


def test_a_device_that_never_sends_is_silent_and_its_conditions_are_unknown() -> None:
    rules = [rule(limit()), rule({"kind": "silent", "after": 10}, "silent"), rule({"kind": "gap"}, "gap")]
    device = DeviceAlarms(rules)
    for t in range(10):
        assert not device.tick(T0 + t)
    device = restarted(device, rules)
    assert [(one.rule, one.cause, one.detail) for one in device.tick(T0 + 10)] == [
        ("silent", "condition", "nothing for 10 s")
    ]
    words = "the device has not sent anything yet"
    assert [(one.rule, one.cause, one.detail) for one in device.tick(T0 + 60)] == [
        ("r", "unknown", words),
        ("gap", "unknown", words),
    ]
    made = device.frame(frame(70, LOW, boot=1, seq=0))
    assert [(one.rule, one.cause) for one in made] == [("r", "known"), ("silent", "return"), ("gap", "known")]


def test_silence_is_judged_only_while_the_intake_is_well() -> None:
    device = DeviceAlarms([rule({"kind": "silent", "after": 10}, "silent")])
    device.frame(frame(0, LOW))
    assert not device.tick(T0 + 14, Intake(0, T0 + 9))  # nothing is known beyond 9 s
    (made,) = device.tick(T0 + 24, STOPPED)
    assert (made.cause, made.detail) == (
        "unknown",
        "the intake stores nothing: nobody can tell whether the device sends",
    )
    (made,) = device.tick(T0 + 25, Intake(T0 + 25, T0 + 25))
    assert (made.cause, made.after) == ("known", AlarmState.NORMAL)
    assert not device.tick(T0 + 34.5, Intake(T0 + 25, T0 + 34))
    assert causes(device.tick(T0 + 35, Intake(T0 + 25, T0 + 35))) == [(35, "condition")]
    (made,) = device.tick(T0 + 40, STOPPED)
    assert (made.cause, made.after) == ("unknown", AlarmState.UNACKNOWLEDGED)


def test_a_device_that_sends_once_a_minute_is_not_unknown_between() -> None:
    device = DeviceAlarms([rule(limit())])
    for minute in range(10):
        assert not device.frame(frame(60 * minute, LOW, lag=5 + minute % 3))
        for second in range(8, 65):
            assert not device.tick(T0 + 60 * minute + second)


@pytest.mark.parametrize(("every", "at_once"), [(70, 1), (120, 1), (1, 120), (10, 20)])
def test_a_device_that_sends_seldom_is_not_unknown_between(every: int, at_once: int) -> None:
    """One value in so many seconds, so many sent together. Only at the begin nothing is usual yet."""
    device, made, waiting = DeviceAlarms([rule(limit())]), [], []
    for second in range(3000):
        if second % every == 0:
            waiting.append(second)
        if len(waiting) == at_once:
            for at in waiting:
                made += device.frame(frame(at, LOW, lag=second - at))
            waiting = []
        made += device.tick(T0 + second)
    assert all(at < 800 for at, _ in causes(made)), causes(made)
    assert seen(device.alarms["r"]) == "-"
