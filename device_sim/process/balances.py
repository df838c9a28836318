"""The balances and loops of a vessel around a culture, as ordinary differential equations. Pure.

Time is in hours, volumes and flows are for one litre of working volume. Oxygen is a part of saturation with air, in %.
The same function computes controllers, actuators and gas for one state (while solving) and for many (for the
instruments): it uses only operators and the least and greatest of two, which `Scalars` and `Arrays` give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from device_sim.process.organism import Organism, Tuning

AIR_O2, AIR_CO2, LITRES_IN_MMOL = 0.2095, 0.0004, 0.022414
WATER_HEAT, STEEL_HEAT, JACKET_HEAT = 1.163, 0.15, 0.35  # Wh/K
BREATH_HEAT = 0.128  # Wh/mmol of oxygen: 460 kJ/mol
HEADSPACE = 0.5
HEEL = 0.002
"""The part of the working volume that no pump reaches."""
PH_SECONDS, TEMPERATURE_SECONDS = 25.0, 15.0
UNWANTED = (0.6, 1.0, 0.5)
"""Growth (1/h), half saturation (mmol/L of carbon) and yield (carbon in carbon) of bacteria that nobody wants."""
CELL_CARBON, CELL_ELECTRONS = 40.67, 170.8  # mmol/g

STATES = (
    "volume", "oxygen", "oxygen_probe", "carbonate", "ph", "ph_probe", "temperature", "jacket", "temperature_probe",
    "gas_o2", "gas_co2", "pressure", "foam", "antifoam", "vitality", "intruder", "temperature_sum", "ph_sum",
    "oxygen_sum", "pressure_sum", "level_sum", "fed", "base", "acid", "harvested", "antifoam_total",
)  # fmt: skip
"""The species of the kinetics follow."""
(
    VOLUME, OXYGEN, OXYGEN_PROBE, CARBONATE, PH, PH_PROBE, TEMPERATURE, JACKET, TEMPERATURE_PROBE,
    GAS_O2, GAS_CO2, PRESSURE, FOAM, ANTIFOAM, VITALITY, INTRUDER, TEMPERATURE_SUM, PH_SUM,
    OXYGEN_SUM, PRESSURE_SUM, LEVEL_SUM, FED, BASE, ACID, HARVESTED, ANTIFOAM_TOTAL,
) = range(len(STATES))  # fmt: skip
SPECIES = len(STATES)
TOLERANCES = (
    1e-6, 0.01, 0.01, 1e-4, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3,
    1e-5, 1e-5, 1e-4, 0.05, 1e-3, 1e-3, 1e-6, 0.05, 0.05,
    0.05, 0.05, 0.05, 1e-7, 1e-7, 1e-7, 1e-6, 1e-6,
)  # fmt: skip

OFF, AUTO, MANUAL = 0, 1, 2


class LoopOrder(NamedTuple):
    """What a loop is to do: its mode, its setpoint and, in manual, its output (%)."""

    mode: int = OFF
    setpoint: float = 0.0
    output: float = 0.0


class ProbeFault(NamedTuple):
    """What is wrong with a probe: units an hour of drift since a time, times slower, frozen, a part of its slope lost."""

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


def _sum_change(order: LoopOrder, tuning: Tuning, output: float, wish: float, error: float) -> float:
    """The change of a controller's sum: it integrates and, at a bound or in another mode, tracks the output."""
    integral = tuning.gain / tuning.reset * error if order.mode == AUTO else 0.0
    return integral + (output - wish) / tuning.track


def oxygen_capacity(temperature: Any) -> Any:
    """Return the oxygen (mmol/L) in broth saturated with air at one atmosphere."""
    return 0.214 * (1 - 0.013 * (temperature - 37.0))


