"""What formulas make of arrays: the same as the evaluator of alarms makes of each instant, and closed forms."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pytest

from api.series import formula
from api.series.computed import BAD, MOST_TOTAL, Computation, Computing, worst
from api.series.copied import NOT_SENT
from schema.alarms import expression
from schema.alarms.grammar import BadExpression

S = 1_000_000
ABSURD = (1e308, -1e308, 1e200, 0.0, -1.0, 5e-324)
NAMES = ("a", "b", "c")


def computation(
    text: str, *inputs: str, max_age: float = 60, starts: Mapping[str, int] | None = None, **constants: float
) -> Computation:
    return Computation(formula.compile(text), inputs or NAMES, frozenset(), constants, starts or {}, round(max_age * S))


def computed(
    what: Computation, times: Sequence[int], rows: Sequence[Sequence[float | None]], marks: object = None, cut: int = 0
) -> tuple[list[float | None], list[int]]:
    """The channel of frames at these seconds with these values of inputs (None: not sent), `cut` frames a block."""
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)
    qualities = np.where(np.isnan(values), NOT_SENT, 0).astype(np.int16)
    if marks is not None:
        qualities = np.array(marks, np.int16)
    moments = np.array(times, np.int64) * S
    computing, found, said = Computing(what), [], []
    for begin in range(0, len(times), cut or len(times) or 1):
        part = slice(begin, begin + (cut or len(times)))
        some, quality = computing.add(moments[part], values[:, part], qualities[:, part])
        found += [None if np.isnan(v) else float(v) for v in some]
        said += quality.tolist()
    return found, said


def a_number(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([*NAMES, "2", "0", "0.5", "1e300", "3"])
    kind = rng.randrange(8)
    one, two = a_number(rng, depth - 1), a_number(rng, depth - 1)
    if kind < 4:
        return f"({one} {rng.choice(['+', '-', '*', '/', '%', '**'])} {two})"
    if kind == 4:
        return f"{rng.choice(['abs', 'ln', 'exp', '-', '+'])}({one})"
    if kind == 5:
        return f"{rng.choice(['min', 'max'])}({one}, {two}, {a_number(rng, depth - 1)})"
    return f"({one} if {a_truth(rng, depth - 1)} else {two})"


def a_truth(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(6) if depth > 0 else 0
    one, two = a_number(rng, max(0, depth - 1)), a_number(rng, max(0, depth - 1))
    if kind < 2:
        return f"({one} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {two})"
    if kind == 2:
        return f"({one} < {two} <= {a_number(rng, depth - 1)})"
    if kind == 3:
        return f"(not {a_truth(rng, depth - 1)})"
    if kind == 4:
        return f"known({one})"
    return f"({a_truth(rng, depth - 1)} {rng.choice(['and', 'or'])} {a_truth(rng, depth - 1)})"


def same_in_arrays(seed: int) -> None:
    """A number is compared by conditions on it, of which the alarms' evaluator knows both sides."""
    rng = random.Random(seed)
    text = a_number(rng, 4)
    values = [[rng.choice([None, rng.uniform(-3, 9), rng.choice(ABSURD)]) for _ in range(40)] for _ in NAMES]
    numbers = formula.compile(text).values(
        lambda name: np.array([np.nan if v is None else v for v in values[NAMES.index(name)]]), lambda _, x: x
    )
    said = np.broadcast_to(np.asarray(numbers, np.float64), (40,))
    known, same = expression.compile(f"known({text})"), expression.compile(f"abs({text} - ch('said')) <= ch('near')")
    for number in range(40):
        one = {name: values[at][number] for at, name in enumerate(NAMES)}
        there = bool(np.isfinite(said[number]))
        assert known.truth(one) is there, (text, one)
        if there:
            given = one | {"said": float(said[number]), "near": abs(float(said[number])) * 1e-12}
            assert same.truth(given) is True, (text, one)


def test_arrays_say_the_same_as_single_values() -> None:
    for seed in range(300):
        same_in_arrays(seed)


def test_a_formula_has_samples_where_an_input_has_one_and_takes_the_last_of_others() -> None:
    what = computation("a + b", "a", "b", max_age=3)
    found, marks = computed(what, range(7), [[1, 2, None, 4, 5, 6, None], [10, *[None] * 6]])
    assert found == [11, 12, None, 14, None, None, None]  # b counts for three seconds
    assert marks == [0, 0, NOT_SENT, 0, BAD, BAD, NOT_SENT]


