"""Computes one fed-batch run of E. coli with its control loops, as a table over time. Pure: no I/O, no clock, no
randomness.

The culture is the model of Anane et al. 2017 (Biochem. Eng. J. 125, 23-30), with overflow to acetate and its re-use.
Units are hours, litres, g/L, and % of saturation for dissolved oxygen. The loops and the vessel around the culture are
plain first-order physics and PI controllers with figures of a bench unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

STEP = 10 / 3600
"""Hours. The fastest process, oxygen transfer at 600 /h, is stable up to 16 s in a fourth-order Runge-Kutta."""

FEED_START, FEED_RATE, FEED_GROWTH, FEED_HALVED = 11.4469, 0.0087, 0.222, 16.3028
"""Exponential feed: begin (h of age), first rate (L/h), set growth rate (1/h), begin of constant feed (h)."""

SATURATION, GLUCOSE_IN_FEED = 99.0, 300.0
OXYGEN_HENRY = 14_000.0  # % of saturation for 1 g/L
O2_GRAMS = 32.0


class Culture(NamedTuple):
    volume: float = 2.0
    cells: float = 0.17
    glucose: float = 4.94
    acetate: float = 0.0129
    oxygen: float = 98.0
    probe: float = 98.0
    """The reading of the oxygen probe, which follows with a time constant of 35 s."""


class Rates(NamedTuple):
    """Specific rates in g per g of cells and hour. Uptake is positive; for acetate, production is."""

    growth: float
    glucose: float
    acetate: float
    oxygen: float


def rates(culture: Culture) -> Rates:
    glucose, acetate, oxygen = (max(x, 0.0) for x in (culture.glucose, culture.acetate, culture.oxygen))
    uptake = 0.635 / (1 + acetate / 1.2602) * glucose / (glucose + 0.0381)
    overflow = 0.2286 * uptake / (uptake + 0.5088)
    oxidised = (uptake - overflow) * oxygen / (oxygen + 1e-4)
    reused = 0.1148 / (1 + uptake / 1.8383) * acetate / (acetate + 0.0128)
    made = overflow * 0.8938
    built = (oxidised - 0.0133) * 0.5321
    growth = built + reused * 0.5794 + overflow * 0.229
    anabolic = built * 0.488 / 0.391  # carbon in cells, carbon in glucose
    breath = 1.5722 * (oxidised - anabolic) + reused * 0.5221
    return Rates(growth, uptake, made - reused, breath)


def change(c: Culture, feed: float, kla: float) -> tuple[float, ...]:
    """Time derivatives of a culture, for a feed in L/h and an oxygen transfer coefficient in 1/h."""
    r = rates(c)
    dilution = feed / c.volume
    return (
        feed,
        c.cells * (r.growth - dilution),
        dilution * (GLUCOSE_IN_FEED - c.glucose) - r.glucose * c.cells,
        r.acetate * c.cells - dilution * c.acetate,
        kla * (SATURATION - c.oxygen) - r.oxygen * c.cells * OXYGEN_HENRY,
        3600 / 35 * (c.oxygen - c.probe),
    )


def advance(c: Culture, feed: float, kla: float, hours: float = STEP) -> Culture:
    """Advance a culture by one fourth-order Runge-Kutta step of STEP hours."""

    def moved(slope: tuple[float, ...], by: float) -> Culture:
        return Culture(*(x + by * d for x, d in zip(c, slope, strict=True)))

    one = change(c, feed, kla)
    two = change(moved(one, hours / 2), feed, kla)
    three = change(moved(two, hours / 2), feed, kla)
    four = change(moved(three, hours), feed, kla)
    slope = tuple((p + 2 * q + 2 * r + s) / 6 for p, q, r, s in zip(one, two, three, four, strict=True))
    return moved(slope, hours)


def feed_rate(age: float) -> float:
    """Feed in L/h at an age in hours after inoculation: none, exponential, then half of the last rate, constant."""
    if age < FEED_START:
        return 0.0
    grown = FEED_RATE * math.exp(FEED_GROWTH * (min(age, FEED_HALVED) - FEED_START))
    return grown if age < FEED_HALVED else grown / 2


class Phase(IntEnum):
    SETUP = 0
    INOCULATION = 1
    BATCH = 2
    EXPONENTIAL_FEED = 3
    CONSTANT_FEED = 4
    HARVEST = 5
    CLEANING = 6
    IDLE = 7

    @property
    def text(self) -> str:
        return self.name.lower().replace("_", " ")


INOCULATED = 1.0  # hours after the start of the run
STARTS = (0.0, INOCULATED, 1.1, INOCULATED + FEED_START, INOCULATED + FEED_HALVED, 21.0, 21.5, 22.75)
LENGTH = 23.25
"""Hours from the setup of one run to the setup of the next."""
TEMPERATURES = (37.0, 37.0, 37.0, 37.0, 37.0, 12.0, 70.0, 22.0)
GAS_FLOWS = (96.0, 96.0, 96.0, 120.0, 120.0, 24.0, 12.0, 0.0)
GROWING = (Phase.INOCULATION, Phase.BATCH, Phase.EXPONENTIAL_FEED, Phase.CONSTANT_FEED)


class Loop:
    """A PI controller with bounds on its output, whose integral stops at the bounds."""

    def __init__(self, gain: float, hours: float, low: float, high: float) -> None:
        self.gain, self.hours, self.low, self.high = gain, hours, low, high
        self.integral = 0.0

    def output(self, error: float) -> float:
        wish = self.gain * error + self.integral
        output = min(max(wish, self.low), self.high)
        if wish == output or (wish > output) != (error > 0):
            self.integral += self.gain * error * STEP / self.hours
        return output


class CultureRow(NamedTuple):
    """The vessel at one instant, in the units of the channels of the same names; `otr` is the true oxygen transfer."""

    temperature: float
    temperature_setpoint: float
    temperature_output: float
    ph: float
    ph_setpoint: float
    ph_output: float
    dissolved_oxygen: float
    dissolved_oxygen_setpoint: float
    dissolved_oxygen_output: float
    agitation: float
    gas_flow: float
    otr: float
    feed_rate: float
    feed_total: float
    volume: float


def rows() -> Iterator[CultureRow]:
    """Yield a run from setup to idle, a row each STEP."""
    heating = Loop(8.0, 0.4, -100.0, 100.0)
    titration = Loop(150.0, 0.2, -100.0, 100.0)
    aeration = Loop(0.6, 0.03, 0.0, 100.0)
    culture = Culture(cells=0.0)
    temperature, ph, fed = 22.0, 6.7, 0.0
    for step in range(round(LENGTH / STEP)):
        hour = step * STEP
        phase = phase_at(hour)
        running = phase < Phase.HARVEST
        if phase is Phase.INOCULATION and culture.cells == 0.0:
            culture = culture._replace(cells=Culture().cells)
        if phase is Phase.HARVEST and culture.cells > 0.0:
            culture = Culture(cells=0.0, oxygen=culture.oxygen, probe=culture.probe, glucose=0.0)
        heat = heating.output(TEMPERATURES[phase] - temperature)
        base = titration.output(7.0 - ph) if running else 0.0
        stir = aeration.output(30.0 - culture.probe) if phase in GROWING else 0.0
        agitation = 200.0 + 10.0 * stir if phase < Phase.CLEANING else 0.0
        kla = 40.0 * (agitation / 200.0) ** 1.5
        feed = feed_rate(hour - INOCULATED) if phase in GROWING else 0.0
        r = rates(culture)
        otr = r.oxygen * culture.cells * 1000 / O2_GRAMS
        yield CultureRow(
            temperature, TEMPERATURES[phase], heat,
            ph, 7.0, base,
            culture.probe, 30.0, stir,
            agitation, GAS_FLOWS[phase],
            otr,
            feed * 1000, fed * 1000, culture.volume * 1000,
        )  # fmt: skip
        warming = 0.6 * heat + 0.11 * otr + 1.5 * (agitation / 1000) ** 3 - 0.5 * (temperature - 22.0)
        temperature += STEP * warming
        ph += STEP * (0.06 * base - 0.02 * otr - 0.5 * r.acetate * culture.cells)
        fed += STEP * feed
        culture = advance(culture, feed, kla)


def phase_at(hour: float) -> Phase:
    return Phase(sum(start <= hour for start in STARTS) - 1)


@cache
def table() -> npt.NDArray[np.float64]:
    """The run as an array: one row each STEP, columns as in CultureRow. The first call takes half a second."""
    return np.array(list(rows()))
