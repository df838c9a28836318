"""What goes wrong in a vessel or a probe shows in its channels, and nowhere else before."""

from __future__ import annotations

import time

import numpy as np
import pytest

from device_sim.plant import Disturbance, Plant
from device_sim.process.grid import HOUR
from device_sim.process.readings import CHANNELS, COLUMN
from schema.messages import BAD
from tests.device_sim.process.vessel import MINUTE, NOON, OneVessel


def disturbed(
    disturbance: Disturbance, phase: str = "exponential feed", after: int = 90, organism: str = "coli"
) -> OneVessel:
    """A vessel in which something goes wrong so many minutes after the begin of a phase."""
    one = OneVessel(organism, minutes=10 if phase == "setup" else 240)
    one.go(one.when(phase) + after * MINUTE)
    one.plant.disturb(0, disturbance)
    return one


def test_without_stirring_the_culture_has_no_oxygen_within_minutes() -> None:
    it = disturbed(Disturbance("stirrer_stall"))
    now = it.plant.now
    assert it.at("dissolved_oxygen", now - MINUTE) > 25
    assert it.at("dissolved_oxygen", now + 4 * MINUTE) < 2
    assert it.at("agitation", now + MINUTE) == 0
    assert it.at("torque", now + MINUTE) < 5
    assert it.at("dissolved_oxygen_output", now + 20 * MINUTE) > 95
    assert it.at("gas_flow", now + 10 * MINUTE) > it.at("gas_flow", now - MINUTE)


def test_half_a_stall_is_made_up_for_by_gas_and_oxygen() -> None:
    it = disturbed(Disturbance("stirrer_stall", 0.4))
    now = it.plant.now
    assert it.at("dissolved_oxygen_output", now + 20 * MINUTE) > it.at("dissolved_oxygen_output", now - MINUTE) + 10
    assert it.at("dissolved_oxygen", now + 20 * MINUTE) == pytest.approx(30, abs=4)


def test_without_gas_oxygen_and_pressure_fall() -> None:
    it = disturbed(Disturbance("gas_loss"))
    now = it.plant.now
    assert it.at("gas_flow", now + MINUTE) == 0
    assert it.at("pressure", now + 5 * MINUTE) < 0.03 < it.at("pressure", now - MINUTE)
    assert it.at("dissolved_oxygen", now + 5 * MINUTE) < 2
    assert it.at("agitation", now + 15 * MINUTE) > 1100


def test_a_blocked_feed_is_counted_and_does_not_arrive() -> None:
    it = disturbed(Disturbance("feed_blocked"))
    now, later = it.plant.now, it.plant.now + 60 * MINUTE
    pumped = it.at("feed_a_total", later) - it.at("feed_a_total", now)
    base = it.at("feed_b_total", later) - it.at("feed_b_total", now)
    assert pumped > 10
    assert (it.at("weight", later) - it.at("weight", now)) * 1000 < base + 0.6 * pumped
    assert it.at("otr", later) < 0.4 * it.at("otr", now - MINUTE)
    assert it.at("optical_density", later) < 1.03 * it.at("optical_density", now)


def test_too_much_feed_weighs_more_than_it_counts_and_turns_sour() -> None:
    it, good = disturbed(Disturbance("overfeed", 4.0)), OneVessel("coli")
    now, later = it.plant.now, it.plant.now + 90 * MINUTE
    pumped = it.at("feed_a_total", later) - it.at("feed_a_total", now)
    assert (it.at("weight", later) - it.at("weight", now)) * 1000 > 3 * pumped
    assert it.at("feed_b_total", later) - it.at("feed_b_total", now) > 1.2 * (
        good.at("feed_b_total", later) - good.at("feed_b_total", now)
    )
    it.plant.advance(later + 240 * MINUTE)
    sample = next(one for one in it.plant.events() if one.type == "sample" and one.t > now)
    assert sample.data["analytes"]["glucose"]["value"] > 2


