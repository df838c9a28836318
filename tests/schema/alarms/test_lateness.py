"""Frames that come late or out of order, and clocks that are set: what the rules of a device make of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from schema.alarms.engine import DeviceAlarms, Transition
from schema.alarms.lateness import Lag, Lateness
from schema.alarms.machine import AlarmState
from tests.schema.alarms.lines import HIGH, LOW, T0, causes, frame, limit, restarted, rule, seen


def skew(limit: float = 300) -> dict[str, object]:
    return {"kind": "skew", "limit": limit}


def announced(made: Sequence[Transition]) -> list[Transition]:
    """Without those of what is known late."""
    return [one for one in made if not one.cause.startswith("late")]


@pytest.mark.parametrize("numbered", [True, False])
def test_late_history_changes_nothing(numbered: bool) -> None:
    device = DeviceAlarms([rule(limit())])
    device.frame(frame(100, LOW, boot=2 if numbered else None, seq=100 if numbered else None))
    before = device.memory()["values"]
    late = [(50, 2, 50), (99.9, 2, 99), (99, 1, 5000)] if numbered else [(50, None, None), (99.9, None, None)]
    for at, boot, seq in late:
        assert not device.frame(frame(at, HIGH, lag=101 - at, boot=boot, seq=seq))
    assert device.memory()["values"] == before


def test_a_backlog_raises_nothing_and_what_is_so_afterwards_is_evaluated_afresh() -> None:
    device = DeviceAlarms([rule(limit(), on_delay=5)])
    for t in range(10):
        assert not device.frame(frame(t, LOW, lag=0.2, boot=1, seq=t))
    for t in range(10, 600):  # the line was down until 600: what was kept comes at once, in order
        assert not announced(device.frame(frame(t, HIGH, lag=max(600 - t, 0.2) + t / 1000, boot=1, seq=t))) or t > 569
    made = [one for t in range(600, 620) for one in device.frame(frame(t, HIGH, lag=0.2, boot=1, seq=t))]
    assert seen(device.alarms["r"]) == "A"
    assert not made  # it was raised by those that were in time: from 570 on, after the delay


def test_a_backlog_is_none_of_the_live_alarms_and_ends_none() -> None:
    device = DeviceAlarms([rule(limit())])
    device.frame(frame(0, HIGH))
    for t in range(10, 500):
        assert not device.frame(frame(t, LOW, lag=600 - t))
    assert seen(device.alarms["r"]) == "A"
    (back,) = device.frame(frame(600, LOW))
    assert causes([back]) == [(600, "return")]


def test_a_backlog_is_known_as_one_even_when_it_comes_first() -> None:
    device = DeviceAlarms([rule(limit())])
    assert not announced([one for t in range(500) for one in device.frame(frame(t, HIGH, lag=600 - t))])
    assert len(device.frame(frame(600, HIGH))) == 1


def test_a_backlog_that_is_worked_off_slowly_is_still_one() -> None:
    device, at = DeviceAlarms([rule(limit())]), 0.0
    made = []
    while 600 - at / 2 > 31:  # two seconds of it a second
        made += device.frame(frame(at, HIGH, lag=600 - at / 2))
        at += 2
    assert [(one.cause, one.detail) for one in announced(made)] == [("unknown", "frames come 540 s after their time")]
    assert causes(device.frame(frame(1200, HIGH, lag=0.1))) == [(1200, "condition")]


def test_what_is_known_late_is_told_and_not_announced() -> None:
    """A line was down for three minutes."""
    device = DeviceAlarms([rule(limit(), on_delay=5)])
    device.frame(frame(0, LOW))
    values = [LOW] * 20 + [HIGH] * 40 + [LOW] * 60 + [HIGH] * 2 + [LOW] * 58
    made = [one for t, value in enumerate(values, 1) for one in device.frame(frame(t, value, lag=181 - t))]
    assert not announced(made)
    assert causes(made) == [(26, "late"), (61, "late-return")]
    assert made[0].detail == "39 above 38, known 155 s later"
    assert {(one.before, one.after) for one in made} == {(AlarmState.NORMAL, AlarmState.NORMAL)}
    assert not device.frame(frame(182, LOW))


def test_what_is_known_late_of_a_phase_that_the_rule_is_not_for_is_not_told() -> None:
    device = DeviceAlarms([rule(limit(), scope={"phases": ["feed"]})])
    device.frame(frame(0, LOW))
    device.phase(T0, "batch")
    late = [one for t in range(1, 60) for one in device.frame(frame(t, HIGH, lag=181 - t))]
    device.phase(T0 + 60, "feed")
    late += [one for t in range(60, 120) for one in device.frame(frame(t, HIGH, lag=181 - t))]
    assert causes(late) == [(60, "late")]


def test_what_is_known_late_and_still_so_is_raised() -> None:
    rules = [rule(limit())]
    device = DeviceAlarms(rules)
    device.frame(frame(0, LOW))
    made = [one for t in range(1, 100) for one in device.frame(frame(t, HIGH, lag=150 - t))]
    device = restarted(device, rules)
    assert causes(made) == [(1, "late")]
    assert causes(device.frame(frame(150, HIGH))) == [(150, "condition")]
    assert causes(device.frame(frame(151, LOW))) == [(151, "return")]


def test_a_delay_goes_on_in_a_backlog_and_ends_with_the_first_frame_in_time() -> None:
    """Else a line that stalls again and again would keep the alarm away."""
    device = DeviceAlarms([rule(limit(), on_delay=10)])
    device.frame(frame(0, HIGH))
    for t in range(1, 50):
        assert not announced(device.frame(frame(t, HIGH, lag=100 - t)))
    assert causes(device.frame(frame(100, HIGH))) == [(100, "condition")]


def test_blocks_of_a_minute_are_no_backlog_and_no_clock_that_was_set() -> None:
    device = DeviceAlarms([rule(limit(), "fast"), rule(limit(channel="slow"), "slow", on_delay=100)])
    made, seq = [], 0
    for t in range(1, 241):
        made += device.frame(frame(t, {"slow": HIGH}, boot=1, seq=seq))
        seq += 1
        if t % 60 == 0:
            for n in range(60):
                made += device.frame(frame(t - 59.5 + n, LOW, lag=59.5 - n, boot=1, seq=seq))
                seq += 1
    assert [(one.rule, *cause) for one, cause in zip(made, causes(made), strict=True) if one.rule == "slow"] == [
        ("slow", 101, "condition")
    ]


def test_a_delay_that_stays_is_the_usual_one() -> None:
    """Of a clock that is behind: evaluated after a minute."""
    device = DeviceAlarms([rule(limit())])
    made = [one for t in range(100) for one in device.frame(frame(t, HIGH, lag=120))]
    assert causes(announced(made)) == [(60, "condition")]


def test_the_usual_delay_follows_a_clock_that_drifts() -> None:
    lag = Lag()
    made = {lag.judge(T0 + 60 * n, T0 + 60 * n + n * 0.1) for n in range(10_000)}  # in a week 1000 s behind
    assert made == {Lateness.LIVE}
    assert lag.judge(T0 + 600_000, T0 + 600_000 + 1040) is Lateness.LATE


def test_a_clock_that_is_set_back_is_known_by_the_sequence() -> None:
    """Delays under way go on, windows begin anew, what came before with greater times is late."""
    rules = [rule(limit(), on_delay=10), rule({"kind": "rate", "channel": "x", "limit": 1, "window": 20}, "rate")]
    device = DeviceAlarms(rules)
    for t in range(100):
        device.frame(frame(t, HIGH if t >= 95 else LOW, boot=1, seq=t))
    assert seen(device.alarms["r"]) == "-"
    made = []
    for n in range(20):
        device = restarted(device, rules)
        made += device.frame(frame(99 - 3600 + n, HIGH, lag=3600, boot=1, seq=100 + n))
        assert not device.frame(frame(99 - 3600 + n, HIGH, lag=3600, boot=1, seq=100 + n))
        assert not device.frame(frame(90, LOW, boot=1, seq=90))
    assert (99 - 3600 + 6, "condition") in causes(made)  # since 95: 4 s before it was set, 6 s after
    assert (99 - 3600, "unknown") in causes(made)
    assert seen(device.alarms["rate"]) == "-"


def test_the_values_of_the_frame_that_tells_of_a_clock_set_back_count() -> None:
    device = DeviceAlarms([rule(limit())])
    device.frame(frame(0, LOW, boot=1, seq=0))
    made = device.frame(frame(-3600, HIGH, lag=3600, boot=1, seq=1))
    assert causes(made) == [(-3600, "condition")]
    assert causes(device.frame(frame(-3599, LOW, lag=3600, boot=1, seq=2))) == [(-3599, "return")]


NUMBERS: dict[str, Callable[[int], tuple[int | None, int | None]]] = {
    "none": lambda n: (None, None),
    "a boot before": lambda n: (1, n),
    "the same again": lambda n: (5, n),
    "from one to the other": lambda n: (1 + n % 2, n),
    "at random": lambda n: (random.Random(n).randrange(9), random.Random(n).randrange(10**6)),
}


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("back", [40.0, 5 * 3600.0])
def test_a_clock_that_is_set_back_is_followed_after_a_minute_whatever_the_numbers(numbers: str, back: float) -> None:
    rules = [rule(limit(), on_delay=5), rule({"kind": "silent", "after": 60}, "silent"), rule(skew(), "skew")]
    device, made = DeviceAlarms(rules), []
    has_numbers = numbers != "none"
    for t in range(100):
        device.frame(frame(t, LOW, boot=5 if has_numbers else None, seq=50 + t if has_numbers else None))
    for n in range(1, 100):
        boot, seq = NUMBERS[numbers](n)
        made += device.frame(frame(99 + n - back, HIGH, lag=back, boot=boot, seq=seq))
        made += device.tick(T0 + 99 + n)
        device = restarted(device, rules)
    raised = {one.rule: one.at.timestamp() - T0 + back for one in made if one.cause == "condition"}
    assert 100 < raised.pop("r") <= 99 + 67
    assert set(raised) == ({"skew"} if back > 300 else set())
    assert back < 300 or device.oddities[0] > 0


@pytest.mark.parametrize("numbers", NUMBERS)
def test_what_is_newer_is_evaluated_whatever_its_number(numbers: str) -> None:
    device = DeviceAlarms([rule(limit()), rule({"kind": "silent", "after": 11}, "silent")])
    device.frame(frame(0, LOW, boot=5, seq=1000))
    made = []
    for n in range(1, 30):
        boot, seq = NUMBERS[numbers](n)
        made += device.frame(frame(n, HIGH, boot=boot, seq=seq))
        made += device.tick(T0 + n)
    assert causes(made) == [(1, "condition")]
    assert (device.oddities[1] > 0) is (numbers != "none")


def test_late_frames_of_a_boot_whose_clock_was_ahead_are_history() -> None:
    device = DeviceAlarms([rule(limit())])
    for n in range(10):
        device.frame(frame(240 + n, LOW, lag=-240, boot=1, seq=n))
    assert not device.frame(frame(10, LOW, boot=2, seq=0))
    for n in range(10):
        assert not device.frame(frame(250 + n, HIGH, lag=-239 - n, boot=1, seq=10 + n))
    assert causes(device.frame(frame(11, HIGH, boot=2, seq=1))) == [(11, "condition")]
    # a board with another counter, and the clock as it is, is none of these
    assert causes(device.frame(frame(12, LOW, boot=1, seq=0))) == [(12, "return")]


@pytest.mark.parametrize("behind", [3660.0, 5 * 3600.0, -200.0])
def test_a_device_that_begins_with_a_wrong_clock_is_evaluated_after_a_minute(behind: float) -> None:
    rules = [rule(limit(), on_delay=5), rule(skew(100), "skew"), rule({"kind": "silent", "after": 10}, "silent")]
    device, made = DeviceAlarms(rules), []
    assert not device.tick(T0)
    for n in range(1, 70):
        made += device.frame(frame(n - behind, HIGH, lag=behind, boot=1, seq=n)) + device.tick(T0 + n)
    raised = {one.rule: one.at.timestamp() - T0 + behind for one in made if one.cause == "condition"}
    assert set(raised) == {"r", "skew"}
    assert max(raised.values()) <= 61


def test_what_is_older_gives_the_channels_that_are_known_as_older_still() -> None:
    """A block of other channels, without numbers."""
    device = DeviceAlarms([rule(limit()), rule(limit(channel="y"), "y")])
    for n in range(10):
        device.frame(frame(n, LOW, lag=10 - n))
    made = [one for n in range(10) for one in device.frame(frame(n, {"y": HIGH, "x": HIGH}, lag=10 - n))]
    assert [(one.rule, one.cause) for one in made if one.cause == "condition"] == [("y", "condition")]
    assert seen(device.alarms["r"]) == "-"


def test_a_line_that_stalls_again_and_again_does_not_keep_an_alarm_away() -> None:
    device, made = DeviceAlarms([rule(limit(), on_delay=100)]), []
    for begin in range(0, 400, 40):
        for n in range(40):
            made += device.frame(frame(begin + n, HIGH, lag=40 - n))
    assert [cause for _, cause in causes(made)] == ["condition"]
    assert causes(made)[0][0] <= 110


def test_a_reboot_goes_on() -> None:
    device = DeviceAlarms([rule(limit(), on_delay=10)])
    device.frame(frame(0, HIGH, boot=1, seq=5000))
    device.frame(frame(5, HIGH, boot=2, seq=0))
    assert causes(device.frame(frame(10, HIGH, boot=2, seq=1))) == [(10, "condition")]
    assert not device.frame(frame(9, LOW, boot=1, seq=5001))
    assert seen(device.alarms["r"]) == "A"


def test_a_sequence_that_begins_anew_without_a_new_boot_does_not_blind_us() -> None:
    device = DeviceAlarms([rule(limit())])
    device.frame(frame(0, LOW, boot=1, seq=5000))
    assert len(device.frame(frame(1, HIGH, boot=1, seq=0))) == 1
