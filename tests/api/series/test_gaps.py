"""Which empty buckets are a gap, by the distance of samples beside them."""

from __future__ import annotations

import numpy as np

from api.series.gaps import in_gaps


def told(counts: str) -> str:
    """Samples of each bucket, as digits → `-` where a bucket lies in a gap."""
    flags = in_gaps(np.array([int(one) for one in counts], np.int64))
    return "".join("-" if flag else one for flag, one in zip(flags.tolist(), counts, strict=True))


def test_history_of_minutes_that_meets_live_seconds_is_no_gap() -> None:
    assert told("1000" * 20 + "5" * 40) == "1000" * 20 + "5" * 40


def test_an_empty_bucket_among_full_ones_is_a_gap() -> None:
    assert told("9" * 10 + "0" + "9" * 10) == "9" * 10 + "-" + "9" * 10


def test_what_is_missing_is_measured_by_the_slower_side() -> None:
    assert told("10" * 10 + "0" * 6 + "5" * 20) == "10" * 9 + "1" + "-" * 7 + "5" * 20
    assert told("10" * 10 + "0" * 4 + "5" * 20) == "10" * 10 + "0" * 4 + "5" * 20


def test_before_the_first_sample_and_after_the_last_the_nearer_distance_counts() -> None:
    assert told("00" + "9" * 8 + "0") == "--" + "9" * 8 + "-"
    assert told("0" + "100" * 5) == "0" + "100" * 5
    assert told("0001" + "0001" * 6 + "0" * 12) == "0001" * 7 + "-" * 12


def test_of_one_sample_or_none_nothing_is_usual() -> None:
    assert told("0010") == "--1-"
    assert told("010010") == "01--10"
    assert told("000") == "---"
    assert told("") == ""
