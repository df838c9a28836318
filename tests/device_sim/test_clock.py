"""The simulated clock at different speeds: it is never ahead of the wall clock, and goes on with it."""

from __future__ import annotations

import pytest

from device_sim.clock import AS_FAST_AS_POSSIBLE, DAY, SimulatedClock, begin_of

WALL = 1_795_161_794_000.0


def clock(begin: float, speed: float) -> tuple[SimulatedClock, list[float]]:
    passed = [100.0]
    return SimulatedClock(begin, speed, wall=WALL, passed=lambda: passed[0]), passed


def test_a_fast_clock_meets_the_wall_clock_and_goes_on_with_it() -> None:
    fast, passed = clock(WALL - 90_000, 10)
    for seconds, behind in ((0, 90_000), (5, 45_000), (10, 0), (20, 0)):
        passed[0] = 100.0 + seconds
        assert fast.wall() - fast.now() == behind
        assert fast.wall() == WALL + seconds * 1000


@pytest.mark.parametrize("speed", [0.5, 1, 10, 1000, AS_FAST_AS_POSSIBLE])
def test_the_time_until_which_it_waits_is_the_time_that_it_shows_then(speed: float) -> None:
    for begin in (WALL - 90_000, WALL):
        given, passed = clock(begin, speed)
        for after in (0, 1000, 89_000, 91_000, 200_000):
            passed[0] = 100.0
            passed[0] += max(0.0, given.seconds_until(begin + after))
            assert given.now() >= begin + after - 1e-6
            if given.seconds_until(begin + after) > -1e-9 and speed != AS_FAST_AS_POSSIBLE and passed[0] > 100:
                assert given.now() == pytest.approx(begin + after)
            assert given.now() <= given.wall()


def test_it_never_begins_in_the_future() -> None:
    given, _ = clock(WALL + 5000, 1)
    assert given.now() == WALL


@pytest.mark.parametrize(("speed", "length"), [(2, 60_000), (60, 3_600_000), (1000, 1000), (AS_FAST_AS_POSSIBLE, 5000)])
def test_a_fast_run_with_an_end_meets_the_wall_clock_there(speed: float, length: float) -> None:
    begin = begin_of(WALL, speed, length)
    given, passed = clock(begin, speed)
    passed[0] += 0 if speed == AS_FAST_AS_POSSIBLE else length / speed / 1000
    assert given.now() == pytest.approx(begin + length)
    assert given.wall() == pytest.approx(begin + length)


def test_a_run_without_an_end_begins_a_day_ago_if_it_is_fast_and_else_now() -> None:
    assert [begin_of(WALL, speed, None) for speed in (0.1, 1, 2)] == [WALL, WALL, WALL - DAY]
