"""Loops answer to setpoints as a control engineer expects, and show nothing that they cannot reach."""

from __future__ import annotations

import math

import numpy as np
import pytest

from device_sim.process import states as s
from device_sim.process.balances import Balances
from device_sim.process.grid import HOUR
from device_sim.process.loops import AUTO, MANUAL, OFF, Knobs, LoopOrder, Scalars, actions
from device_sim.process.organisms import COLI
from device_sim.process.trajectory import Trajectory
from device_sim.vessels import Floats
from tests.device_sim.process.vessel import MINUTE, OneVessel


@pytest.fixture
def vessel() -> OneVessel:
    """E. coli in the middle of its batch."""
    one = OneVessel("coli")
    one.go(one.when("batch") + 6 * 60 * MINUTE)
    return one


def step(vessel: OneVessel, channel: str, value: float, minutes: int) -> tuple[int, Floats]:
    """The time of an order, and what its channel shows each 10 s from then on."""
    begin = vessel.plant.now
    assert vessel.plant.order(0, f"{channel}_setpoint", value) is None
    return begin, vessel.shown(channel, begin, begin + minutes * MINUTE, 10_000)


@pytest.mark.parametrize(
    ("channel", "value", "off", "overshoot", "minutes"),
    [
        ("temperature", 30.0, 0.15, 0.8, 60),
        ("temperature", 40.0, 0.15, 0.8, 60),
        ("ph", 7.3, 0.04, 0.06, 40),
        ("ph", 6.7, 0.04, 0.06, 40),
        ("dissolved_oxygen", 60.0, 4.0, 12.0, 20),
        ("dissolved_oxygen", 15.0, 4.0, 10.0, 20),
    ],
)
def test_a_setpoint_moves_its_loop(
    vessel: OneVessel, channel: str, value: float, off: float, overshoot: float, minutes: int
) -> None:
    before = vessel.at(channel, vessel.plant.now - MINUTE)
    _, shown = step(vessel, channel, value, minutes)
    assert abs(shown[0] - before) < abs(value - before) / 4, "nothing jumps"
    assert shown[-30:] == pytest.approx(np.full(30, value), abs=off), "it settles"
    beyond = (shown - value) * math.copysign(1, value - before)
    assert beyond.max() < overshoot
    way = (shown - before) / (value - before)
    assert np.argmax(way > 0.1) < np.argmax(way > 0.63) <= minutes * 6 * 0.7, "as a first order with a delay"


def test_what_cold_water_cannot_reach_is_not_shown(vessel: OneVessel) -> None:
    begin, shown = step(vessel, "temperature", 4.0, 240)
    assert 12.0 < shown[-1] < 16.0
    assert vessel.at("temperature_output", begin + 230 * MINUTE) == -100.0
    assert vessel.at("temperature_setpoint", begin + 230 * MINUTE) == 4.0
    vessel.go(begin + 240 * MINUTE)
    _, warmer = step(vessel, "temperature", 30.0, 90)
    assert warmer.max() < 31.0, "the controller was not wound up"
    assert warmer[-1] == pytest.approx(30.0, abs=0.4)


def test_the_culture_lives_slower_in_the_cold_and_stops_in_the_heat(vessel: OneVessel) -> None:
    begin = vessel.plant.now
    breath = vessel.at("otr", begin)
    step(vessel, "temperature", 25.0, 1)
    assert vessel.at("otr", begin + 90 * MINUTE) < 0.75 * breath
    vessel.go(begin + 91 * MINUTE)
    step(vessel, "temperature", 55.0, 1)
    assert vessel.at("otr", begin + 240 * MINUTE) < 0.1 * breath
    vessel.go(begin + 241 * MINUTE)
    vessel.plant.order(0, "temperature_setpoint", math.nan)
    assert vessel.at("temperature", begin + 330 * MINUTE) == pytest.approx(37.0, abs=0.3)
    assert vessel.at("otr", begin + 330 * MINUTE) < 0.2 * breath, "the dead do not come back"


