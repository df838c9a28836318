"""Solves the process models as they were published: the culture alone, at constant temperature and pH, in a vessel with
the oxygen transfer and the feed of the paper. vessel.py puts the same kinetics into a vessel with loops.

Times are hours, volumes litres. The solutions are exact to about six digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from device_sim.process.kinetics import Mammalian, Monod, Overflow, Penicillin

Change: TypeAlias = Callable[[float, Sequence[float]], list[float]]
Crossing: TypeAlias = Callable[[float, Sequence[float]], float]


@dataclass(frozen=True)
class Course:
    """The state of a culture over time: `times` and one array a name, as fine as the solver went."""

    names: tuple[str, ...]
    times: npt.NDArray[np.float64]
    states: npt.NDArray[np.float64]
    """One row a name."""
    dense: list[tuple[float, Callable[[float], npt.NDArray[np.float64]]]]
    crossed: float | None = None
    """When the condition of a phase change came true."""

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        column: npt.NDArray[np.float64] = self.states[self.names.index(name)]
        return column

    def at(self, hour: float) -> dict[str, float]:
        """Return the state at an hour by name. Raises ValueError outside of the time that was solved."""
        if not self.times[0] <= hour <= self.times[-1]:
            raise ValueError(f"hour {hour:g} was not solved")
        solution = next(solution for end, solution in self.dense if hour <= end)
        return dict(zip(self.names, map(float, solution(hour)), strict=True))


def _solved(
    names: tuple[str, ...],
    start: Sequence[float],
    pieces: Sequence[tuple[float, Change]],
    until: Crossing | None = None,
) -> Course:
    """Solve piece after piece, each to its end in hours. `until` ends the first piece where it falls to zero."""
    time, state, times, states, dense, crossed = 0.0, list(start), [], [], [], None
    for number, (end, change) in enumerate(pieces):
        if end <= time:
            continue
        events = None
        if until is not None and number == 0:
            events = until
            events.terminal, events.direction = True, -1  # type: ignore[attr-defined]
        found = solve_ivp(
            change, (time, end), state, method="LSODA", rtol=1e-8, atol=1e-10, events=events, dense_output=True
        )
        if not found.success:
            raise ArithmeticError(found.message)
        if events is not None and len(found.t_events[0]):
            crossed = float(found.t_events[0][0])
        time, state = float(found.t[-1]), list(found.y[:, -1])
        times.append(found.t)
        states.append(found.y)
        dense.append((time, found.sol))
    return Course(names, np.concatenate(times), np.concatenate(states, axis=1), dense, crossed)


@dataclass(frozen=True)
class FedBatch:
    """The schedule of Anane et al.: exponential feed, better transfer, constant half feed."""

    feed_starts: float = 11.4469
    first_rate: float = 0.0087
    set_growth: float = 0.222
    feed_halved: float = 16.3028
    transfer_changes: float = 14.3417
    transfers: tuple[float, float] = (220.0, 355.0)
    feed: float = 300.0
    """g/L of sugar."""

    def rate(self, hour: float) -> float:
        """Return the feed in L/h."""
        if hour < self.feed_starts:
            return 0.0
        grown = self.first_rate * math.exp(self.set_growth * (min(hour, self.feed_halved) - self.feed_starts))
        return grown if hour < self.feed_halved else grown / 2


OVERFLOW_START = {"volume": 2.0, "cells": 0.17, "glucose": 4.94, "acetate": 0.0129, "oxygen": 98.0, "probe": 98.0}


@dataclass(frozen=True)
class OverflowOxygen:
    """Oxygen of the model of Anane et al.: yields (g/g), carbon in cells and sugar, saturation, Henry's constant."""

    y_os: float = 1.5722
    y_oa: float = 0.5221
    c_x: float = 0.488
    c_s: float = 0.391
    k_o: float = 1e-4
    henry: float = 14_000.0
    saturation: float = 99.0
    probe_seconds: float = 35.0


def overflow(
    model: Overflow = Overflow(),  # noqa: B008 - frozen
    start: Mapping[str, float] = OVERFLOW_START,
    schedule: FedBatch = FedBatch(),
    oxygen: OverflowOxygen = OverflowOxygen(),
    *,
    hours: float,
) -> Course:
    """Solve cells with overflow to acetate. Concentrations are g/L, oxygen and its probe % of saturation."""

    def change(kla: float, halved: bool) -> Change:
        def of(hour: float, y: Sequence[float]) -> list[float]:
            volume, cells, sugar, acid, dot, probe = y
            share = max(dot, 0.0) / (max(dot, 0.0) + oxygen.k_o)
            growth, uptake, oxidised, over, eaten = model.flows(sugar, acid, share)
            anabolic = (oxidised - model.q_m) * model.y_em * oxygen.c_x / oxygen.c_s
            breath = oxygen.y_os * (oxidised - anabolic) + eaten * oxygen.y_oa
            feed = schedule.rate(max(hour, schedule.feed_halved) if halved else min(hour, schedule.feed_halved - 1e-9))
            dilution = feed / volume
            return [
                feed,
                cells * (growth - dilution),
                dilution * (schedule.feed - sugar) - uptake * cells,
                (over * model.y_as - eaten) * cells - dilution * acid,
                kla * (oxygen.saturation - dot) - breath * cells * oxygen.henry,
                3600 / oxygen.probe_seconds * (dot - probe),
            ]

        return of

    ends = sorted({schedule.feed_starts, schedule.transfer_changes, schedule.feed_halved, hours})
    pieces = []
    for begin, end in zip([0.0, *ends], ends, strict=False):
        if end <= hours:
            kla = schedule.transfers[begin >= schedule.transfer_changes]
            pieces.append((end, change(kla, begin >= schedule.feed_halved)))
    return _solved(tuple(start), list(start.values()), pieces)


