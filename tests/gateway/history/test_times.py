"""Local times as instants, also in the hour that occurs twice, and columns of times in all their forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.history.errors import UnusableFile
from gateway.history.time_cells import read_times, resolved
from schema.local_times import NONE, Instants, as_local, resolve
from schema.times import microseconds, parse_instant

BERLIN = ZoneInfo("Europe/Berlin")
AUTUMN = datetime(2024, 10, 27, 1, tzinfo=UTC)
"""When the clock of Berlin goes back from 3 to 2."""


def local(instants: list[datetime], zone: ZoneInfo = BERLIN) -> Instants:
    return np.array([as_local(one.astimezone(zone).replace(tzinfo=None)) for one in instants], np.int64)


def counted(instants: list[datetime]) -> list[int]:
    return [microseconds(one) for one in instants]


def every(step: timedelta, begin: datetime, end: datetime) -> list[datetime]:
    return [begin + n * step for n in range((end - begin) // step)]


@settings(max_examples=30)
@given(
    step_s=st.sampled_from([10, 60, 600, 1200]),
    begins=st.integers(-7200, -3700),
    lasts=st.integers(7400, 12_000),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]),
)
def test_a_log_through_the_doubled_hour_comes_out_as_it_was(step_s: int, begins: int, lasts: int, zone: str) -> None:
    elsewhere = {
        "America/New_York": datetime(2024, 11, 3, 6, tzinfo=UTC),
        "Australia/Lord_Howe": datetime(2024, 4, 6, 15, tzinfo=UTC),  # by half an hour
    }
    change = elsewhere.get(zone, AUTUMN)
    first = change + timedelta(seconds=begins)
    written = every(timedelta(seconds=step_s), first, first + timedelta(seconds=lasts))
    assert resolve(local(written, ZoneInfo(zone)), ZoneInfo(zone)).instants.tolist() == counted(written)


@pytest.mark.parametrize(
    "written",
    [
        every(timedelta(minutes=1), AUTUMN - timedelta(minutes=90), AUTUMN - timedelta(minutes=5)),
        every(timedelta(minutes=1), AUTUMN + timedelta(minutes=5), AUTUMN + timedelta(minutes=90)),
    ],
    ids=["ends in the first", "begins in the second"],
)
def test_without_a_step_back_the_nearer_neighbour_decides(written: list[datetime]) -> None:
    found = resolve(local(written), BERLIN)
    assert found.instants.tolist() == counted(written)
    assert found.twice > 0


def test_a_time_that_the_clock_skips_is_none_and_told() -> None:
    times = np.array([as_local(datetime(2024, 3, 31, hour, 30)) for hour in (1, 2, 3)], np.int64)  # noqa: DTZ001
    found = resolve(times, BERLIN)
    assert found.skipped.tolist() == [False, True, False]
    assert found.instants[1] == NONE
    assert found.instants[2] - found.instants[0] == 3600e6


@pytest.mark.parametrize(
    "cell",
    ["2024-03-08T10:51:45Z", "2024-03-08 10:51:45+01:00", "2024-03-08T10:51:45.123456-05:00", "1709891505000"],
)
def test_an_instant_is_read_as_everywhere(cell: str) -> None:
    for column in ([cell], [cell, "x"]):  # at once, and one by one
        refused: list[int] = []
        found = read_times(pa.array(column), None, lambda n, *_, refused=refused: refused.append(n))
        assert found.times[0] == microseconds(parse_instant(cell))
        assert not found.local[0]
        assert refused == list(range(1, len(column)))


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("2024-03-08 10:51:45", None),
        ("08.03.2024 10:51:45", None),
        ("08.03.2024 10:51:45,0", None),
        ("03/08/2024 10:51:45", "%m/%d/%Y %H:%M:%S"),
    ],
)
def test_a_local_time_needs_a_zone(cell: str, form: str | None) -> None:
    column = read_times(pa.array([cell, None]), form, lambda *_: None)
    with pytest.raises(UnusableFile, match="--zone Europe/Berlin"):
        resolved(column, None, None, lambda *_: None)
    found = resolved(column, BERLIN, None, lambda *_: None)
    assert found.tolist() == [microseconds(datetime(2024, 3, 8, 9, 51, 45, tzinfo=UTC)), NONE]


@pytest.mark.parametrize("cell", ["now", "-24h", "12:30", "2024-13-01 00:00:00", "7.2"])
def test_what_is_no_time_is_refused(cell: str) -> None:
    refused: list[tuple[int, str, str]] = []
    column = pa.array(["2024-03-08 10:51:45", cell, "2024-03-08 10:51:46"])
    found = read_times(column, None, lambda *given: refused.append(given))
    assert refused == [(1, cell, "not a time")]
    assert found.times[2] - found.times[0] == 1e6


def test_clocks_of_several_devices_go_back_each_on_its_own() -> None:
    written = every(timedelta(minutes=10), AUTUMN - timedelta(minutes=70), AUTUMN + timedelta(minutes=70))
    both = [one for one in written for _ in (0, 1)]
    column = read_times(
        pa.array([f"{one.astimezone(BERLIN):%Y-%m-%d %H:%M:%S}" for one in both]), None, lambda *_: None
    )
    clocks = np.arange(len(both)) % 2
    assert resolved(column, BERLIN, clocks, lambda *_: None).tolist() == counted(both)
