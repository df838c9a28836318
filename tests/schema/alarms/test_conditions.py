"""Each kind of condition, against tables worked out by hand: value in, condition out, without delays."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.alarms import conditions
from schema.alarms.engine import DeviceAlarms
from schema.alarms.snapshot import Snapshot, Value
from tests.schema.alarms.lines import NAN, T0, Row, causes, frame, limit, play, rule, seen

EMPTY: dict[str, Any] = {}

TABLES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "high": (limit(), [(0, 37.9, "-"), (1, 38.0, "-"), (2, 38.1, "A"), (3, 38.0, "-"), (4, 99.0, "A")]),
    "high with deadband": (
        limit(deadband=0.5),
        [(0, 37.9, "-"), (1, 38.1, "A"), (2, 37.6, "A"), (3, 37.5, "-"), (4, 38.0, "-"), (5, 38.01, "A")],
    ),
    "low": (
        limit(level="low", deadband=0.5),
        [(0, 38.0, "-"), (1, 37.9, "A"), (2, 38.4, "A"), (3, 38.5, "-"), (4, 38.1, "-")],
    ),
    "low-low at zero": (limit(0.0, level="low-low"), [(0, 0.0, "-"), (1, -0.001, "A"), (2, 0.0, "-")]),
    "what is unknown": (
        limit(),
        [
            (0, EMPTY, "?-"),
            (1, 37.0, "-"),
            (2, (37.0, 1), "?-"),
            (3, (99.0, 3), "?-"),
            (4, None, "?-"),
            (5, NAN, "?-"),
            (6, math.inf, "?-"),
            (7, 99.0, "A"),
            (8, NAN, "?A"),
            (9, (37.0, 1), "?A"),
            (10, 37.0, "-"),
        ],
    ),
    "an uncertain value is a value": (
        limit(deadband=1.0),
        [(0, 37.0, "-"), (1, (45.0, 2), "A"), (2, (37.5, 2), "A"), (3, (None, 2), "?A"), (4, (36.0, 2), "-")],
    ),
    "a channel that is sent seldom is known for three of its intervals": (
        limit(),
        [
            *[(70 * n, 37.0, "-") for n in range(5)],
            *[(340 + n, {"y": 1.0}, "-") for n in range(0, 150, 10)],
            (491, {"y": 1.0}, "?-"),
        ],
    ),
    "a value goes stale after more than 60 s": (
        limit(),
        [(0, 39.0, "A"), (60, {"y": 1.0}, "A"), (60.5, {"y": 1.0}, "?A"), (61, 37.0, "-"), (152, {"y": 1.0}, "?-")],
    ),
    "deviation": (
        {"kind": "deviation", "channel": "x", "limit": 2, "deadband": 0.5},
        [
            (0, 30.0, "?-"),
            (1, {"x_setpoint": 30.0}, "-"),
            (2, 32.0, "-"),
            (3, 32.1, "A"),
            (4, 31.6, "A"),
            (5, 31.5, "-"),
            (6, 27.9, "A"),
            (7, {"x_setpoint": 28.0}, "-"),
            (62, 28.0, "-"),
            (68, 28.0, "?-"),
        ],
    ),
    "deviation above another setpoint": (
        {"kind": "deviation", "channel": "x", "setpoint": "sp", "limit": 2, "direction": "above"},
        [(0, {"x": 30.0, "sp": 30.0}, "-"), (1, 20.0, "-"), (2, 32.1, "A"), (3, {"sp": (30.0, 1)}, "?A")],
    ),
    "deviation below": (
        {"kind": "deviation", "channel": "x", "setpoint": "sp", "limit": 2, "direction": "below"},
        [(0, {"x": 30.0, "sp": 30.0}, "-"), (1, 40.0, "-"), (2, 27.9, "A"), (3, 28.0, "-")],
    ),
    "rate: 6 a minute is not more than 6, 12 is; unknown until half of the window": (
        {"kind": "rate", "channel": "x", "limit": 6.5, "window": 60},
        [
            *((t, t * 0.1, "?-") for t in (0, 10, 20)),
            *((t, t * 0.1, "-") for t in range(30, 121, 10)),
            *((t, 12 - (t - 120) * 0.2, "-") for t in (130, 140)),  # a peak: +6 turns to −12 within the window
            (190, 0.0, "A"),
        ],
    ),
    "rate rising, falling is none": (
        {"kind": "rate", "channel": "x", "limit": 6, "window": 20, "direction": "rising"},
        [(0, 10.0, "?-"), (10, 0.0, "-"), (20, -10.0, "-"), (42, 0.0, "?-"), (52, 2.0, "A")],
    ),
    "rate falling, with deadband": (
        {"kind": "rate", "channel": "x", "limit": 6, "window": 10, "deadband": 2, "direction": "falling"},
        [(0, 10.0, "?-"), (10, 8.0, "A"), (20, 7.3, "A"), (30, 6.7, "-"), (40, 5.8, "-")],
    ),
    "rate needs values": (
        {"kind": "rate", "channel": "x", "limit": 6, "window": 20},
        [(0, 1.0, "?-"), (10, NAN, "?-"), (20, 1.0, "-"), (21, {"y": 1.0}, "-"), (30, 1e200, "?-"), (31, 2.0, "-")],
    ),
    "frozen": (
        {"kind": "frozen", "channel": "x", "after": 30},
        [(0, 5.0, "-"), (29, 5.0, "-"), (30, 5.0, "A"), (40, 5.0, "A"), (41, 5.1, "-"), (70, 5.1, "-"), (71, 5.1, "A")],
    ),
    "frozen within a tolerance: from the lowest to the highest, not from one to the next": (
        {"kind": "frozen", "channel": "x", "after": 30, "tolerance": 0.5},
        [(0, 5.0, "-"), (10, 5.4, "-"), (20, 4.95, "-"), (30, 5.2, "A"), (31, 4.8, "-"), (60, 5.2, "-"), (61, 5, "A")],
    ),
    "frozen: bad values do not count, a gap begins anew": (
        {"kind": "frozen", "channel": "x", "after": 30},
        [(0, 5.0, "-"), (20, (5.0, 1), "?-"), (30, 5.0, "A"), (91, 5.0, "-"), (121, 5.0, "A"), (212, {"y": 1.0}, "?A")],
    ),
    "frozen, of a channel that is sent seldom": (
        {"kind": "frozen", "channel": "x", "after": 200},
        [(0, 5.0, "-"), (70, 5.0, "-"), (140, 5.0, "-"), (210, 5.0, "-"), (280, 5.0, "A"), (350, 6.0, "-")],
    ),
    "quality": (
        {"kind": "quality", "channel": "x"},
        [
            (0, {"y": 1.0}, "?-"),
            (1, 5.0, "-"),
            (2, (5.0, 2), "A"),
            (3, 5.0, "-"),
            (4, None, "A"),
            (5, {"y": 1.0}, "A"),
            (6, NAN, "A"),
            (7, 5.0, "-"),
            (70, {"y": 1.0}, "?-"),
        ],
    ),
    "formula, three-valued": (
        {"kind": "formula", "expression": "x > 5 and y < 1"},
        [
            (0, 5.0, "-"),  # false and unknown is false
            (1, 6.0, "?-"),
            (2, {"y": 2.0}, "-"),
            (3, {"y": 0.0}, "A"),
            (4, {"y": (0.0, 1)}, "?A"),
            (5, {"x": 4.0, "y": NAN}, "-"),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_condition_is_as_worked_out_by_hand(name: str) -> None:
    when, rows = TABLES[name]
    play(rule(when), rows)


def test_a_clear_condition_ends_it_and_nothing_else_does() -> None:
    one = rule(limit(), clear="y > 1")
    play(
        one,
        [
            (0, {"x": 37.0, "y": 2.0}, "-"),
            (1, {"x": 39.0, "y": 0.0}, "A"),
            (2, {"x": 20.0, "y": 0.0}, "A"),
            (3, {"x": 20.0, "y": NAN}, "?A"),
            (4, {"x": NAN, "y": 2.0}, "-"),
            (5, {"x": NAN, "y": 2.0}, "?-"),
            (6, {"x": 37.0, "y": NAN}, "-"),
        ],
    )


def test_missing_numbers_are_counted_over_the_window() -> None:
    device = DeviceAlarms([rule({"kind": "gap", "frames": 2, "window": 600})])
    rows = [
        (0, 1, 7, "-"),  # the first: nothing is missing before it
        (1, 1, 8, "-"),
        (2, 1, 10, "-"),
        (4, 1, 12, "A"),  # 9, 11
        (5, 1, 13, "A"),
        (603.9, 1, 14, "A"),
        (604, 1, 15, "-"),
        (605, 2, 0, "-"),  # a new boot, from its beginning
        (606, 3, 2, "A"),  # 0 and 1 of boot 3
    ]
    for at, boot, seq, expected in rows:
        device.frame(frame(at, 1.0, boot=boot, seq=seq))
        assert seen(device.alarms["r"]) == expected, at


def test_without_a_sequence_a_gap_cannot_be_told() -> None:
    device = DeviceAlarms([rule({"kind": "gap"})])
    made = device.frame(frame(0, 1.0))
    assert seen(device.alarms["r"]) == "?-"
    assert made[0].detail == "the device does not number its frames"


def test_blocks_of_a_fast_channel_are_no_gap() -> None:
    device = DeviceAlarms([rule({"kind": "gap"}), rule(limit(), "fast"), rule(limit(channel="slow"), "slow")])
    for second in range(1, 200):
        first = (second - 1) * 11
        device.frame(frame(second, {"slow": 1.0}, boot=1, seq=first))
        for n in range(10):  # sent after the slow one, with older times
            device.frame(frame(second - 1 + n / 10, 39.0 if n == 9 else 1.0, boot=1, seq=first + 1 + n))
        assert seen(device.alarms["r"]) == "-"
        assert seen(device.alarms["fast"]) == "A"


def test_skew_is_that_of_the_best_of_a_minute() -> None:
    device = DeviceAlarms([rule({"kind": "skew", "limit": 5})])
    rows = [(0, 1, "-"), (10, 10, "-"), (20, 10, "-"), (30, 10, "-"), (40, 10, "-"), (50, 10, "A"), (60, 3, "-")]
    for at, lag, expected in rows:
        made = device.frame(frame(at, 1.0, lag))
        assert seen(device.alarms["r"]) == expected, at
        if expected == "A":
            assert made[0].detail == "the device's clock is 10.0 s behind"
    for at in range(70, 140, 10):
        device.frame(frame(at, 1.0, -100))
    assert seen(device.alarms["r"]) == "A"


def test_silence_is_by_the_clock() -> None:
    device = DeviceAlarms([rule({"kind": "silent", "after": 10})])
    device.frame(frame(0, 1.0, 0.5))
    assert not device.tick(T0 + 10.4)
    (raised,) = device.tick(T0 + 10.5)
    assert (raised.cause, raised.value, raised.detail) == ("condition", 10.0, "nothing for 10 s")
    assert not device.tick(T0 + 11)
    (back,) = device.frame(frame(12, 1.0, 0.5))
    assert (back.cause, back.detail) == ("return", "the device sends again")


@pytest.mark.parametrize(
    ("when", "rows", "words"),
    [
        (limit(), [(0, 39.25, "A")], "39.25 above 38"),
        (limit(deadband=0.5), [(0, 39.25, "A"), (1, 37.25, "-")], "37.25 not above 37.5"),
        (limit(), [(0, (45.0, 2), "A")], "45 above 38 (x: uncertain)"),
        (limit(), [(0, (39.0, 1), "?-")], "x is of bad quality (1)"),
        (limit(), [(0, (1e301, 1), "?-")], "x is of bad quality (1)"),
        *(
            (limit(), [(0, value, "?-")], "x is not a number between -1e+300 and 1e+300")
            for value in (1e301, -1e301, float("inf"), NAN)
        ),
        ({"kind": "quality", "channel": "x"}, [(0, 1e301, "A")], "x is not a number between -1e+300 and 1e+300"),
        ({"kind": "quality", "channel": "x"}, [(0, (1.0, 3), "A")], "quality 3"),
        ({"kind": "rate", "channel": "x", "limit": 6}, [(0, 1e150, "?-")], "1e+150 is beyond 1e+100"),
        (
            {"kind": "formula", "expression": "x > 1"},
            [(0, -1e301, "?-")],
            "x is not a number between -1e+300 and 1e+300",
        ),
        (limit(), [(0, EMPTY, "?-")], "x has not come since the rule is evaluated"),
        (limit(), [(0, 1.0, "-"), (75, EMPTY, "?-")], "x has not come for 75 s"),
        (TABLES["deviation"][0], [(0, {"x": 33.0, "x_setpoint": 30.0}, "A")], "3 from x_setpoint, more than 2"),
        (
            {"kind": "rate", "channel": "x", "limit": 6},
            [(0, 0.0, "?-"), (30, 6.0, "A")],
            "12 a minute, more than 6",
        ),
        ({"kind": "rate", "channel": "x", "limit": 6}, [(0, 0.0, "?-")], "too few values of x within 60 s"),
        ({"kind": "frozen", "channel": "x", "after": 30}, [(0, 5.0, "-"), (30, 5.0, "A")], "5 for 30 s"),
        ({"kind": "quality", "channel": "x"}, [(0, (5.0, 2), "A")], "quality 2"),
        (
            {"kind": "formula", "expression": "x > 5 and y < 1"},
            [(0, {"x": 6.0, "y": 0.5}, "A")],
            "x 6, y 0.5: x > 5 and y < 1",
        ),
    ],
)
def test_the_words_are_for_operators(when: dict[str, Any], rows: list[Row], words: str) -> None:
    assert play(rule(when), rows)[-1].detail == words


@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.floats(-1000, 1000)), min_size=2, max_size=60),
    st.sampled_from([10.0, 60.0, 3600.0]),
)
def test_the_rate_is_the_slope_by_least_squares(samples: list[tuple[float, float]], window: float) -> None:
    one = conditions.test(rule({"kind": "rate", "channel": "x", "limit": 1, "window": window}, stale_after=100))
    now, kept, width = T0, [], window / 20
    for step, value in samples:
        now += step
        kept.append((now, value))
        one.step(Snapshot(time=now, values={"x": Value(now, value, 0)}), False)
    kept = [(t, v) for t, v in kept if t // width > now // width - 21]
    if one.value is None:
        assert kept[-1][0] - kept[0][0] < window / 2
    else:
        times, values = np.array(kept).T
        times -= now
        slope = np.polyfit(times, values, 1)[0] * 60
        assert one.value == pytest.approx(slope, rel=1e-5, abs=1e-4)


def test_a_window_is_bounded_however_fast_the_device() -> None:
    one = conditions.test(rule({"kind": "rate", "channel": "x", "limit": 1, "window": 60}))
    gaps = DeviceAlarms([rule({"kind": "gap", "window": 60})])
    for n in range(20_000):
        one.step(Snapshot(time=T0 + n / 100, values={"x": Value(T0 + n / 100, n % 7, 0)}), False)
        gaps.frame(frame(n / 100, 1.0, boot=1, seq=2 * n))
    assert len(json.dumps(one.memory())) < 5000
    assert len(json.dumps(gaps.memory())) < 2000


def test_a_transition_has_the_time_of_its_frame() -> None:
    made = play(rule(limit()), [(0, 37.0, "-"), (1.25, 39.0, "A"), (2.5, NAN, "?A"), (3, 39.0, "A"), (4, 37.0, "-")])
    assert causes(made) == [(1.25, "condition"), (2.5, "unknown"), (3, "known"), (4, "return")]
