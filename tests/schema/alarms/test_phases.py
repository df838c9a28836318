"""Which phase is in force: cases worked out by hand."""

from __future__ import annotations

import json

import pytest

from schema.alarms.phases import UNTOLD, ConfirmedPhase, PhaseFollower, PhaseSince, changes, in_force

BATCH = ConfirmedPhase("batch", 10.0, 20.0, False, 12.0)
FEED = ConfirmedPhase("feed", 30.0, None, True, 30.0)

CASES = [
    # confirmed, told, at, phase in force
    ([], UNTOLD, 50.0, UNTOLD),
    ([], PhaseSince(5.0, "cip"), 50.0, PhaseSince(5.0, "cip")),
    ([BATCH], PhaseSince(5.0, "cip"), 11.0, PhaseSince(5.0, "cip")),  # nobody has confirmed it yet
    ([BATCH], PhaseSince(5.0, "cip"), 12.0, PhaseSince(10.0, "batch")),
    ([BATCH], PhaseSince(15.0, "feed"), 16.0, PhaseSince(10.0, "batch")),  # a person knows better
    ([BATCH], PhaseSince(15.0, "feed"), 20.0, PhaseSince(20.0, "feed")),  # nothing is confirmed any more
    ([BATCH], PhaseSince(25.0, "cip"), 29.0, PhaseSince(25.0, "cip")),
    ([BATCH, FEED], PhaseSince(25.0, "cip"), 30.0, PhaseSince(30.0, "feed")),
    ([BATCH, FEED], PhaseSince(31.0, "feed"), 40.0, PhaseSince(30.0, "feed")),  # it says the same
    ([BATCH, FEED], PhaseSince(35.0, "harvest"), 40.0, PhaseSince(35.0, "harvest")),  # it lasts to the next phase
    ([BATCH, FEED], PhaseSince(35.0, None), 40.0, PhaseSince(35.0, None)),
    ([BATCH, FEED._replace(ends=40.0)], PhaseSince(5.0, None), 40.0, PhaseSince(40.0, None)),  # the run is over
]


@pytest.mark.parametrize(("confirmed", "told", "at", "expected"), CASES)
def test_a_confirmed_phase_is_before_what_the_device_tells(
    confirmed: list[ConfirmedPhase], told: PhaseSince, at: float, expected: PhaseSince
) -> None:
    assert in_force(confirmed, told, at) == expected


def test_the_changes_of_a_time_are_those_of_both() -> None:
    known = [BATCH._replace(confirmed_at=10.0), FEED]
    told = [PhaseSince(5.0, "cip"), PhaseSince(15.0, "sip"), PhaseSince(35.0, "harvest"), PhaseSince(36.0, "harvest")]
    expected = [(7.0, "cip"), (10.0, "batch"), (20.0, "sip"), (30.0, "feed"), (35.0, "harvest")]
    assert [tuple(one) for one in changes(known, told, 7.0, 50.0)] == expected
    assert [tuple(one) for one in changes(known, told, 11.0, 20.0)] == [(11.0, "batch")]
    assert list(changes([], [], 0.0, 50.0)) == []


def test_what_is_known_of_phases_outlives_a_restart() -> None:
    follower = PhaseFollower({}, [BATCH, FEED])
    follower.tell(PhaseSince(35.0, "harvest"))
    assert follower.follow(40.0) == (35.0, "harvest")
    again = PhaseFollower(json.loads(json.dumps(follower.memory())), follower.confirmed)
    assert vars(again) == vars(follower)
    assert again.follow(11.0) == (35.0, "harvest"), "never an earlier one than before"