PENICILLIN_START = {"volume": 100.0, "cells": 0.1, "glucose": 15.0, "penicillin": 0.0, "oxygen": 1.16, "co2": 0.5}


@dataclass(frozen=True)
class PenicillinVessel:
    """The vessel of Birol et al.: oxygen (g/L of cells a g/L of oxygen), gas, stirrer power, feed, carbon dioxide."""

    temperature: float = 25.0
    ph: float = 5.0
    y_xo: float = 0.04
    y_po: float = 0.20
    m_o: float = 0.467
    saturation: float = 1.16
    gas: float = 8.6
    power: float = 30.0
    feed: float = 600.0
    rate: float = 0.042
    feed_below: float = 0.3
    alphas: tuple[float, float, float] = (0.143, 4e-7, 1e-4)


def penicillin(
    model: Penicillin = Penicillin(),  # noqa: B008
    start: Mapping[str, float] = PENICILLIN_START,
    vessel: PenicillinVessel = PenicillinVessel(),
    *,
    hours: float,
) -> Course:
    """Solve a penicillin fed-batch: the feed starts when the sugar falls below `feed_below`. All is in g/L."""
    kelvin = vessel.temperature + 273.0

    def change(feed: float) -> Change:
        def of(_: float, y: Sequence[float]) -> list[float]:
            volume, cells, sugar, product, oxygen, _ = y
            growth, death, made = model.flows(cells, sugar, vessel.temperature, vessel.ph)
            more = feed - 1e-4 * volume * (math.exp(0.05 * (kelvin - 273.0)) - 1)
            kla = 70 * math.sqrt(vessel.gas) * (vessel.power / volume) ** 0.4
            cells_more = cells * (growth - death) - cells * feed / volume
            eaten = growth / model.y_xs + made / model.y_ps + model.m_x - death / model.y_xs
            breath = growth / vessel.y_xo + made / vessel.y_po + vessel.m_o - death / vessel.y_xo
            one, two, three = vessel.alphas
            return [
                more,
                cells_more,
                -cells * eaten + feed * vessel.feed / volume - sugar * more / volume,
                made * cells - model.k * product - product * feed / volume,
                -cells * breath + kla * (vessel.saturation - oxygen) - oxygen * more / volume,
                one * cells_more + two * cells + three,
            ]

        return of

    def fed(_: float, y: Sequence[float]) -> float:
        return y[2] - vessel.feed_below

    return _solved(tuple(start), list(start.values()), [(hours, change(0.0)), (hours, change(vessel.rate))], fed)


MAMMALIAN_START = {
    "volume": 0.04, "viable_cells": 3.0, "cells": 3.0, "glucose": 40.0, "glutamine": 10.0, "lactate": 0.0,
    "ammonia": 0.0, "antibody": 0.0,
}  # fmt: skip


def mammalian(
    model: Mammalian = Mammalian(),  # noqa: B008
    start: Mapping[str, float] = MAMMALIAN_START,
    *,
    hours: float,
    feeds: Sequence[tuple[float, float]] = (),
    feed: Mapping[str, float] = {"glucose": 150.0, "glutamine": 10.0},
) -> Course:
    """Solve CHO cells with antibody: cells in 10⁹/L, substances in mmol/L, antibody in mg/L. `feeds` are pairs of the
    hour from which on, and the rate (L/h) at which, the feed flows."""
    names = tuple(start)
    fed = [feed.get(name, 0.0) for name in names[1:]]

    def change(rate: float) -> Change:
        def of(_: float, y: Sequence[float]) -> list[float]:
            dilution = rate / y[0]
            made = model.rates(y[1:], 37.0, 7.1)
            return [rate, *(r + dilution * (f - c) for r, f, c in zip(made, fed, y[1:], strict=True))]

        return of

    starts = [*((begin, rate) for begin, rate in feeds if begin < hours), (hours, 0.0)]
    rates = [0.0, *(rate for _, rate in feeds)]
    return _solved(names, list(start.values()), [(end, change(rates[i])) for i, (end, _) in enumerate(starts)])


@dataclass(frozen=True)
class Chemostat:
    """A continuous culture at constant volume, and what is known of it in closed form."""

    model: Monod = field(default_factory=Monod)
    dilution: float = 0.2
    feed: float = 10.0

    @property
    def sugar(self) -> float:
        """The sugar (g/L) that is left in the steady state: Ks·D/(μmax − D), or all of it after wash-out."""
        if self.dilution >= self.wash_out:
            return self.feed
        return self.model.k_s * self.dilution / (self.model.mu_max - self.dilution)

    @property
    def wash_out(self) -> float:
        """The dilution rate (1/h) from which on no cells stay: μmax·S0/(Ks + S0)."""
        return self.model.mu_max * self.feed / (self.model.k_s + self.feed)

    def course(self, cells: float, sugar: float, *, hours: float) -> Course:
        def change(_: float, y: Sequence[float]) -> list[float]:
            made = self.model.rates(y, 37.0, 7.0)
            return [made[0] - self.dilution * y[0], made[1] + self.dilution * (self.feed - y[1])]

        return _solved(("cells", "glucose"), [cells, sugar], [(hours, change)])