def test_foam_takes_broth_along_and_blocks_the_exhaust() -> None:
    it = disturbed(Disturbance("foam_out"))
    now = it.plant.now
    assert it.at("foam", now + 10 * MINUTE) > 99
    assert it.at("pressure", now + 15 * MINUTE) > 0.5
    assert it.at("volume", now + 60 * MINUTE) < it.at("volume", now) - 50
    it.plant.advance(now + 60 * MINUTE)
    assert sum(one.type == "dosing" and one.t > now for one in it.plant.events()) >= 3


def test_a_power_cut_cools_the_vessel_and_drowns_the_culture() -> None:
    it = disturbed(Disturbance("power_cut"))
    now = it.plant.now
    for channel in ("agitation", "gas_flow", "feed_a_rate"):
        assert it.at(channel, now + 2 * MINUTE) == 0, channel
    assert it.at("temperature", now + 60 * MINUTE) < 35
    assert it.at("temperature_output", now + 60 * MINUTE) > 90, "the controller tries"
    dark = disturbed(Disturbance("power_cut", 2.0))
    assert np.isnan(dark.plant.history(0, dark.plant.now, dark.plant.now + 1, 1)).all()
    assert np.isnan(dark.plant.sample().values).all()


def test_an_intruder_breathes_before_the_inoculation() -> None:
    it = disturbed(Disturbance("contamination", 0.3), "setup", 25)
    now = it.plant.now
    assert it.at("otr", now - 2 * MINUTE) < 0.6
    assert it.at("otr", now + 20 * MINUTE) > 3
    assert it.at("dissolved_oxygen", now + 20 * MINUTE) < 90
    assert it.at("feed_b_total", now + 20 * MINUTE) > it.at("feed_b_total", now)


def test_an_intruder_overgrows_cho_and_makes_it_sour() -> None:
    it = disturbed(Disturbance("contamination", 0.05), "batch", 30 * 60, "cho")
    now = it.plant.now
    assert it.at("otr", now + 180 * MINUTE) > 5 * it.at("otr", now - MINUTE)
    assert it.at("ph", now + 420 * MINUTE) < 6.8


@pytest.mark.parametrize("channel", ["temperature", "ph", "dissolved_oxygen", "optical_density", "exhaust_co2"])
def test_a_frozen_probe_shows_one_value(channel: str) -> None:
    it = disturbed(Disturbance("probe_freeze", channel=channel), "batch", 300)
    now = it.plant.now
    assert len(set(it.shown(channel, now, now + 30 * MINUTE).tolist())) == 1
    assert len(set(it.shown(channel, now - 20 * MINUTE, now).tolist())) > 3
    assert len(set(it.shown("ph_output", now, now + 30 * MINUTE).tolist())) > 3


def test_a_frozen_oxygen_probe_lets_the_loop_run_away() -> None:
    it = disturbed(Disturbance("probe_freeze", channel="dissolved_oxygen"), "batch", 300)
    now, later = it.plant.now, it.plant.now + 180 * MINUTE
    moved = abs(it.at("dissolved_oxygen_output", later) - it.at("dissolved_oxygen_output", now))
    good = OneVessel("coli")
    assert moved > 1
    assert it.at("exhaust_o2", later) != good.at("exhaust_o2", later)


def test_a_drifting_probe_is_held_and_the_truth_drifts() -> None:
    it = disturbed(Disturbance("probe_drift", 0.15, "ph"))
    now = it.plant.now
    assert it.at("ph", now + 120 * MINUTE) == pytest.approx(7.0, abs=0.06)
    it.plant.advance(now + 300 * MINUTE)
    last = [one for one in it.plant.events() if one.type == "sample" and one.t > now + HOUR][-1]
    hours = (last.t - now) / HOUR
    assert last.data["analytes"]["ph"]["value"] == pytest.approx(7.0 - 0.15 * hours, abs=0.08)
    other = disturbed(Disturbance("probe_drift", 2.0, "optical_density"))
    good = OneVessel("coli")
    at = other.plant.now + 60 * MINUTE
    assert other.at("optical_density", at) == pytest.approx(good.at("optical_density", at) + 2, abs=0.1)