def test_frames_of_one_instant_are_one_sample() -> None:
    what = computation("a * b", "a", "b")
    found, marks = computed(what, [0, 0, 1, 1, 1], [[2, None, 3, None, None], [None, 5, None, 7, None]])
    assert found == [None, 10, None, 21, None]
    assert marks == [NOT_SENT, 0, NOT_SENT, 0, NOT_SENT]


def test_the_worst_quality_of_the_inputs_counts() -> None:
    what = computation("a + b", "a", "b")
    rows: list[list[float | None]] = [[1, 1, 1, 1, 1], [1, 1, 1, 1, None]]
    found, marks = computed(what, range(5), rows, [[0, 2, 1, 2, 0], [0, 0, 2, 5, 0]])
    assert (found, marks) == ([2, 2, 2, 2, None], [0, 2, BAD, 5, BAD])  # a sample without a value has no result
    assert worst(np.array([[0, 2, 3, -1], [1, 0, 2, -1]], np.int16)).tolist() == [1, 2, 3, -1]


@pytest.mark.parametrize("text", ["a / (b - b)", "a * 1e300 * 1e300", "ln(a - a)", "a ** 0.5 if a < 0 else 1 / 0"])
def test_what_has_no_result_is_null_and_bad(text: str) -> None:
    assert computed(computation(text, "a", "b"), [0], [[1e200], [1]]) == ([None], [BAD])


def test_constants_are_numbers_and_a_missing_one_is_unknown() -> None:
    assert computed(computation("a * k", "a", k=3), [0], [[2]]) == ([6], [0])
    assert computed(computation("a * k", "a"), [0], [[2]]) == ([None], [BAD])


def test_nothing_gives_nothing() -> None:
    what = computation('rate(a, "1m") + total(b, start)', "a", "b", starts={"start": 0})
    assert computed(what, [], [[], []]) == ([], [])
    assert computed(what, [0, 1], [[None, None], [None, None]]) == ([None, None], [NOT_SENT, NOT_SENT])