def test_ph_that_is_too_low_slows_the_culture(vessel: OneVessel) -> None:
    begin = vessel.plant.now
    breath = vessel.at("otr", begin)
    step(vessel, "ph", 5.2, 1)
    assert vessel.at("otr", begin + 60 * MINUTE) < 0.8 * breath
    assert vessel.at("feed_c_total", begin + 60 * MINUTE) > vessel.at("feed_c_total", begin) + 1


def test_more_oxygen_takes_more_stirring_then_gas_then_oxygen(vessel: OneVessel) -> None:
    vessel.go(vessel.when("exponential feed") + 200 * MINUTE)
    begin = vessel.plant.now
    step(vessel, "dissolved_oxygen", 100.0, 1)
    later = begin + 15 * MINUTE
    for channel in ("agitation", "gas_flow", "dissolved_oxygen_output", "inlet_o2"):
        assert vessel.at(channel, later) > vessel.at(channel, begin) * 1.1, channel
    assert vessel.at("agitation", later) == pytest.approx(1200, abs=5)
    # What comes in is what is breathed: the oxygen that dissolves is no more for it.
    assert vessel.at("otr", later + 20 * MINUTE) == pytest.approx(vessel.at("otr", begin), rel=0.25)


def test_stirring_by_hand_takes_the_cascade_apart(vessel: OneVessel) -> None:
    begin = vessel.plant.now
    assert vessel.plant.order(0, "agitation", 900.0) is None
    assert vessel.at("agitation", begin + 5 * MINUTE) == pytest.approx(900, abs=3)
    assert vessel.at("dissolved_oxygen", begin + 5 * MINUTE) > 60
    vessel.go(begin + 6 * MINUTE)
    assert vessel.plant.order(0, "agitation", math.nan) is None
    assert vessel.at("dissolved_oxygen", begin + 30 * MINUTE) == pytest.approx(30, abs=3)


def test_a_loop_goes_to_manual_without_a_bump_and_back(vessel: OneVessel) -> None:
    plant, begin = vessel.plant, vessel.plant.now
    output = vessel.at("dissolved_oxygen_output", begin)
    assert plant.order(0, "dissolved_oxygen_output", 50.0) == "the loop is not in manual"
    assert plant.order(0, "dissolved_oxygen_mode", MANUAL) is None
    assert vessel.at("dissolved_oxygen_output", begin + MINUTE) == pytest.approx(output, abs=1)
    assert vessel.at("dissolved_oxygen_mode", begin + MINUTE) == MANUAL
    vessel.go(begin + 2 * MINUTE)
    assert plant.order(0, "dissolved_oxygen_output", 50.0) is None
    assert vessel.at("dissolved_oxygen", begin + 10 * MINUTE) > 60
    vessel.go(begin + 11 * MINUTE)
    assert plant.order(0, "dissolved_oxygen_mode", AUTO) is None
    assert vessel.at("dissolved_oxygen", begin + 40 * MINUTE) == pytest.approx(30, abs=3)


def test_a_loop_that_is_off_does_nothing(vessel: OneVessel) -> None:
    begin = vessel.plant.now
    assert vessel.plant.order(0, "temperature_mode", OFF) is None
    assert vessel.at("temperature_output", begin + 5 * MINUTE) == 0.0
    assert vessel.at("temperature", begin + 120 * MINUTE) < 34


def test_feed_by_command_flows_as_long_as_it_is_ordered(vessel: OneVessel) -> None:
    begin, litres = vessel.plant.now, vessel.plant.litres[0]
    assert vessel.plant.order(0, "feed_a_rate_setpoint", 6.0 * litres) is None
    vessel.go(begin + 60 * MINUTE)
    assert vessel.plant.order(0, "feed_a_rate_setpoint", 0.0) is None
    total = vessel.at("feed_a_total", begin + 70 * MINUTE) - vessel.at("feed_a_total", begin - 5 * MINUTE)
    assert total == pytest.approx(6.0 * litres, rel=0.01)
    assert vessel.at("feed_a_rate", begin + 70 * MINUTE) == 0.0


