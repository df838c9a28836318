"""Whole runs as their channels and samples show them: references, closed forms, balances of what goes in and out."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from device_sim.plant import PlantEvent
from device_sim.process.grid import HOUR
from device_sim.process.kinetics import Monod
from device_sim.process.organisms import CHEMOSTAT, ORGANISMS
from device_sim.process.readings import COLUMN
from device_sim.process.trajectory import Trajectory
from device_sim.vessels import Floats
from tests.device_sim.process.vessel import MINUTE, OneVessel

CARBON = {
    "glucose g/L": 0.4,
    "acetate g/L": 0.4,
    "penicillin g/L": 0.36,
    "dry_cell_weight g/L": 0.488,
    "glucose mmol/L": 0.072,
    "glutamine mmol/L": 0.060,
    "lactate mmol/L": 0.036,
    "antibody mg/L": 0.000535,
}
"""g of carbon in a unit."""
ELECTRONS = {
    "glucose g/L": 0.1333,
    "acetate g/L": 0.1333,
    "penicillin g/L": 0.12,
    "dry_cell_weight g/L": 0.1708,
    "glucose mmol/L": 0.024,
    "glutamine mmol/L": 0.018,
    "lactate mmol/L": 0.012,
    "antibody mg/L": 0.000187,
}
"""mol of electrons that a unit gives up when it is burnt."""
FED = {
    "coli": (("glucose g/L", 300.0),),
    "yeast": (("glucose g/L", 300.0),),
    "penicillium": (("glucose g/L", 600.0),),
    "cho": (("glucose mmol/L", 150.0), ("glutamine mmol/L", 10.0)),
    "chemostat": (("glucose g/L", 10.0),),
}


class WholeRun:
    """A run from its inoculation to its harvest, by nothing but channels and events."""

    def __init__(self, organism: str) -> None:
        vessel = OneVessel(organism)
        self.begin, self.end = vessel.when("batch"), vessel.when("harvest") - MINUTE
        self.every = MINUTE if organism in ("coli", "yeast", "chemostat") else 5 * MINUTE
        self.values = vessel.plant.history(0, self.begin, self.end, self.every)
        self.samples = [it for it in vessel.events if it.type == "sample" and self.begin < it.t < self.end]
        self.start = vessel.plant.organisms[0].medium

    def __getitem__(self, channel: str) -> Floats:
        column: Floats = self.values[:, COLUMN[channel]]
        return column

    def row(self, sample: PlantEvent) -> int:
        return round((sample.t - self.begin) / self.every)

    def integral(self, values: Floats, past: int | None = None) -> float:
        return float(np.nansum(values[:past]) * self.every / HOUR)


@cache
def run(organism: str) -> WholeRun:
    return WholeRun(organism)


def contents(sample: PlantEvent, table: dict[str, float]) -> float:
    """How much of something a litre of broth has, by its assay."""
    found = {f"{name} {it['unit']}": it["value"] for name, it in sample.data["analytes"].items()}
    return float(sum(table[name] * value for name, value in found.items() if name in table))


def balance(organism: str, table: dict[str, float], burnt: str, of_mmol: float) -> float:
    """What left or stayed, as a part of what was there or was fed."""
    it = run(organism)
    first, last = it.samples[0], it.samples[-1]
    begin, end = it.row(first), it.row(last)
    litres = it["volume"] / 1000
    there = contents(first, table) * litres[begin]
    fed = sum(table[name] * much for name, much in FED[organism])
    fed *= (it["feed_a_total"][end] - it["feed_a_total"][begin]) / 1000
    gone = it.integral((it[burnt] * litres)[begin:end]) / 1000 * of_mmol
    taken = sum(contents(one, table) * one.data["volume_ml"] / 1000 for one in it.samples[:-1])
    if organism == "chemostat":
        harvested = (it["harvest_total"][end] - it["harvest_total"][begin]) / 1000
        taken += harvested * float(np.mean([contents(one, table) for one in it.samples[2:]]))
    return float((contents(last, table) * litres[end] + gone + taken) / (there + fed))


@pytest.mark.parametrize("organism", list(ORGANISMS))
def test_carbon_closes_by_the_published_channels_alone(organism: str) -> None:
    assert balance(organism, CARBON, "ctr", 12.011) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("organism", list(ORGANISMS))
def test_oxygen_closes_by_the_published_channels_alone(organism: str) -> None:
    assert balance(organism, ELECTRONS, "otr", 4.0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("organism", list(ORGANISMS))
def test_the_integral_of_a_rate_is_its_total(organism: str) -> None:
    it = run(organism)
    if it["feed_a_total"][-1] > 1:
        total = it["feed_a_total"][-1] - it["feed_a_total"][0]
        assert it.integral(it["feed_a_rate"]) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("organism", list(ORGANISMS))
def test_the_volume_knows_what_goes_in_and_out(organism: str) -> None:
    it = run(organism)
    into = sum(it[f"feed_{letter}_total"][-1] - it[f"feed_{letter}_total"][0] for letter in "abd")
    acid = it["feed_c_total"]
    into += 0.0 if np.isnan(acid[-1]) else acid[-1] - acid[0]
    out = sum(one.data["volume_ml"] for one in it.samples)
    if organism == "chemostat":
        out += it["harvest_total"][-1] - it["harvest_total"][0]
    change = it["volume"][-1] - it["volume"][0]
    evaporated = into - out - change
    hours = len(it.values) * it.every / HOUR
    assert -5 < evaporated < it["volume"][0] * 5e-4 * hours
    assert (it["weight"][-1] - it["weight"][0]) * 1000 / 1.02 == pytest.approx(change, abs=15)


@pytest.mark.parametrize(
    ("organism", "low", "high"), [("coli", 0.98, 1.15), ("chemostat", 1.0, 1.12), ("yeast", 0.95, 1.15)]
)
def test_rq_follows_from_what_is_burnt(organism: str, low: float, high: float) -> None:
    it = run(organism)
    breathing = it["otr"] > 5
    assert low < it.integral(it["ctr"][breathing]) / it.integral(it["otr"][breathing]) < high


def course(name: str) -> Trajectory:
    return Trajectory(ORGANISMS[name])


def state(it: Trajectory, hour: float) -> dict[str, float]:
    _, y = it.present(hour)
    return {one.name: y[-len(it.organism.species) + i] for i, one in enumerate(it.organism.species)}


def begin(it: Trajectory, phase: str) -> float:
    while not (found := [one.hour for one in it.happenings if one.type == "phase" and one.data["phase"] == phase]):
        it.solve(it.solved)
    return found[0]


def test_coli_in_the_vessel_is_the_published_one() -> None:
    it = course("coli")
    inoculated = begin(it, "inoculation")
    fed = begin(it, "exponential feed")
    hours = np.arange(inoculated, fed, 0.02)
    states = [state(it, hour) for hour in hours]
    poor = next(hour for hour, one in zip(hours, states, strict=True) if one["glucose"] < 0.05) - inoculated
    assert poor == pytest.approx(9.17, rel=0.01)
    assert states[-1]["cells"] == pytest.approx(2.926, rel=0.02)
    assert max(one["acetate"] for one in states) == pytest.approx(0.245, rel=0.02)


def test_penicillium_in_the_vessel_is_the_published_one() -> None:
    it = course("penicillium")
    inoculated, fed = begin(it, "inoculation"), begin(it, "production")
    assert fed - inoculated == pytest.approx(42.90, rel=0.01)
    assert state(it, fed)["cells"] == pytest.approx(6.31, rel=0.015)
    # The vessel gives samples away and is fed the same: 5 % of the volume, and more of everything in it.
    assert state(it, inoculated + 399)["cells"] == pytest.approx(12.19, rel=0.06)
    assert state(it, inoculated + 399)["penicillin"] == pytest.approx(1.341, rel=0.06)


def test_cho_in_the_vessel_is_the_published_one_within_the_bound_of_lactate() -> None:
    it = course("cho")
    inoculated = begin(it, "inoculation")
    for hour, viable, glucose, antibody in (
        (24, 7.022, 34.49, 36.3),
        (48, 12.514, 24.53, 108.8),
        (71, 14.59, 14.4, 210.0),
    ):
        one = state(it, inoculated + hour)
        assert one["viable_cells"] == pytest.approx(viable, rel=0.02)
        assert one["glucose"] == pytest.approx(glucose, rel=0.03)
        assert one["antibody"] == pytest.approx(antibody, rel=0.03)


def test_the_chemostat_settles_where_theory_says() -> None:
    it = course("chemostat")
    settled = state(it, begin(it, "continuous") + 100)
    assert isinstance(CHEMOSTAT.kinetics, Monod)
    monod = CHEMOSTAT.kinetics
    assert settled["glucose"] == pytest.approx(monod.k_s * 0.15 / (monod.mu_max - 0.15), rel=0.02)
    assert settled["cells"] == pytest.approx(monod.y_xs * (10 - settled["glucose"]), rel=0.02)


def test_the_chemostat_washes_out_when_somebody_feeds_too_fast() -> None:
    vessel = OneVessel("chemostat")
    vessel.go(vessel.when("continuous") + round(20 * HOUR))
    assert vessel.plant.order(0, "feed_a_rate_setpoint", 0.45 * 1000 * vessel.plant.litres[0]) is None
    before, after = (
        vessel.at("optical_density", vessel.plant.now),
        vessel.at("optical_density", vessel.plant.now + round(60 * HOUR)),
    )
    assert after < 0.1 * before


def test_an_exponential_feed_holds_the_growth_rate() -> None:
    it = course("coli")
    fed = begin(it, "exponential feed")
    begin(it, "constant feed")

    def mass(hour: float) -> float:
        _, y = it.present(hour)
        return state(it, hour)["cells"] * y[0]

    assert math.log(mass(fed + 4.8) / mass(fed + 3.8)) == pytest.approx(0.222, rel=0.07)
