"""Computes how fast cultures grow, eat and produce. Pure numbers: a further organism is another set of parameters.

Every kinetics has `species`, and `rates`: the change of each species in its unit per litre and hour, for
concentrations, temperature (°C) and pH. `rates` are those of the published model with enough oxygen; its published
oxygen uptake, where it has one, is in published.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

Concentrations: TypeAlias = Sequence[float]
GAS_CONSTANT = 1.987  # cal/(mol K)


@dataclass(frozen=True)
class Species:
    """A substance or cells in the broth. Carbon, electrons (given up when burnt to CO2, water and ammonia) and acid (H+
    that its production sets free, with the ammonia that it takes) are in mmol of one unit of it."""

    name: str
    unit: str
    carbon: float
    electrons: float
    acid: float = 0.0
    is_biomass: bool = False


CELLS = Species("cells", "g/L", 40.67, 170.8, 7.1, is_biomass=True)
"""Dry cells with 48.8 % carbon, 4.2 electrons a carbon, and 0.1 g of nitrogen a gram, taken as ammonia."""
GLUCOSE = Species("glucose", "g/L", 33.30, 133.2)
ACETATE = Species("acetate", "g/L", 33.30, 133.2, 16.65)


class Kinetics(Protocol):
    @property
    def species(self) -> tuple[Species, ...]: ...

    def rates(self, c: Concentrations, temperature: float, ph: float) -> tuple[float, ...]:
        """Return the change of each species in its unit per litre and hour."""


class Climate(NamedTuple):
    """The cardinal temperatures (°C) and pH of an organism: least, best, greatest; and those at which its rates were
    measured (Rosso et al. 1993 and 1995, J. Theor. Biol. 162, 447 and Appl. Environ. Microbiol. 61, 610)."""

    temperatures: tuple[float, float, float]
    phs: tuple[float, float, float]
    temperature: float
    ph: float

    def factor(self, temperature: float, ph: float) -> float:
        """Return how fast the organism lives, as a part of how fast it lives where its rates were measured."""
        there = _warm(self.temperature, *self.temperatures) * _acid(self.ph, *self.phs)
        return _warm(temperature, *self.temperatures) * _acid(ph, *self.phs) / there


def _warm(t: float, low: float, best: float, high: float) -> float:
    if not low < t < high:
        return 0.0
    below = (best - low) * (t - best) - (best - high) * (best + low - 2 * t)
    return max(0.0, (t - high) * (t - low) ** 2 / ((best - low) * below))


def _acid(ph: float, low: float, best: float, high: float) -> float:
    if not low < ph < high:
        return 0.0
    span = (ph - low) * (ph - high)
    return max(0.0, span / (span - (ph - best) ** 2))


@dataclass(frozen=True)
class Overflow:
    """Cells that turn a surplus of sugar into acetate and eat it later: Anane et al. 2017 (Biochem. Eng. J. 125,
    23-30), with the parameters of E. coli. The names are those of the paper."""

    q_s_max: float = 0.635
    k_s: float = 0.0381
    k_ia: float = 1.2602
    p_a_max: float = 0.2286
    k_ap: float = 0.5088
    q_a_max: float = 0.1148
    k_sa: float = 0.0128
    k_is: float = 1.8383
    q_m: float = 0.0133
    y_as: float = 0.8938
    y_xa: float = 0.5794
    y_em: float = 0.5321
    y_xsof: float = 0.229
    climate: Climate | None = None
    species: tuple[Species, ...] = (CELLS, GLUCOSE, ACETATE)

    def flows(self, sugar: float, acid: float, oxygen: float) -> tuple[float, float, float, float, float]:
        """Specific rates (g/g/h): growth, uptake of sugar, its oxidised part, the overflow, acetate eaten. `oxygen` is
        the part (0 to 1) of the oxidation that there is oxygen for."""
        sugar, acid = max(sugar, 0.0), max(acid, 0.0)
        uptake = self.q_s_max / (1 + acid / self.k_ia) * sugar / (sugar + self.k_s)
        overflow = self.p_a_max * uptake / (uptake + self.k_ap)
        oxidised = (uptake - overflow) * oxygen
        eaten = self.q_a_max / (1 + uptake / self.k_is) * acid / (acid + self.k_sa)
        growth = (oxidised - self.q_m) * self.y_em + eaten * self.y_xa + overflow * self.y_xsof
        return growth, uptake, oxidised, overflow, eaten

    def rates(self, c: Concentrations, temperature: float, ph: float) -> tuple[float, ...]:
        growth, uptake, _, overflow, eaten = self.flows(c[1], c[2], 1.0)
        cells = c[0] * (self.climate.factor(temperature, ph) if self.climate else 1.0)
        return growth * cells, -uptake * cells, (overflow * self.y_as - eaten) * cells


@dataclass(frozen=True)
class Penicillin:
    """Penicillium of Birol, Ündey and Çinar 2002 (Comput. Chem. Eng. 26, 1553-1565), with the constants of the authors'
    simulator: growth by Contois, a product that too much sugar inhibits, temperature and pH in the growth rate."""

    mu_x: float = 0.092
    k_x: float = 0.15
    mu_p: float = 0.005
    k_p: float = 2e-4
    k_i: float = 0.1
    k: float = 0.04
    y_xs: float = 0.45
    y_ps: float = 0.90
    m_x: float = 0.014
    k_1: float = 1e-10
    k_2: float = 7e-5
    k_g: float = 7e3
    e_g: float = 5100.0
    k_d: float = 1e33
    e_d: float = 50_000.0
    species: tuple[Species, ...] = (
        CELLS,
        GLUCOSE,
        Species("penicillin", "g/L", 29.97, 119.9, 3.0),  # what it has of the sugar; its side chain is added
    )

    def flows(self, cells: float, sugar: float, temperature: float, ph: float) -> tuple[float, float, float]:
        """Specific rates (1/h, g/g/h): growth, death by heat, penicillin made."""
        cells, sugar, kelvin, h = max(cells, 1e-9), max(sugar, 0.0), temperature + 273.0, 10.0**-ph
        warm = self.k_g * math.exp(-self.e_g / (GAS_CONSTANT * kelvin))
        growth = self.mu_x / (1 + self.k_1 / h + h / self.k_2) * sugar / (self.k_x * cells + sugar) * warm
        death = self.k_d * math.exp(-self.e_d / (GAS_CONSTANT * kelvin))
        return growth, death, self.mu_p * sugar / (self.k_p + sugar * (1 + sugar / self.k_i))

    def rates(self, c: Concentrations, temperature: float, ph: float) -> tuple[float, ...]:
        cells, sugar, product = c
        growth, death, made = self.flows(cells, sugar, temperature, ph)
        alive = sugar / (sugar + 1e-4)  # no sugar is eaten where there is none
        eaten = growth / self.y_xs + made / self.y_ps + (self.m_x - death / self.y_xs) * alive
        return (growth - death) * cells, -eaten * cells, made * cells - self.k * product


@dataclass(frozen=True)
class Mammalian:
    """CHO cells that make an antibody: Möller et al. 2020 (Bioprocess Biosyst. Eng.), cells in 10⁹/L."""

    mu_max: float = 0.043
    mu_d_max: float = 0.06
    mu_d_min: float = 0.001
    k_g: float = 0.2
    k_q: float = 2.5
    k_lys: float = 0.001
    k_ia: float = 10.0
    k_sg: float = 0.02
    k_sq: float = 0.03
    q_mab: float = 0.312
    q_glc: float = 0.05
    q_gln: float = 0.054
    q_lac: float = 0.2
    """The rates of product (mg) and substances (mmol) are for 10⁹ cells and an hour."""
    y_a: float = 0.9
    y_l: float = 0.25
    lactate_most: float = math.inf
    """Lactate from glucose, mol/mol, at most. The published model has no bound, and a molecule of glucose has two."""
    reuse_width: float = 0.0
    """The width (mmol/L of glucose) of the change from making lactate to eating it; the published one is sudden."""
    climate: Climate | None = None
    species: tuple[Species, ...] = (
        Species("viable_cells", "1e9/L", 0.0, 0.0),
        Species("cells", "1e9/L", 5.5, 23.1, 1.1, is_biomass=True),
        Species("glucose", "mmol/L", 6.0, 24.0),
        Species("glutamine", "mmol/L", 5.0, 18.0),
        Species("lactate", "mmol/L", 3.0, 12.0, 1.0),
        Species("ammonia", "mmol/L", 0.0, 0.0, -1.0),
        Species("antibody", "mg/L", 0.0446, 0.187),
    )

    def rates(self, c: Concentrations, temperature: float, ph: float) -> tuple[float, ...]:
        viable, total, g, q, lactate, a, _ = c
        g, q, lactate, a = max(g, 0.0), max(q, 0.0), max(lactate, 0.0), max(a, 0.0)
        pace = self.climate.factor(temperature, ph) if self.climate else 1.0
        calm = self.k_ia / (a + self.k_ia)
        growth = self.mu_max * g / (g + self.k_sg) * q / (q + self.k_sq) * calm * pace
        starved = self.k_sg / (g + self.k_sg) * self.k_sq / (q + self.k_sq)
        death = self.mu_d_min + self.mu_d_max * starved * a / (a + self.k_ia)
        eaten = self.q_glc * g / (g + self.k_g) * (growth / (growth + self.mu_max) + 0.5) * pace
        glutamine = self.q_gln * q / (q + self.k_q) * pace
        made = min(self.y_l * g / (lactate + 0.01), self.lactate_most) * eaten
        # The published uptake starts at 0.5 mmol/L of glucose; it ends where there is no lactate.
        turned = min((0.5 - g) / self.reuse_width, 1.0) if self.reuse_width else 1.0
        reused = self.q_lac * lactate / (lactate + 0.05) * pace * turned if g < 0.5 else 0.0
        product = self.q_mab * pace if a < self.k_ia else 0.0
        return (
            (growth - death) * viable,
            growth * viable - self.k_lys * max(total - viable, 0.0),
            -eaten * viable,
            -glutamine * viable,
            (made - reused) * viable,
            self.y_a * glutamine * viable,
            product * viable,
        )


@dataclass(frozen=True)
class Monod:
    """Growth by Monod with a constant yield and maintenance: Pirt 1965 (Proc. R. Soc. B 163, 224-231)."""

    mu_max: float = 0.40
    k_s: float = 0.10
    y_xs: float = 0.50
    maintenance: float = 0.0
    """g of sugar for g of cells and an hour."""
    climate: Climate | None = None
    species: tuple[Species, ...] = field(default=(CELLS, GLUCOSE))

    def rates(self, c: Concentrations, temperature: float, ph: float) -> tuple[float, ...]:
        sugar = max(c[1], 0.0)
        there = sugar / (sugar + self.k_s)
        cells = c[0] * (self.climate.factor(temperature, ph) if self.climate else 1.0)
        growth = self.mu_max * there
        return growth * cells, -(growth / self.y_xs + self.maintenance * sugar / (sugar + 1e-4)) * cells
