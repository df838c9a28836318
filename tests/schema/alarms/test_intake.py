"""Whether the intake of a cell counts as well, which decides whether silence does. All times in s; now is 100,000."""

from __future__ import annotations

import pytest

from schema.alarms.intake import GONE_S, STOPPED, STOPPED_S, WELL, Intake, Intakes

NOW = 100_000.0
WELL_SINCE, SETTLED = 90_000.0, 99_999.0


def intakes(**beat_ages: float) -> Intakes:
    """Cells by the age of their beat. The cell `late` has stored less, and has been well for a shorter time."""
    beats = {
        cell: (SETTLED - 50 * (cell == "late"), WELL_SINCE + 50 * (cell == "late"), NOW - age)
        for cell, age in beat_ages.items()
    }
    return Intakes(beats, NOW)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0.0, Intake(WELL_SINCE, SETTLED)), (STOPPED_S, Intake(WELL_SINCE, SETTLED)), (STOPPED_S + 0.001, STOPPED)],
)
def test_an_intake_has_stopped_when_its_beat_is_too_old(age: float, expected: Intake) -> None:
    """The age of the beat counts, by the clock of who asks: not what the gateway's clock says."""
    assert intakes(main=age).of("main") == expected


@pytest.mark.parametrize("cell", [None, "unheard"])
@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        ({}, WELL),
        ({"main": 1.0, "late": 1.0}, Intake(WELL_SINCE + 50, SETTLED - 50)),
        ({"main": 1.0, "late": 60.0}, STOPPED),
        ({"main": 1.0, "late": GONE_S}, STOPPED),
        ({"main": 1.0, "late": GONE_S + 1}, Intake(WELL_SINCE, SETTLED)),
        ({"main": GONE_S + 1}, STOPPED),
    ],
)
def test_of_an_unknown_cell_the_worst_counts_that_is_not_gone(
    cell: str | None, beats: dict[str, float], expected: Intake
) -> None:
    assert intakes(**beats).of(cell) == expected


def test_of_a_known_cell_it_is_its_own_also_when_it_is_gone() -> None:
    both = intakes(main=1.0, late=GONE_S + 1)
    assert (both.of("main"), both.of("late")) == (Intake(WELL_SINCE, SETTLED), STOPPED)


@pytest.mark.parametrize("ahead", [-2 * GONE_S, 2 * GONE_S])
def test_a_gateway_whose_clock_is_wrong_is_there_while_it_beats(ahead: float) -> None:
    wrong = Intake(WELL_SINCE + ahead, SETTLED + ahead)
    beats = {"main": (SETTLED, WELL_SINCE, NOW), "wrong": (wrong.settled_until, wrong.well_since, NOW)}
    there, gone = Intakes(beats, NOW), Intakes(beats | {"wrong": (*beats["wrong"][:2], NOW - GONE_S - 1)}, NOW)
    assert there.of("wrong") == wrong
    worst = Intake(max(WELL_SINCE, wrong.well_since), min(SETTLED, wrong.settled_until))
    assert (there.of(None), gone.of(None)) == (worst, Intake(WELL_SINCE, SETTLED))
