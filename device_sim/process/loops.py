"""The controllers and actuators of a vessel: what probes show, what loops want of it, what stirrer, gas and pumps do.

Pure. Time is in hours, volumes and flows are for one litre of working volume. Oxygen is a part of saturation with air,
in %. The same function computes one state (while solving) and many (for the instruments): it uses only operators and
the least and greatest of two, which `Scalars` and `Arrays` give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from device_sim.process.organism import Organism, Tuning
from device_sim.process.states import (
    HEEL,
    LEVEL_SUM,
    OXYGEN_PROBE,
    OXYGEN_SUM,
    PH_PROBE,
    PH_SUM,
    PRESSURE,
    PRESSURE_SUM,
    TEMPERATURE_PROBE,
    TEMPERATURE_SUM,
    VOLUME,
)

AIR_O2, AIR_CO2 = 0.2095, 0.0004
OFF, AUTO, MANUAL = 0, 1, 2


class LoopOrder(NamedTuple):
    """What a loop is to do: its mode, its setpoint and, in manual, its output (%)."""

    mode: int = OFF
    setpoint: float = 0.0
    output: float = 0.0


class ProbeFault(NamedTuple):
    """What is wrong with a probe: drift (units an hour) since a time, times slower, frozen, part of its slope lost."""

    drift: float = 0.0
    since: float = 0.0
    slower: float = 1.0
    frozen: bool = False
    lost: float = 0.0


class Knobs(NamedTuple):
    """All that is constant for a stretch of time: orders of recipe and people, and what is wrong."""

    temperature: LoopOrder = LoopOrder()
    ph: LoopOrder = LoopOrder()
    oxygen: LoopOrder = LoopOrder()
    pressure: LoopOrder = LoopOrder()
    level: LoopOrder = LoopOrder()
    feed: LoopOrder = LoopOrder()
    """In auto by the program below; in manual at its output, which is a rate."""
    feed_since: float = 0.0
    feed_growth: float = 0.0
    feed_stat: float = 0.0
    stirrer: float = math.nan
    """rpm and L/h, where they do not follow the oxygen loop."""
    gas: float = math.nan
    drain: float = 0.0
    stirring: float = 1.0
    """The part of speed and gas flow that a fault leaves, or 0 where the phase has none."""
    gassing: float = 1.0
    pumping: float = 1.0
    """What the feed pump brings as a part of what it shows."""
    power: float = 1.0
    foaming: float = 0.0
    temperature_probe: ProbeFault = ProbeFault()
    ph_probe: ProbeFault = ProbeFault()
    oxygen_probe: ProbeFault = ProbeFault()


class Scalars:
    least: Callable[[Any, Any], Any] = min
    most: Callable[[Any, Any], Any] = max


class Arrays:
    least: Callable[[Any, Any], Any] = np.minimum
    most: Callable[[Any, Any], Any] = np.maximum


class Actions(NamedTuple):
    """What probes show, controllers want and actuators do; numbers or arrays."""

    temperature: Any
    ph: Any
    oxygen: Any
    temperature_output: Any
    ph_output: Any
    oxygen_output: Any
    pressure_output: Any
    level_output: Any
    speed: Any
    gas: Any
    inlet_o2: Any
    inlet_co2: Any
    kla: Any
    feed: Any
    """What the pump shows."""
    base: Any
    """L/h, as acid and harvest."""
    acid: Any
    harvest: Any
    valve: Any
    wishes: tuple[Any, Any, Any, Any, Any]
    """Outputs without bounds, and the errors: what the sums of the controllers need."""
    errors: tuple[Any, Any, Any, Any, Any]


def _loop(m: Any, order: LoopOrder, tuning: Tuning, value: Any, total: Any) -> tuple[Any, Any, Any]:
    """Return output, wished output and error of a loop."""
    error = order.setpoint - value
    wish = tuning.gain * error + total
    if order.mode == AUTO:
        return m.least(m.most(wish, tuning.low), tuning.high), wish, error
    return order.output + 0.0 * value if order.mode == MANUAL else 0.0 * value, wish, error


def _shown(fault: ProbeFault, state: Any, time: Any) -> Any:
    return state * (1 - fault.lost) + fault.drift * (time - fault.since) if fault != ProbeFault() else state


def actions(m: Any, time: Any, y: Sequence[Any], k: Knobs, o: Organism) -> Actions:
    """Compute controllers and actuators at a time, or at many times."""
    e, low, high = o.equipment, m.most, m.least
    temperature = _shown(k.temperature_probe, y[TEMPERATURE_PROBE], time)
    ph = _shown(k.ph_probe, y[PH_PROBE], time)
    oxygen = low(_shown(k.oxygen_probe, y[OXYGEN_PROBE], time), 0.0)
    heat, heat_wish, heat_error = _loop(m, k.temperature, e.temperature_loop, temperature, y[TEMPERATURE_SUM])
    dose, dose_wish, dose_error = _loop(m, k.ph, e.ph_loop, ph, y[PH_SUM])
    air, air_wish, air_error = _loop(m, k.oxygen, e.oxygen_loop, oxygen, y[OXYGEN_SUM])
    valve, valve_wish, valve_error = _loop(m, k.pressure, e.pressure_loop, y[PRESSURE], y[PRESSURE_SUM])
    level, level_wish, level_error = _loop(m, k.level, e.level_loop, y[VOLUME], y[LEVEL_SUM])
    # Split range: the stirrer first, then gas, then oxygen in it, each beginning a little before the last one ends.
    stir = high(air / 55.0, 1.0)
    flow = high(low((air - 45.0) / 35.0, 0.0), 1.0)
    rich = low((air - 75.0) / 25.0, 0.0)
    speed = e.stirrer[0] + (e.stirrer[1] - e.stirrer[0]) * stir if math.isnan(k.stirrer) else k.stirrer + 0.0 * air
    gas = e.gas[0] + (e.gas[1] - e.gas[0]) * flow if math.isnan(k.gas) else k.gas + 0.0 * air
    speed, gas = speed * (k.stirring * k.power), gas * (k.gassing * k.power)
    acid = low(-dose, 0.0) / 100 * k.power
    inlet_co2 = AIR_CO2 + e.sparged_co2 * acid
    inlet_o2 = (AIR_O2 + (e.enrichment - AIR_O2) * rich) * (1 - e.sparged_co2 * acid)
    full = high(y[VOLUME], 1.0)
    kla = e.transfer * (speed / e.stirrer[1]) ** 1.8 * (gas / e.gas[1]) ** 0.5 * full + 0.3
    if k.feed.mode == AUTO and k.feed_stat:
        feed = k.feed.setpoint * high(low((oxygen - k.oxygen.setpoint) / k.feed_stat, 0.0), 2.0)
    elif k.feed.mode == AUTO:
        feed = k.feed.setpoint * _exp(m, k.feed_growth * (time - k.feed_since)) if k.feed_growth else k.feed.setpoint
    else:
        feed = k.feed.output if k.feed.mode == MANUAL else 0.0
    feed = high(feed, e.feed_pump) * k.power + 0.0 * air
    base = low(dose, 0.0) / 100 * (e.base[0] / e.base[1] * k.power)
    acid_flow = 0.0 * acid if e.sparged_co2 else acid * (e.acid[0] / e.acid[1])
    harvest = (level / 100 * e.harvest_pump + k.drain) * k.power * high(low((y[VOLUME] - HEEL) / 0.02, 0.0), 1.0)
    return Actions(
        temperature, ph, oxygen, heat, dose, air, valve, level, speed, gas, inlet_o2, inlet_co2, kla, feed, base,
        acid_flow, harvest, valve if k.power else 100.0 + 0.0 * valve,
        (heat_wish, dose_wish, air_wish, valve_wish, level_wish),
        (heat_error, dose_error, air_error, valve_error, level_error),
    )  # fmt: skip


def _exp(m: Any, x: Any) -> Any:
    return math.exp(x) if m is Scalars else np.exp(x)
