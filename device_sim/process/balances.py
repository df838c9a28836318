"""The balances of a vessel and the culture in it, as ordinary differential equations. Pure.

Time is in hours, volumes and flows are for one litre of working volume. Oxygen is a part of saturation with air, in %;
carbon and oxygen are balanced in mmol. What no kinetics says follows from elements: the oxygen that is taken up from
the electrons, the carbon dioxide from the carbon of what is eaten and made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from device_sim.process import states as s
from device_sim.process.loops import AIR_O2, AUTO, Actions, Knobs, LoopOrder, ProbeFault, Scalars, actions
from device_sim.process.organism import Organism, Tuning

LITRES_IN_MMOL = 0.022414
WATER_HEAT, STEEL_HEAT, JACKET_HEAT = 1.163, 0.15, 0.35  # Wh/K
BREATH_HEAT = 0.128  # Wh/mmol of oxygen: 460 kJ/mol
STIRRER_HEAT = 5.0  # W at the greatest speed
HEADSPACE = 0.5
PH_SECONDS, TEMPERATURE_SECONDS = 25.0, 15.0
CO2_SOLUBILITY = 24.0
"""mmol/L of carbon dioxide under one bar of it, at 37 °C."""
UNWANTED = (0.6, 1.0, 0.5)
"""Growth (1/h), half saturation (mmol/L of carbon) and yield (carbon in carbon) of bacteria that nobody wants."""
NOISE = 1e-5
"""g/L of them that are nothing but the solver's noise."""
CELL_CARBON, CELL_ACID = 40.67, 7.1  # mmol/g


class Breath(NamedTuple):
    """What the culture does in an hour and a litre."""

    rates: list[float]
    """The change of each species."""
    oxygen: float
    carbon_dioxide: float
    acid: float
    """All three in mmol."""
    intruder: float
    """The growth of bacteria that nobody wants, g."""


class Gas(NamedTuple):
    """The exchange of gas: mmol for a litre and an hour, and flows of gas in L/h."""

    best: float
    """Oxygen (%) in broth that is saturated with the gas in the headspace."""
    capacity: float
    """mmol/L of oxygen at 100 %."""
    oxygen: float
    carbon_dioxide: float
    out: float
    vented: float


def oxygen_capacity(temperature: float) -> float:
    """Return the oxygen (mmol/L) in broth saturated with air at one atmosphere."""
    return 0.214 * (1 - 0.013 * (temperature - 37.0))


