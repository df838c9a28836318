"""Instants are read in one way, and what a refusal advises is accepted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from schema.times import parse_instant, unit_hint

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "instant"),
    [
        ("2026-11-30T07:45:00Z", datetime(2026, 11, 30, 7, 45, tzinfo=UTC)),
        ("2026-11-30t07:45:00z", datetime(2026, 11, 30, 7, 45, tzinfo=UTC)),
        ("2026-11-30 07:45Z", datetime(2026, 11, 30, 7, 45, tzinfo=UTC)),
        (" 20261130T074500+0100 ", datetime(2026, 11, 30, 6, 45, tzinfo=UTC)),
        ("2026-11-30T07:45:00.1234567-05:00", datetime(2026, 11, 30, 12, 45, 0, 123456, tzinfo=UTC)),
        ("2026-11-30Z", datetime(2026, 11, 30, tzinfo=UTC)),
        ("2026-11-30z", datetime(2026, 11, 30, tzinfo=UTC)),
        ("2026-11-30+01:00", datetime(2026, 11, 29, 23, tzinfo=UTC)),
        ("2026-11-30-05:00", datetime(2026, 11, 30, 5, tzinfo=UTC)),
        ("2026-11-30-05", datetime(2026, 11, 30, 5, tzinfo=UTC)),
        ("2026-W49-1Z", datetime(2026, 11, 30, tzinfo=UTC)),
        ("1970-01-21T18:53:20Z", datetime(1970, 1, 21, 18, 53, 20, tzinfo=UTC)),
        ("1796000000000", datetime(2026, 11, 30, 0, 53, 20, tzinfo=UTC)),
        ("1796000000000.25", datetime(2026, 11, 30, 0, 53, 20, 250, tzinfo=UTC)),
        ("946684800000", datetime(2000, 1, 1, tzinfo=UTC)),
        ("now", NOW),
        ("-24h", NOW - timedelta(days=1)),
        ("-90s", NOW - timedelta(seconds=90)),
    ],
)
def test_an_instant_is_read(given: str, instant: datetime) -> None:
    assert parse_instant(given, NOW) == instant


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("1796000000", "is it in seconds?"),
        ("1796000000.5", "is it in seconds?"),
        ("1796000000000000", "is it in microseconds?"),
        ("1796000000000000000", "is it in nanoseconds?"),
        ("20261130", "is it a date?"),
        ("2026-11-30", "the zone is missing"),
        ("2026-W49-1", "the zone is missing"),
        ("2026-11-30T07:45", "the zone is missing"),
        ("2026-11-30t07:45:00.5", "the zone is missing"),
        ("20261130T074500", "the zone is missing"),
        ("2026-11-30 07", "the zone is missing"),
        ("yesterday", "give ISO 8601"),
        ("2026-02-30Z", "give ISO 8601"),
        ("2026-11-30T07:45 01:00", "write the + of the zone as %2B"),
    ],
)
def test_the_advice_of_a_refusal_is_accepted(given: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)) as refused:
        parse_instant(given, NOW)
    said = str(refused.value)
    advised = re.findall(r"(?:[wW]rite|offset:|like) ((?:\d[^ ]* \d\d|[-\d])[^ ,]*|-?\w+)", said)
    if "%2B" in said:
        advised = [given.replace(" 01", "+01")]
    assert advised, said
    for each in advised:
        assert parse_instant(each, NOW) > datetime(2000, 1, 1, tzinfo=UTC), each


@pytest.mark.parametrize(
    "given", ["", "0", "-5", "2026", "-99999w", "-0s", "9" * 30, "1e12", "٣٣٣٣٣٣٣٣٣٣٣٣٣", "9001-01-01Z"]
)
def test_what_means_no_instant_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_instant(given, NOW)


@pytest.mark.parametrize("given", [None, True, 1796000000000, 1.5, [], {}])
def test_only_text_is_an_instant(given: object) -> None:
    with pytest.raises(ValueError, match="must be text"):
        parse_instant(given, NOW)


@pytest.mark.parametrize("number", [1.0, float("nan"), float("inf"), -1.796e9, 1e300])
def test_a_number_of_no_known_unit_has_no_hint(number: float) -> None:
    assert unit_hint(number) == ""