def test_the_growth_rate_of_an_exponential_is_exact() -> None:
    seconds = np.arange(0, 7200, 10)
    what = computation('rate(ln(a), "30m")', "a")
    found, _ = computed(what, seconds.tolist(), [(0.1 * np.exp(0.35 * seconds / 3600)).tolist()])
    early = found.count(None)
    assert found[:early] == [None] * early
    assert 900 <= seconds[early] < 900 + 2 * 18, "half a window must be known, to a part of it"
    assert np.array(found[early:], np.float64) == pytest.approx(0.35, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fast", [False, True])
def test_a_rate_is_the_slope_of_the_least_squares_line_through_averages(seed: int, fast: bool) -> None:
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.integers(1, 4 if fast else 30, 600))
    values = 1000 + rng.normal(0, 1, 600).cumsum()
    bad = rng.random(600) < 0.1
    what = computation('rate(a * 2, "10m")', "a", max_age=25)
    found, said = computed(what, seconds.tolist(), [values.tolist()], [np.where(bad, 1, 0).tolist()], cut=77)
    for number, at in enumerate(seconds):
        assert said[number] == (1 if bad[number] else (0 if found[number] is not None else BAD))
        good = np.flatnonzero(~bad[: number + 1])
        parts = seconds[good] // 6
        expected = None
        if len(good) and at - seconds[good[-1]] <= 25:
            kept = good[parts > parts[-1] - 100]
            begins = np.flatnonzero(np.diff(seconds[kept] // 6, prepend=-1))
            sizes = np.diff(begins, append=len(kept))
            x, y = (np.add.reduceat(of[kept], begins) / sizes for of in (seconds, values * 2))
            if len(x) > 1 and x[-1] - x[0] >= 300:
                expected = np.polyfit((x - x[0]) / 3600, y, 1)[0]
        assert found[number] == (None if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-6))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("step", [False, True])
def test_a_total_is_the_integral_since_its_start(seed: int, step: bool) -> None:
    rng = np.random.default_rng(seed)
    seconds, values = np.cumsum(rng.integers(1, 40, 300)), rng.uniform(0, 50, 300)
    start = int(seconds[40])
    what = computation("total(a, start)", "a", max_age=30, starts={"start": start * S})
    if step:
        what = Computation(what.formula, ("a",), frozenset("a"), {}, what.starts, what.max_age)
    found, _ = computed(what, seconds.tolist(), [values.tolist()])
    lengths = np.diff(seconds[40:])
    heights = values[40:-1] if step else (values[40:-1] + values[41:]) / 2
    areas = np.where(lengths <= 30, lengths * heights / 3600, 0)
    assert found[:40] == [None] * 40
    assert found[40:] == pytest.approx([0, *np.cumsum(areas)], rel=1e-12)


def test_a_total_ends_a_month_after_its_start_and_needs_one() -> None:
    last = MOST_TOTAL // timedelta(seconds=1)
    times = [0, 10, last, last + 1]
    what = computation("total(a, start)", "a", starts={"start": 0})
    assert computed(what, times, [[36, 36, 36, 36]])[0] == pytest.approx([0, 0.1, 0.1, None])
    assert computed(computation("total(a, start)", "a"), times, [[1, 1, 1, 1]])[0] == [None] * 4
    fixed = computation('total(a, "1970-01-01T00:00:10Z")', "a")
    assert computed(fixed, [0, 10, 20], [[36, 36, 36]])[0] == [None, 0, pytest.approx(0.1)]


def test_values_beyond_all_measure_are_left_out_of_rates_and_totals() -> None:
    what = computation('rate(a, "1m")', "a")
    seconds = list(range(0, 120, 5))
    plain: list[float | None] = [float(second) for second in seconds]
    plain[10] = 1e308
    found, _ = computed(what, seconds, [plain])
    assert found[12:] == pytest.approx([3600.0] * 12, rel=1e-9)


FORMULAS = ("a + b", 'rate(ln(a), "3m") + b', "total(b, start) * a + b")


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("seed", range(10))
def test_the_same_time_has_the_same_samples_however_it_is_read(seed: int, text: str) -> None:
    """Bit by bit: in blocks of any size, from any begin, with what has to be read before."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.integers(1, 9, 900))
    values = np.where(rng.random((2, 900)) < 0.4, np.nan, rng.lognormal(0, 1, (2, 900)))
    rows = [[None if np.isnan(v) else v for v in row] for row in values.tolist()]
    start = int(seconds[100]) * S
    what = computation(text, "a", "b", max_age=20, starts={"start": start})
    whole = computed(what, seconds.tolist(), rows)
    for cut in (1, 7, 100):
        assert computed(what, seconds.tolist(), rows, cut=cut) == whole
    for begin in (150, *range(500, 520), 899):
        since = what.since(int(seconds[begin]) * S)
        first = int(np.searchsorted(seconds * S, since))
        assert first < begin
        part = computed(what, seconds[first:].tolist(), [row[first:] for row in rows])
        assert [some[begin - first :] for some in part] == [some[begin:] for some in whole]


def test_a_copy_goes_on_by_itself() -> None:
    what = computation('total(a, start) + rate(a, "10s")', "a", starts={"start": 0})
    computing = Computing(what)
    frames, values, marks = np.arange(40) * S, np.arange(40.0)[None, :], np.zeros((1, 40), np.int16)
    computing.add(frames[:20], values[:, :20], marks[:, :20])
    other = computing.copy()
    first = computing.add(frames[20:], values[:, 20:], marks[:, 20:])
    second = other.add(frames[20:], values[:, 20:], marks[:, 20:])
    assert first[0].tolist() == second[0].tolist()


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("a > 1", 1, "true or false; a number"),
        ("rate(a)", 1, 'a window, as in rate\\(x, "1h"\\)'),
        ("rate(a, 3600)", 9, 'in quotes, like "30m"'),
        ("rate(a, '1y')", 9, "a whole number and one of ms"),
        ("rate(a, '2d')", 9, "at most 1d"),
        ("total(a)", 1, "a start"),
        ("total(a, 5)", 10, "the name of a constant, or an instant"),
        ("total(a, 'now')", 10, "another instant each time"),
        ("total(a, '2026-11-20T07:45:00')", 10, "the zone is missing"),
        ("1 + total(rate(a, '1h'), start)", 11, "within each other"),
        ("rate(a > 1, '1h')", 6, "a number is required"),
    ],
)
def test_what_is_wrong_is_said(text: str, column: int, why: str) -> None:
    with pytest.raises(BadExpression, match=why) as error:
        formula.compile(text)
    assert error.value.column == column


def test_a_name_of_a_function_is_a_channel_where_it_is_not_called() -> None:
    compiled = formula.compile("rate + total / ln")
    assert compiled.names == {"rate", "total", "ln"}
    assert not compiled.over_time
