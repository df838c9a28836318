"""The dry run: the same lines as live, over what is stored."""

from __future__ import annotations

import heapq
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from schema.alarms.engine import DeviceAlarms
from schema.alarms.history import DryRun, StatePeriod
from schema.alarms.rules import Rule
from schema.alarms.timeline import CommittedFrame
from tests.schema.alarms.lines import NAN, T0, Row, frame, limit, rule


def would_have(
    rules: Sequence[Rule], frames: Iterable[CommittedFrame], phases: Iterable[tuple[float, str | None]], until: float
) -> Iterator[StatePeriod]:
    """Yield the periods in the order in which they end. `frames` and `phases` are read once, in order of time."""
    run = DryRun(rules)
    events = heapq.merge(
        ((time, 0, phase) for time, phase in phases),
        ((frame.time, 1, frame) for frame in frames),
        key=lambda event: event[:2],
    )
    for time, _, event in events:
        yield from run.frame(event) if isinstance(event, CommittedFrame) else run.phase(time, event)
    yield from run.end(until)


def dry(rules: list[Rule], rows: list[Row], until: float, phases: list[tuple[float, str]] | None = None) -> list[str]:
    """`rule what begin-end`, in the order in which they end."""
    frames = (frame(at, sent, lag=5000) for at, sent, _ in rows)
    periods = would_have(rules, frames, [(T0 + at, phase) for at, phase in phases or []], T0 + until)
    return [words(period) for period in periods]


def words(period: StatePeriod) -> str:
    end = "" if period.end is None else f"{period.end - T0:.3g}"
    return f"{period.rule} {period.what} {period.begin - T0:.3g}-{end}"


def test_it_says_when_a_rule_would_have_fired_with_delays_and_unknowns() -> None:
    rows: list[Row] = [(t, 39.0 if 20 <= t < 50 else 37.0, "") for t in range(100)]
    rows[60:65] = [(t, NAN, "") for t in range(60, 65)]
    assert dry([rule(limit(), on_delay=10, off_delay=5)], rows, 100) == ["r active 30-55", "r unknown 60-65"]


def test_the_value_and_the_words_are_those_of_the_beginning() -> None:
    frames = [frame(t, 37.0 + t) for t in range(5)]
    (period,) = would_have([rule(limit())], frames, [], T0 + 5)
    assert period == StatePeriod("r", "active", T0 + 2, None, 39.0, "39 above 38")


def test_what_was_stored_late_counts_as_if_it_had_come_in_time() -> None:
    frames = [frame(t, 39.0, lag=100_000 - 2 * t) for t in range(100)]
    assert len(list(would_have([rule(limit())], frames, [], T0 + 100))) == 1


def test_holes_are_silence_and_unknown() -> None:
    rules = [
        rule({"kind": "silent", "after": 30}, "silent", on_delay=5),
        rule(limit(), "hold"),
        rule(limit(), "raise", unknown="raise", on_delay=20),
        rule(limit(), "clear", unknown="clear", off_delay=20),
    ]
    rows: list[Row] = [(0, 39.0, ""), (10, 39.0, ""), (200, 37.0, ""), (210, 37.0, "")]
    assert dry(rules, rows, 400) == [
        "clear active 0-90",
        "silent active 45-200",
        "hold active 0-200",
        "hold unknown 70-200",
        "raise active 70-200",
        "raise unknown 70-200",
        "clear unknown 70-200",
        "silent active 245-",
        "clear unknown 270-",
        "hold unknown 270-",
        "raise unknown 270-",
        "raise active 290-",
    ]


def test_a_rule_of_a_phase_is_suppressed_in_the_others() -> None:
    one = rule(limit(), on_delay=10, scope={"phases": ["batch"]})
    rows: list[Row] = [(t, 39.0, "") for t in range(100)]
    assert dry([one], rows, 100, [(20, "batch"), (60, "harvest")]) == [
        "r suppressed 0-20",
        "r active 30-60",
        "r suppressed 60-",
    ]


def test_a_phase_in_a_hole_leaves_it_one() -> None:
    rows: list[Row] = [(0, 37.0, ""), (200, 37.0, "")]
    rules = [rule(limit()), *(rule({"kind": "silent", "after": after}, f"for-{after}") for after in (30, 70))]
    assert dry(rules, rows, 201, [(100, "batch")]) == [
        "r unknown 60-200",
        "for-30 active 30-200",
        "for-70 active 70-200",
    ]


def test_a_latched_alarm_counts_while_its_condition_holds() -> None:
    rows: list[Row] = [(t, 39.0 if t % 20 < 5 else 37.0, "") for t in range(60)]
    periods = dry([rule(limit(), latch=True)], rows, 60)
    assert periods == ["r active 0-5", "r active 20-25", "r active 40-45"]


def test_nothing_stored_is_nothing_told() -> None:
    assert dry([rule(limit()), rule({"kind": "silent", "after": 30}, "silent")], [], 1000, [(0, "batch")]) == []


def test_memory_does_not_grow_with_the_history() -> None:
    rules = [rule(limit()), rule({"kind": "rate", "channel": "x", "limit": 1}, "rate")]

    def frames(many: int) -> Iterator[CommittedFrame]:
        return (frame(t, 37.0 + t % 50 / 20, boot=1, seq=t) for t in range(many))

    def peak(many: int) -> int:
        tracemalloc.start()
        assert sum(1 for _ in would_have(rules, frames(many), [], T0 + many)) >= many // 50
        return tracemalloc.get_traced_memory()[1]

    try:
        few = peak(1_000)
        tracemalloc.stop()
        assert peak(10_000) < few + 20_000
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([1.0, 5.0, 25.0]), st.sampled_from([37.0, 37.7, 39.0, NAN])), max_size=60))
def test_it_fires_when_the_live_one_does(steps: list[tuple[float, float]]) -> None:
    rules = [
        rule(limit(), "plain"),
        rule(limit(deadband=0.5), "delayed", on_delay=7, off_delay=12),
        rule({"kind": "frozen", "channel": "x", "after": 20}, "frozen"),
    ]
    frames, now = [], 0.0
    for step, value in steps:
        now += step
        frames.append(frame(now, value))
    live, begins, ends = DeviceAlarms(rules), [], []
    for one in frames:
        for transition in live.frame(one):
            if transition.cause == "condition":
                begins.append((transition.at.timestamp(), transition.rule))
            elif transition.cause == "return":
                ends.append((transition.at.timestamp(), transition.rule))
    active = [period for period in would_have(rules, frames, [], T0 + now) if period.what == "active"]
    assert sorted((period.begin, period.rule) for period in active) == sorted(begins)
    assert sorted((period.end, period.rule) for period in active if period.end is not None) == sorted(ends)