@pytest.mark.parametrize(
    ("channel", "value", "why"),
    [
        ("temperature_setpoint", 120.0, "value is not from 0 to 95"),
        ("ph_setpoint", 1.0, "value is not from 2 to 12"),
        ("otr", 3.0, "no channel of that name can be set"),
        ("torque_setpoint", 3.0, "no channel of that name can be set"),
        ("agitation_setpoint", 300.0, "no channel of that name can be set"),
        ("temperature", 30.0, "no channel of that name can be set"),
        ("volume_setpoint", 900.0, "the vessel has no level loop"),
        ("ph_mode", 3.0, "a mode is 0 (off), 1 (auto) or 2 (manual)"),
    ],
)
def test_what_cannot_be_ordered_is_refused(vessel: OneVessel, channel: str, value: float, why: str) -> None:
    assert vessel.plant.order(0, channel, value) == why


def test_pressure_and_level_are_held() -> None:
    vessel = OneVessel("chemostat")
    vessel.go(vessel.when("continuous") + round(10 * HOUR))
    litres, begin = vessel.plant.litres[0], vessel.plant.now
    assert vessel.at("volume", begin) == pytest.approx(1000 * litres, rel=0.005)
    assert vessel.at("pressure", begin) == pytest.approx(0.1, abs=0.005)
    assert vessel.plant.order(0, "volume_setpoint", 800 * litres) is None
    assert vessel.plant.order(0, "pressure_setpoint", 0.3) is None
    assert vessel.at("volume", begin + 120 * MINUTE) == pytest.approx(800 * litres, rel=0.01)
    assert vessel.at("pressure", begin + 30 * MINUTE) == pytest.approx(0.3, abs=0.01)
    assert vessel.at("feed_a_rate", begin + 120 * MINUTE) == pytest.approx(150 * litres, rel=0.01)


def test_cells_go_in_at_their_temperature() -> None:
    for organism in ("coli", "cho", "penicillium", "yeast"):
        vessel = OneVessel(organism)
        inoculated = vessel.when("inoculation")
        off = vessel.at("temperature", inoculated) - vessel.at("temperature_setpoint", inoculated)
        assert abs(off) < 0.4, organism


def test_harvest_and_cleaning_leave_the_vessel_empty() -> None:
    vessel = OneVessel("coli")
    full = vessel.at("volume", vessel.when("harvest") - MINUTE)
    assert vessel.at("volume", vessel.when("cleaning") - MINUTE) < 0.02 * full
    assert vessel.at("temperature", vessel.when("idle") - MINUTE) == pytest.approx(70, abs=5)
    assert vessel.at("volume", vessel.when("idle") + 5 * MINUTE) < 0.02 * full
    assert vessel.at("optical_density", vessel.when("idle") + 5 * MINUTE) < 0.2


def test_gassing_out_is_a_second_order_step_of_kla_and_probe() -> None:
    it = Trajectory(COLI)
    it.solve(0.9)
    _, y = it.present(0.9)
    y[s.OXYGEN] = y[s.OXYGEN_PROBE] = 0.0
    knobs = Knobs(stirrer=800.0, gas=30.0, temperature=LoopOrder(AUTO, 37.0), pressure=LoopOrder(AUTO, 0.1))
    change, kla = Balances(COLI).change, actions(Scalars, 0.0, y, knobs, COLI).kla
    seconds, probe = 0.25, [0.0]
    for _ in range(480):
        y = [state + seconds / 3600 * more for state, more in zip(y, change(0.9, y, knobs), strict=True)]
        probe.append(y[s.OXYGEN_PROBE])
    t, fast, slow = np.arange(481) * seconds, kla / 3600, 1 / COLI.probe_seconds
    closed = 100 * (1 - (slow * np.exp(-fast * t) - fast * np.exp(-slow * t)) / (slow - fast))
    assert np.array(probe) == pytest.approx(closed, abs=2.5)
