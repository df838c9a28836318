"""What is made of samples does not depend on their blocks; and gaps, filling and grids, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.series import grid
from api.series.buckets import Buckets, BucketTooLarge, Medians
from api.series.filling import filled
from api.series.gaps import usual_gap
from api.series.grid import Division, parse_width
from api.series.plot import Plot
from api.series.samples import Samples

NAMES = ("avg", "twa", "min", "first", "sum", "stddev", "median", "integral", "percent_good")
SAMPLE = st.tuples(
    st.integers(1, 40),
    st.one_of(st.floats(-50, 50), st.sampled_from([1e308, -1e101, float("nan")])),
    st.sampled_from([0, 0, 0, 1, 2]),
)
NAN = float("nan")


def made(rows: list[tuple[int, float, int]]) -> Samples:
    """Samples at these distances from each other."""
    distances, values, qualities = zip(*rows, strict=True) if rows else ((), (), ())
    return Samples(
        np.cumsum(np.array(distances, np.int64)), np.array(values, np.float64), np.array(qualities, np.int16)
    )


@given(st.lists(SAMPLE, max_size=60), st.sets(st.integers(0, 60)), st.booleans(), st.booleans())
def test_blocks_may_end_anywhere(
    rows: list[tuple[int, float, int]], ends: set[int], everything: bool, step: bool
) -> None:
    samples, edges = made(rows), np.arange(5, 900, 35)
    whole = Buckets(edges, NAMES, everything=everything, step=step, gap=20)
    parts = Buckets(edges, NAMES, everything=everything, step=step, gap=20)
    drawn, drawn_in_parts = (Plot(edges, everything=everything, gap=20) for _ in range(2))
    whole.add(samples)
    drawn.add(samples)
    cuts = [0, *sorted(ends), 61]
    for first, last in pairwise(cuts):
        parts.add(samples.between(first, last))
        drawn_in_parts.add(samples.between(first, last))
    found, wanted = parts.results(), whole.results()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-9, err_msg=name)
    assert str(drawn_in_parts.results()) == str(drawn.results())


def test_a_line_is_cut_where_buckets_end_and_a_gap_is_not_known() -> None:
    samples = Samples(np.array([0, 10, 40, 50]), np.array([0.0, 10.0, 40.0, 50.0]), np.zeros(4, np.int16))
    edges = np.array([5, 15, 35, 60])
    line = Buckets(edges, ["twa", "integral"], everything=False, step=False, gap=30)
    held = Buckets(edges, ["twa"], everything=False, step=True, gap=30)
    torn = Buckets(edges, ["twa"], everything=False, step=False, gap=29)
    for buckets in (line, held, torn):
        buckets.add(samples)
    assert line.results()["twa"] == pytest.approx([10.0, 25.0, 42.5])
    assert line.results()["integral"] == pytest.approx([100e-6 / 3600, 500e-6 / 3600, 15 * 42.5e-6 / 3600])
    assert held.results()["twa"] == pytest.approx([5.0, 10.0, (5 * 10 + 10 * 40) / 15])
    assert torn.results()["twa"] == pytest.approx([7.5, NAN, 45.0], nan_ok=True)


def test_a_value_beyond_measure_harms_no_other_bucket() -> None:
    samples = made([(10, 1.0, 0), (10, 1e308, 0), (10, -1e308, 0), (10, 3.0, 0), (10, 5.0, 0)])
    buckets = Buckets(np.array([0, 35, 100]), ("sum", "stddev", "max", "twa"), everything=False, step=False, gap=99)
    buckets.add(samples)
    found = buckets.results()
    assert found["sum"] == pytest.approx([1.0, 8.0])
    assert found["max"] == pytest.approx([1e308, 5.0])
    assert found["stddev"] == pytest.approx([NAN, 2**0.5], nan_ok=True)


def test_a_median_of_too_many_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.series.buckets.LARGEST_MEDIAN", 3)
    medians = Medians(np.array([0, 100]))
    medians.add(made([(1, 1.0, 0)] * 3))
    with pytest.raises(BucketTooLarge):
        medians.add(Samples(np.array([50]), np.array([1.0]), np.zeros(1, np.int16)))


def test_a_gap_is_three_times_the_usual_distance_of_the_slower_end() -> None:
    assert usual_gap(np.array([0, 10, 20, 500]), np.array([1000, 1020, 1040])) == 60
    assert usual_gap(np.array([0, 0, 10])) == 30
    assert usual_gap(np.array([7]), np.array([], dtype=np.int64)) is None


@pytest.mark.parametrize(
    ("how", "most", "wanted"),
    [
        ("last", 2, [NAN, 1, 1, 1, 4, 4]),
        ("last", 1, [NAN, 1, NAN, NAN, 4, 4]),
        ("linear", 2, [NAN, 1, 2, 3, 4, NAN]),
        ("linear", 1, [NAN, 1, NAN, NAN, 4, NAN]),
    ],
)
def test_runs_are_filled_whole_or_not_at_all(how: str, most: int, wanted: list[float]) -> None:
    values = np.array([NAN, 1, NAN, NAN, 4, NAN])
    found = filled(values, np.arange(6) * 10, how, most)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(wanted, nan_ok=True)


def hours(division: Division, begin: datetime, end: datetime) -> list[float]:
    edges = division.grid(begin, end).edges
    return (np.diff(edges) / 3.6e9).tolist()  # type: ignore[no-any-return]


def test_days_follow_the_clocks_of_a_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    march, october = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert hours(Division("day", berlin), march, march + timedelta(days=2)) == [24.0, 23.0, 24.0]
    assert hours(Division("day", berlin), october, october + timedelta(days=2)) == [24.0, 25.0, 24.0]
    assert hours(Division("week", berlin), march, march + timedelta(hours=1)) == [167.0]
    assert hours(Division("month", berlin), march, march + timedelta(hours=1)) == [31 * 24 - 1]
    assert hours(Division("month"), march, march + timedelta(days=60)) == [744.0, 720.0, 744.0]
    apia = ZoneInfo("Pacific/Apia")  # which had no 30 December 2011
    begin = datetime(2011, 12, 29, 12, tzinfo=apia)
    assert hours(Division("day", apia), begin, datetime(2011, 12, 31, 12, tzinfo=apia)) == [24.0, 24.0]


def test_an_origin_moves_the_edges() -> None:
    begin = datetime(2026, 5, 6, 12, tzinfo=UTC)
    shift = datetime(2026, 1, 15, 6, tzinfo=UTC)  # a Thursday
    for width, first in (
        ("day", datetime(2026, 5, 6, 6, tzinfo=UTC)),
        ("week", datetime(2026, 4, 30, 6, tzinfo=UTC)),
        ("month", datetime(2026, 4, 15, 6, tzinfo=UTC)),
        ("7h", datetime(2026, 5, 6, 12, tzinfo=UTC) - timedelta(hours=2670 % 7)),
    ):
        edges = Division(parse_width(width), origin=shift).grid(begin, begin + timedelta(hours=1)).edges
        assert edges[0] == first.timestamp() * 1e6, width


def test_pixels_have_the_whole_time_to_the_microsecond() -> None:
    begin = datetime(2026, 5, 6, tzinfo=UTC)
    edges = grid.pixels(begin, begin + timedelta(microseconds=1000), 7).edges
    assert (edges[0], edges[-1] - edges[0], len(edges)) == (begin.timestamp() * 1e6, 1000, 8)
    assert grid.pixels(begin, begin + timedelta(microseconds=3), 7).count == 3