class Balances:
    """Gives the change of all states of a vessel with an organism."""

    def __init__(self, organism: Organism) -> None:
        self._o = organism
        self._carbon = [it.carbon for it in organism.species]
        self._electrons = [it.electrons for it in organism.species]
        self._acid = [it.acid for it in organism.species]
        self._fed = [organism.feed.get(it.name, 0.0) for it in organism.species]
        self._biomass, self._substrate = organism.biomass, organism.index(organism.substrate)

    def change(self, time: float, y: Sequence[float], k: Knobs) -> list[float]:
        """Return the change of each state an hour."""
        o, e = self._o, self._o.equipment
        a = actions(Scalars, time, y, k, o)
        volume, temperature = max(y[s.VOLUME], s.HEEL), y[s.TEMPERATURE]
        c, above = y[s.SPECIES :], max(volume - s.HEEL, 0.0)
        breath = self._breath(y, c)
        gas = self._gas(y, a, volume)
        fed = a.feed * k.pumping
        evaporated = e.evaporation * a.gas * math.exp(0.05 * (temperature - 37.0)) * min(above, 1.0)
        foamed = 0.02 * max(y[s.FOAM] - 90.0, 0.0) * a.gas / e.gas[1] * above
        diluted = (fed + a.base + a.acid - evaporated) / volume
        growth = max(breath.rates[self._biomass], 0.0) / max(c[self._biomass], 1e-6)
        dying = 0.1 * math.expm1(min(max(temperature - o.temperatures[1], 0.0) / 1.5, 7.0))
        part = a.speed / e.stirrer[1] * a.gas / e.gas[1]
        foam = o.foam * o.cell_mass * c[self._biomass] * part / (1 + 2 * y[s.ANTIFOAM])
        return [
            fed + a.base + a.acid - evaporated - a.harvest - foamed,
            a.kla * (gas.best - max(y[s.OXYGEN], 0.0)) - breath.oxygen / gas.capacity * 100,
            _follow(k.oxygen_probe, o.probe_seconds, y[s.OXYGEN], y[s.OXYGEN_PROBE]),
            breath.carbon_dioxide - gas.carbon_dioxide - diluted * y[s.CARBONATE],
            self._ph(y, a, breath, gas, volume),
            _follow(k.ph_probe, PH_SECONDS, y[s.PH], y[s.PH_PROBE]),
            *self._heat(y, a, k.power, WATER_HEAT * fed, BREATH_HEAT * breath.oxygen * volume),
            _follow(k.temperature_probe, TEMPERATURE_SECONDS, temperature, y[s.TEMPERATURE_PROBE]),
            (a.gas * a.inlet_o2 - gas.oxygen * volume * LITRES_IN_MMOL - gas.out * y[s.GAS_O2]) / HEADSPACE,
            (a.gas * a.inlet_co2 + gas.carbon_dioxide * volume * LITRES_IN_MMOL - gas.out * y[s.GAS_CO2]) / HEADSPACE,
            (gas.out - gas.vented) / HEADSPACE,
            (foam + 110.0 * k.foaming * k.power - y[s.FOAM]) / 0.05,
            -y[s.ANTIFOAM] / 3.0,
            growth * (1 - y[s.VITALITY]) - dying * y[s.VITALITY],
            breath.intruder - diluted * y[s.INTRUDER],
            _sum_change(k.temperature, e.temperature_loop, a.temperature_output, a.wishes[0], a.errors[0]),
            _sum_change(k.ph, e.ph_loop, a.ph_output, a.wishes[1], a.errors[1]),
            _sum_change(k.oxygen, e.oxygen_loop, a.oxygen_output, a.wishes[2], a.errors[2]),
            _sum_change(k.pressure, e.pressure_loop, a.pressure_output, a.wishes[3], a.errors[3]),
            _sum_change(k.level, e.level_loop, a.level_output, a.wishes[4], a.errors[4]),
            a.feed,
            a.base,
            a.acid,
            a.harvest,
            0.0,
            *(
                rate - diluted * there + fed * given / volume
                for rate, there, given in zip(breath.rates, c, self._fed, strict=True)
            ),
        ]

    def _breath(self, y: Sequence[float], c: Sequence[float]) -> Breath:
        """The culture, and who came in with it."""
        o, dot, temperature, ph = self._o, max(y[s.OXYGEN], 0.0), y[s.TEMPERATURE], y[s.PH]
        pace = o.vigour * dot / (dot + o.oxygen_half) * min(max(y[s.VITALITY], 0.0), 1.0)
        rates = [pace * r for r in o.kinetics.rates(c, temperature, ph)]
        least = o.breath * max(c[self._biomass], 0.0) * pace
        our = max(-sum(map(float.__mul__, self._electrons, rates)) / 4, least)
        cpr = max(-sum(map(float.__mul__, self._carbon, rates)), least)
        acid, more = sum(map(float.__mul__, self._acid, rates)), 0.0
        if y[s.INTRUDER] > NOISE:
            carbon = self._carbon[self._substrate]
            food = max(c[self._substrate], 0.0) * carbon
            # A ramp at each bound: at a step the solver would not get on.
            lives = min(max(min(temperature - 10.0, 48.0 - temperature, 4 * (ph - 4.5), 4 * (9.0 - ph)), 0.0), 1.0)
            lives *= dot / (dot + 1.0)
            more = UNWANTED[0] * food / (food + UNWANTED[1]) * lives * y[s.INTRUDER]
            burnt = more * CELL_CARBON * (1 / UNWANTED[2] - 1)
            our, cpr, acid = our + burnt, cpr + burnt, acid + CELL_ACID * more + 0.3 * burnt
            rates[self._substrate] -= more * CELL_CARBON / UNWANTED[2] / carbon
        return Breath(rates, our, cpr, acid, more)

    def _gas(self, y: Sequence[float], a: Actions, volume: float) -> Gas:
        """The broth meets the gas of the headspace, which is mixed. The probe is calibrated at the usual pressure."""
        e, temperature, pressure = self._o.equipment, y[s.TEMPERATURE], max(y[s.PRESSURE], 0.0)
        capacity = oxygen_capacity(temperature) * (1 + e.pressure)
        best = 100 * y[s.GAS_O2] / AIR_O2 * (1 + pressure) / (1 + e.pressure)
        otr = a.kla * (best - max(y[s.OXYGEN], 0.0)) * capacity / 100
        solubility = CO2_SOLUBILITY * (1 - 0.02 * (temperature - 37.0))
        dissolved = y[s.CARBONATE] / (1 + _alpha(y[s.PH]))
        ctr = 0.9 * a.kla * (dissolved - solubility * y[s.GAS_CO2] * (1 + pressure))
        out = max(a.gas + (ctr - otr) * volume * LITRES_IN_MMOL, 0.0)
        clogged = 1 - 0.97 * min(max((y[s.FOAM] - 90.0) / 15.0, 0.0), 1.0)
        vented = 3 * e.gas[1] * a.valve / 100 * clogged * pressure / math.sqrt(0.1 * pressure + 1e-4)
        return Gas(best, capacity, otr, ctr, out, vented + 5 * e.gas[1] * max(pressure - 1.2, 0.0))  # the safety valve

    def _ph(self, y: Sequence[float], a: Actions, breath: Breath, gas: Gas, volume: float) -> float:
        """Strong ions against buffer and carbonate."""
        o, e, alpha = self._o, self._o.equipment, _alpha(y[s.PH])
        share = alpha / (1 + alpha)
        slope = o.buffer + 2.303 * share / (1 + alpha) * y[s.CARBONATE]
        dosed = (a.base * e.base[1] - a.acid * e.acid[1]) / volume
        more: float = (dosed - breath.acid - share * (breath.carbon_dioxide - gas.carbon_dioxide)) / slope
        return more

    def _heat(self, y: Sequence[float], a: Actions, power: float, *given: float) -> tuple[float, float]:
        """The change of the temperatures of broth and jacket; `given` are W/K of the feed and W of the culture."""
        e, temperature, jacket, volume = self._o.equipment, y[s.TEMPERATURE], y[s.JACKET], max(y[s.VOLUME], s.HEEL)
        output, full = a.temperature_output / 100 * power, min(volume, 1.0)
        wall = e.wall * (0.4 + 0.6 * full) * (jacket - temperature)
        heater = e.heater * max(output, 0.0) * min(max((99.0 - jacket) / 5, 0.0), 1.0)
        cooler = e.cooling * max(-output, 0.0) * (jacket - e.cooling_water)
        made = given[1] + STIRRER_HEAT * (a.speed / e.stirrer[1]) ** 3 * full
        lost = (e.loss + given[0]) * (temperature - e.room)
        return (wall + made - lost) / (WATER_HEAT * volume + STEEL_HEAT), (heater - cooler - wall) / JACKET_HEAT


def _alpha(ph: float) -> float:
    """Bicarbonate for each dissolved carbon dioxide."""
    return float(10.0 ** (min(max(ph, 2.0), 10.0) - 6.1))


def _follow(fault: ProbeFault, seconds: float, true: float, probe: float) -> float:
    return 0.0 if fault.frozen else 3600 / (seconds * fault.slower) * (max(true, 0.0) - probe)


def _sum_change(order: LoopOrder, tuning: Tuning, output: float, wish: float, error: float) -> float:
    """The change of a controller's sum: it integrates and, at a bound or in another mode, tracks the output."""
    integral = tuning.gain / tuning.reset * error if order.mode == AUTO else 0.0
    return integral + (output - wish) / tuning.track
