"""Phases, envelopes and detection, by numbers worked out by hand."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from api.series import detection, envelopes
from api.series.envelopes import Excursion
from api.series.phases import RunPhase, by_events, merged
from tests.api.plant import at

NAN = float("nan")


def shown(phases: list[RunPhase]) -> list[tuple[str, datetime, datetime | None, bool]]:
    return [(one.name, one.begins, one.ends, one.is_confirmed) for one in phases]


def confirmed(name: str, begins: float, ends: float | None) -> RunPhase:
    return RunPhase(name, at(begins), None if ends is None else at(ends), "person", "eva", at(0))


def test_events_that_repeat_a_phase_are_one_phase_and_the_last_lasts_to_the_end() -> None:
    events = [(at(0), "batch", "a"), (at(3), "batch", "b"), (at(5), "feed", "a"), (at(9), "batch", "a")]
    assert shown(by_events(events, at(20))) == [
        ("batch", at(0), at(5), False),
        ("feed", at(5), at(9), False),
        ("batch", at(9), at(20), False),
    ]
    assert by_events(events[:2], None)[0].ends is None


def test_proposals_fill_what_is_not_confirmed() -> None:
    told = by_events([(at(0), "batch", "a"), (at(5), "feed", "a"), (at(9), "harvest", "a")], None)
    assert shown(merged([confirmed("growth", 1, 6)], told, None)) == [
        ("batch", at(0), at(1), False),
        ("growth", at(1), at(6), True),
        ("harvest", at(9), None, False),
    ]
    assert shown(merged([confirmed("batch", 0, None)], told, None)) == [  # an open one ends where the next begins
        ("batch", at(0), at(5), True),
        ("feed", at(5), at(9), False),
        ("harvest", at(9), None, False),
    ]
    assert shown(merged([confirmed("batch", 0, None)], [], at(7))) == [("batch", at(0), at(7), True)]


def test_mean_and_spread_of_runs_where_enough_have_a_value() -> None:
    found = envelopes.spread(np.array([[1.0, 2, NAN], [3.0, 2, 5], [5.0, 2, NAN]]), k=2, least=2)
    assert found.middle[:2].tolist() == [3.0, 2.0]
    assert found.low[:2].tolist() == [-1.0, 2.0]  # standard deviation of 1, 3, 5 is 2
    assert found.high[:2].tolist() == [7.0, 2.0]
    assert np.isnan(found.low[2])
    assert found.count.tolist() == [3, 3, 1]


def test_quantiles_of_runs() -> None:
    found = envelopes.between(np.array([[1.0, NAN], [2.0, NAN], [3.0, 1], [4.0, NAN], [5.0, 9]]), 0.25, 0.75, least=3)
    assert (found.low[0], found.middle[0], found.high[0]) == (2.0, 3.0, 4.0)
    assert np.isnan(found.middle[1])


def test_a_run_is_scored_by_the_time_inside_and_says_where_it_left() -> None:
    band = envelopes.Envelope(np.zeros(8), np.full(8, -1.0), np.full(8, 1.0), np.full(8, 3.0))
    band.low[7] = NAN
    found = envelopes.score(np.array([0, 2, 4, 1, -1.5, NAN, 0.5, 99]), band)
    assert (found.judged, found.inside) == (6, 3)
    assert found.percent == 50.0
    assert found.excursions == [Excursion(1, 2, 2, 3.0, 2), Excursion(4, 4, 4, -0.5, 1)]
    assert envelopes.score(np.full(8, NAN), band).percent is None


def test_times_outside_that_are_near_each_other_are_one_excursion_and_score_the_same() -> None:
    band = envelopes.Envelope(*(np.full(12, level) for level in (0.0, -1.0, 1.0, 3.0)))
    values = np.array([2, 0, 3, NAN, 0, 2, 0, -2, 0, 0, -4, 0])
    found = [envelopes.score(values, band, apart) for apart in (0, 1, 2)]
    assert len({one.percent for one in found}) == 1
    assert [len(one.excursions) for one in found] == [5, 4, 2]
    assert found[2].excursions == [Excursion(0, 5, 2, 2.0, 3, 3), Excursion(7, 10, 10, -3.0, 2, 2)]


def test_equal_runs_have_no_spread_and_a_run_equal_to_them_is_inside() -> None:
    band = envelopes.spread(np.full((3, 2), 0.1), k=3, least=2)
    assert envelopes.score(np.full(2, 0.1), band).percent == 100.0


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_step_of_a_level_is_found_at_its_edge(noise: float) -> None:
    levels = np.concatenate([np.full(20, 37.0), np.full(20, 33.0)]) + noise * np.sin(np.arange(40))
    [change] = detection.changes("temperature_setpoint", levels)
    assert (change.bucket, change.name) == (20, "temperature down")
    assert change.words == "temperature_setpoint from 37 to 33"


def test_a_feed_that_starts_is_named_so_and_a_short_pulse_is_no_change() -> None:
    levels = np.concatenate([np.zeros(20), np.full(20, 5.0), np.zeros(10)])
    levels[8] = 5.0
    assert [(one.bucket, one.name) for one in detection.changes("feed_rate", levels)] == [
        (20, "feed on"),
        (40, "feed off"),
    ]


def test_a_constant_and_one_without_samples_change_nothing() -> None:
    assert detection.changes("ph", np.full(50, 7.0)) == []
    assert detection.changes("ph", np.full(50, NAN)) == []


def test_changes_of_channels_at_about_the_same_time_are_one() -> None:
    feed = detection.changes("feed_rate", np.concatenate([np.zeros(20), np.full(20, 5.0)]))
    heat = detection.changes("temperature", np.concatenate([np.full(22, 37.0), np.full(18, 33.0)]))
    assert [[one.channel for one in group] for group in detection.joined(feed + heat)] == [["feed_rate", "temperature"]]
