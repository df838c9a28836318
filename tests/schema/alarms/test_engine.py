"""The rules of a device, fed as live: delays, unknowns, phases, people, lateness, clocks that are set, restarts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from schema.alarms.engine import DeviceAlarms, Transition
from schema.alarms.intake import STOPPED, Intake
from schema.alarms.lateness import Lag, Lateness
from schema.alarms.machine import Action, AlarmState, NotPossible
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame
from tests.schema.alarms.lines import NAN, T0, Row, causes, frame, limit, play, rule, seen

HIGH, LOW = 39.0, 37.0


def skew(limit: float = 300) -> dict[str, object]:
    return {"kind": "skew", "limit": limit}


def when(at: float) -> datetime:
    return datetime.fromtimestamp(T0 + at, UTC)


def announced(made: Sequence[Transition]) -> list[Transition]:
    """Without those of what is known late."""
    return [one for one in made if not one.cause.startswith("late")]


def restarted(device: DeviceAlarms, rules: Sequence[Rule]) -> DeviceAlarms:
    return DeviceAlarms(rules, json.loads(json.dumps(device.memory(), allow_nan=False)), device.alarms)


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


def test_what_is_known_late_and_still_so_is_raised() -> None:
    rules = [rule(limit())]
    device = DeviceAlarms(rules)
    device.frame(frame(0, LOW))
    made = [one for t in range(1, 100) for one in device.frame(frame(t, HIGH, lag=150 - t))]
    device = restarted(device, rules)
    assert causes(made) == [(1, "late")]
    assert causes(device.frame(frame(150, HIGH))) == [(150, "condition")]
    assert causes(device.frame(frame(151, LOW))) == [(151, "return")]


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
