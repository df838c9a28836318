"""The process models against their published outcomes, and against what is known of them in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from device_sim.process import published
from device_sim.process.kinetics import Climate, Monod, Overflow, Penicillin
from device_sim.process.published import Chemostat, FedBatch, PenicillinVessel


def test_coli_with_acetate_is_as_published() -> None:
    course = published.overflow(hours=11.447)
    poor = course.times[course["glucose"] < 0.05][0]
    assert poor == pytest.approx(9.17, rel=0.01)
    assert course["cells"][-1] == pytest.approx(2.926, rel=0.001)
    assert course["acetate"].max() == pytest.approx(0.245, rel=0.005)
    assert course["oxygen"].min() == pytest.approx(56.4, rel=0.001)


def test_an_exponential_feed_holds_the_growth_rate() -> None:
    schedule = replace(FedBatch(), feed_halved=30.0, transfers=(1000.0, 5000.0))
    course = published.overflow(schedule=schedule, hours=24)
    one, two = (course.at(hour) for hour in (22.0, 24.0))
    grown = math.log(two["cells"] * two["volume"] / (one["cells"] * one["volume"])) / 2
    assert grown == pytest.approx(schedule.set_growth, rel=0.02)
    pumped = (schedule.rate(24.0) - schedule.rate(22.0)) / schedule.set_growth
    assert two["volume"] - one["volume"] == pytest.approx(pumped, rel=1e-4)


def test_after_the_exponential_phase_half_of_the_feed_flows() -> None:
    course = published.overflow(hours=18.0)
    volume = course.at(17.9)["volume"] - course.at(16.9)["volume"]
    assert volume == pytest.approx(FedBatch().rate(16.3027) / 2, rel=1e-3)


def test_penicillin_is_as_published() -> None:
    course = published.penicillin(hours=400)
    assert course.crossed is not None
    assert course.crossed == pytest.approx(42.90, abs=0.01)
    end = course.at(400)
    wanted = {"cells": 12.19, "penicillin": 1.341, "volume": 104.87, "oxygen": 1.111, "co2": 2.270}
    for name, value in wanted.items():
        assert end[name] == pytest.approx(value, rel=0.001), name
    assert course.at(course.crossed)["cells"] == pytest.approx(6.31, rel=0.001)


def test_penicillium_dies_of_heat() -> None:
    warm = published.penicillin(vessel=replace(PenicillinVessel(), temperature=55.0), hours=40)
    assert warm["cells"][-1] < 0.1 < published.penicillin(hours=40)["cells"][-1]


def test_cho_with_antibody_is_as_published() -> None:
    course = published.mammalian(hours=96)
    names = ("viable_cells", "glucose", "glutamine", "lactate", "ammonia", "antibody")
    for hour, *values in (
        (24, 7.022, 34.49, 5.299, 10.12, 4.231, 36.3),
        (48, 12.514, 24.53, 0.263, 15.79, 8.763, 108.8),
        (72, 14.638, 13.93, 0.0, 18.74, 9.000, 215.2),
        (96, 14.276, 5.43, 0.0, 19.81, 9.000, 323.4),
    ):
        state = course.at(hour)
        for name, value in zip(names, values, strict=True):
            assert state[name] == pytest.approx(value, rel=0.002, abs=0.001), (hour, name)


def test_cells_without_glucose_eat_no_lactate_that_is_not_there() -> None:
    course = published.mammalian(start=published.MAMMALIAN_START | {"glucose": 2.0}, hours=150)
    assert course["lactate"].min() > -1e-4
    assert course["glucose"].min() > -1e-4


def test_a_feed_of_cho_is_in_the_volume_and_feeds() -> None:
    course = published.mammalian(hours=96, feeds=[(48.0, 0.0001)])
    assert course.at(96)["volume"] == pytest.approx(0.04 + 48 * 0.0001, rel=1e-6)
    assert course.at(96)["glucose"] > published.mammalian(hours=96).at(96)["glucose"]


@pytest.mark.parametrize("dilution", [0.05, 0.2, 0.35])
def test_a_chemostat_settles_where_theory_says(dilution: float) -> None:
    culture = Chemostat(dilution=dilution)
    end = culture.course(0.5, 10.0, hours=1000).at(1000)
    assert end["glucose"] == pytest.approx(culture.sugar, rel=0.001)
    assert end["cells"] == pytest.approx(culture.model.y_xs * (culture.feed - culture.sugar), rel=0.001)


def test_a_chemostat_washes_out_at_its_greatest_rate() -> None:
    for part, stays in ((0.97, True), (1.03, False)):
        culture = Chemostat(dilution=part * Chemostat().wash_out)
        assert bool(culture.course(1.0, 5.0, hours=3000)["cells"][-1] > 0.1) is stays


def test_another_organism_is_a_table() -> None:
    fast = Overflow(q_s_max=0.9, k_s=0.1, p_a_max=0.1, y_em=0.5)
    slow = published.overflow(Overflow(q_s_max=0.3), hours=9)
    assert published.overflow(fast, hours=6)["cells"][-1] > published.overflow(hours=6)["cells"][-1]
    assert slow["cells"][-1] < published.overflow(hours=9)["cells"][-1]
    assert slow["acetate"].max() < 0.1


def test_temperature_and_ph_bound_the_pace_of_life() -> None:
    climate = Climate((8.0, 37.0, 46.0), (4.4, 7.0, 9.0), 37.0, 7.0)
    assert climate.factor(37.0, 7.0) == pytest.approx(1.0)
    assert 0.4 < climate.factor(30.0, 7.0) < 0.8
    assert climate.factor(37.0, 6.0) < 1
    assert climate.factor(46.5, 7.0) == climate.factor(37.0, 4.0) == climate.factor(5.0, 7.0) == 0
    cold = Monod(climate=climate).rates((1.0, 5.0), 30.0, 7.0)
    assert cold[0] < Monod().rates((1.0, 5.0), 30.0, 7.0)[0]
    assert Penicillin().rates((1.0, 5.0, 0.0), 25.0, 3.5)[0] < Penicillin().rates((1.0, 5.0, 0.0), 25.0, 5.0)[0]