def derivative(o: Organism) -> Callable[[float, Sequence[float], Knobs], list[float]]:
    """Return the function that gives the change of all states an hour."""
    e, kinetics = o.equipment, o.kinetics
    carbon = [it.carbon for it in o.species]
    electrons = [it.electrons for it in o.species]
    acids = [it.acid for it in o.species]
    biomass, substrate = o.biomass, o.index(o.substrate)
    feed_in = [o.feed.get(it.name, 0.0) for it in o.species]
    count = len(o.species)

    def change(time: float, y: Sequence[float], k: Knobs) -> list[float]:
        a = actions(Scalars, time, y, k, o)
        volume, dot, temperature, ph = max(y[VOLUME], HEEL), max(y[OXYGEN], 0.0), y[TEMPERATURE], y[PH]
        c = y[SPECIES:]
        # The culture, and who came in with it.
        pace = o.vigour * dot / (dot + o.oxygen_half) * min(max(y[VITALITY], 0.0), 1.0)
        rates = [pace * r for r in kinetics.rates(c, temperature, ph)]
        our = -sum(map(float.__mul__, electrons, rates)) / 4
        cpr = -sum(map(float.__mul__, carbon, rates))
        least = o.breath * max(c[biomass], 0.0) * pace
        our, cpr = max(our, least), max(cpr, least)
        acid_made = sum(map(float.__mul__, acids, rates))
        intruder_more = 0.0
        if y[INTRUDER] > 1e-5:  # less is the solver's noise
            food = max(c[substrate], 0.0) * carbon[substrate]
            lives = dot / (dot + 1.0) if 10.0 < temperature < 48.0 and 4.5 < ph < 9.0 else 0.0
            intruder_more = UNWANTED[0] * food / (food + UNWANTED[1]) * lives * y[INTRUDER]
            burnt = intruder_more * CELL_CARBON * (1 / UNWANTED[2] - 1)
            our, cpr = our + burnt, cpr + burnt
            acid_made += 7.1 * intruder_more + 0.3 * burnt
            rates[substrate] -= intruder_more * CELL_CARBON / UNWANTED[2] / carbon[substrate]
        # Gas and oxygen; the broth meets the gas of the headspace, which is mixed.
        pressure = max(y[PRESSURE], 0.0)
        capacity = oxygen_capacity(temperature) * (1 + e.pressure)  # the probe is calibrated in use
        best = 100 * y[GAS_O2] / AIR_O2 * (1 + pressure) / (1 + e.pressure)
        otr = a.kla * (best - dot) * capacity / 100
        alpha = 10.0 ** (min(max(ph, 2.0), 10.0) - 6.1)
        dissolved = y[CARBONATE] / (1 + alpha)
        ctr = 0.9 * a.kla * (dissolved - 24.0 * (1 - 0.02 * (temperature - 37.0)) * y[GAS_CO2] * (1 + pressure))
        out = max(a.gas + (ctr - otr) * volume * LITRES_IN_MMOL, 0.0)
        clogged = 1 - 0.97 * min(max((y[FOAM] - 90.0) / 15.0, 0.0), 1.0)
        vented = 3 * e.gas[1] * a.valve / 100 * clogged * pressure / math.sqrt(0.1 * pressure + 1e-4)
        vented += 5 * e.gas[1] * max(pressure - 1.2, 0.0)  # the safety valve
        # Liquid.
        base, acid = a.base * e.base[1], a.acid * e.acid[1]
        fed = a.feed * k.pumping
        evaporated = e.evaporation * a.gas * math.exp(0.05 * (temperature - 37.0)) * min(volume - HEEL, 1.0)
        foamed = 0.02 * max(y[FOAM] - 90.0, 0.0) * a.gas / e.gas[1] * (volume - HEEL)
        diluted = (fed + a.base + a.acid - evaporated) / volume
        # pH: strong ions against buffer and carbonate.
        carbonate = cpr - ctr
        slope = o.buffer + 2.303 * alpha / (1 + alpha) * dissolved
        ph_more = ((base - acid) / volume - acid_made - alpha / (1 + alpha) * carbonate) / slope
        # Heat.
        jacket, u = y[JACKET], a.temperature_output / 100 * k.power
        wall = e.wall * (0.15 + 0.85 * min(volume, 1.0)) * (jacket - temperature)
        heater = e.heater * max(u, 0.0) * min(max((99.0 - jacket) / 5, 0.0), 1.0)
        cooler = e.cooling * max(-u, 0.0) * (jacket - e.cooling_water)
        heat = wall + BREATH_HEAT * our * volume + 5.0 * (a.speed / e.stirrer[1]) ** 3 * min(volume, 1.0)
        heat -= e.loss * (temperature - e.room) + WATER_HEAT * fed * (temperature - e.room)
        growth = max(rates[biomass], 0.0) / max(c[biomass], 1e-6)
        dying = 0.1 * math.expm1(min(max(temperature - o.temperatures[1], 0.0) / 1.5, 7.0))
        foam = o.foam * o.cell_mass * c[biomass] * a.speed / e.stirrer[1] * a.gas / e.gas[1] / (1 + 2 * y[ANTIFOAM])
        probes = (k.oxygen_probe, k.ph_probe, k.temperature_probe)
        lags = (o.probe_seconds, PH_SECONDS, TEMPERATURE_SECONDS)
        quick = [0.0 if it.frozen else 3600 / (s * it.slower) for it, s in zip(probes, lags, strict=True)]
        loops = (
            (k.temperature, e.temperature_loop, a.temperature_output),
            (k.ph, e.ph_loop, a.ph_output),
            (k.oxygen, e.oxygen_loop, a.oxygen_output),
            (k.pressure, e.pressure_loop, a.pressure_output),
            (k.level, e.level_loop, a.level_output),
        )
        sums = [
            _sum_change(order, tuning, output, a.wishes[i], a.errors[i])
            for i, (order, tuning, output) in enumerate(loops)
        ]
        return [
            fed + a.base + a.acid - evaporated - a.harvest - foamed,
            a.kla * (best - dot) - our / capacity * 100,
            quick[0] * (dot - y[OXYGEN_PROBE]),
            carbonate - diluted * y[CARBONATE],
            ph_more,
            quick[1] * (ph - y[PH_PROBE]),
            heat / (WATER_HEAT * volume + STEEL_HEAT),
            (heater - cooler - wall) / JACKET_HEAT,
            quick[2] * (temperature - y[TEMPERATURE_PROBE]),
            (a.gas * a.inlet_o2 - otr * volume * LITRES_IN_MMOL - out * y[GAS_O2]) / HEADSPACE,
            (a.gas * a.inlet_co2 + ctr * volume * LITRES_IN_MMOL - out * y[GAS_CO2]) / HEADSPACE,
            (out - vented) / HEADSPACE,
            (foam + 110.0 * k.foaming * k.power - y[FOAM]) / 0.05,
            -y[ANTIFOAM] / 3.0,
            growth * (1 - y[VITALITY]) - dying * y[VITALITY],
            intruder_more - diluted * y[INTRUDER],
            *sums,
            a.feed,
            a.base,
            a.acid,
            a.harvest,
            0.0,
            *(rates[i] - diluted * c[i] + fed * feed_in[i] / volume for i in range(count)),
        ]

    return change