def test_a_failed_probe_says_nothing_and_its_loop_holds() -> None:
    it = disturbed(Disturbance("probe_failure", channel="ph"))
    plant, now = it.plant, it.plant.now
    output = it.at("ph_output", now - 30_000)
    plant.advance(now + 10 * MINUTE)
    sample = plant.sample()
    assert np.isnan(sample.values[0, COLUMN["ph"]])
    assert (sample.fault_channel[0], sample.fault_quality[0]) == (COLUMN["ph"], BAD)
    assert it.at("ph_output", now + 10 * MINUTE) == pytest.approx(output, abs=2)
    assert it.at("ph_mode", now + 10 * MINUTE) == 2


def test_a_fouled_probe_shows_too_little_and_is_slow() -> None:
    it = disturbed(Disturbance("probe_fouling", 10.0, "dissolved_oxygen"))
    now, good = it.plant.now, OneVessel("coli")
    assert it.at("dissolved_oxygen", now + MINUTE) < 22
    later = now + 60 * MINUTE
    assert it.at("dissolved_oxygen", later) == pytest.approx(30, abs=3)
    assert it.at("agitation", later) > good.at("agitation", later) + 100, "twice the oxygen for the same reading"


@pytest.mark.parametrize(
    "it",
    [
        Disturbance("stirrer_stall"),
        Disturbance("gas_loss"),
        Disturbance("probe_freeze", channel="temperature"),
        Disturbance("probe_failure", channel="dissolved_oxygen"),
        Disturbance("probe_drift", 0.5, "ph"),
    ],
    ids=lambda it: it.kind,
)
def test_what_is_mended_comes_back_to_its_setpoints(it: Disturbance) -> None:
    one = disturbed(it)
    one.go(one.plant.now + 10 * MINUTE)
    one.plant.mend(0, it)
    later = one.plant.now + 60 * MINUTE
    for channel, off in (("temperature", 0.3), ("ph", 0.08), ("dissolved_oxygen", 4.0)):
        assert one.at(channel, later) == pytest.approx(one.at(f"{channel}_setpoint", later), abs=off), channel
    assert one.at("dissolved_oxygen_mode", later) == 1


def test_a_disturbance_of_one_vessel_is_none_of_its_neighbours() -> None:
    names = ["a", "b", "c"]
    one, other = (Plant(names, 1, NOON, organisms=["coli"] * 3) for _ in range(2))
    one.disturb(1, Disturbance("stirrer_stall"))
    one.advance(NOON + round(HOUR))
    other.advance(NOON + round(HOUR))
    same = [np.array_equal(one.sample().values[i], other.sample().values[i], equal_nan=True) for i in range(3)]
    assert same == [True, False, True]


@pytest.mark.parametrize(
    "it",
    [
        Disturbance("probe_drift", 1.0),
        Disturbance("stirrer_stall", 1.0, "ph"),
        Disturbance("probe_freeze", 1.0, "rq"),
        Disturbance("probe_freeze", 1.0, "ph_setpoint"),
        Disturbance("overfeed", -1.0),
        Disturbance("probe_drift", float("nan"), "ph"),
    ],
    ids=str,
)
def test_what_cannot_go_wrong_is_an_error(it: Disturbance) -> None:
    with pytest.raises(ValueError, match=r"channel|probe|magnitude"):
        Plant(["a"], 1, NOON).disturb(0, it)


def test_a_fault_outlasts_the_run_that_it_began_in() -> None:
    one = disturbed(Disturbance("stirrer_stall"), "constant feed", 230)
    one.plant.advance(one.plant.now + round(10 * HOUR))
    shown = dict(zip(CHANNELS, one.plant.sample().values[0], strict=True))
    assert one.plant.phases() == ["batch"]
    assert shown["agitation"] == 0


def test_a_culture_that_gets_no_oxygen_at_all_is_no_trouble_for_the_solver() -> None:
    it = OneVessel("coli")
    it.go(it.when("exponential feed") + 60 * MINUTE)
    assert it.plant.order(0, "feed_a_rate_setpoint", 45.0 * it.plant.litres[0]) is None
    it.go(it.plant.now + 240 * MINUTE)
    it.plant.disturb(0, Disturbance("power_cut"))
    begin = time.process_time()
    assert it.at("dissolved_oxygen", it.plant.now + 60 * MINUTE) < 1
    assert time.process_time() - begin < 1
