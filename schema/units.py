"""Conversion between units, pure. Every conversion is affine: value · factor + summand.

A unit is written as the standard list writes it, or in ASCII (`degC`, `uS`). Units of one dimension convert to each
other. Nothing else does but dissolved oxygen: % of saturation to mg/L under the assumptions of `Oxygen`.

Sources of the figures: the SI brochure (9th edition, 2019) for °C and K, NIST SP 811 (2008), appendix B.8, for °F, psi,
atm and mmHg; all are exact but psi and mmHg, which are rounded there to seven digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DIMENSIONS: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "temperature": {"K": (1.0, 0.0), "°C": (1.0, 273.15), "°F": (5 / 9, 459.67 * 5 / 9)},
        "pressure": {
            "Pa": (1.0, 0.0),
            "hPa": (100.0, 0.0),
            "kPa": (1000.0, 0.0),
            "mbar": (100.0, 0.0),
            "bar": (100_000.0, 0.0),
            "atm": (101_325.0, 0.0),
            "psi": (6894.757, 0.0),
            "mmHg": (133.3224, 0.0),
        },
        "volume": {"µL": (1e-6, 0.0), "mL": (1e-3, 0.0), "L": (1.0, 0.0)},
        "flow": {"mL/h": (1e-3, 0.0), "mL/min": (0.06, 0.0), "L/h": (1.0, 0.0), "L/min": (60.0, 0.0)},
        "gas flow at standard conditions": {
            "sL/h": (1.0, 0.0),
            "sL/min": (60.0, 0.0),
            "smL/min": (0.06, 0.0),
        },
        "mass": {"mg": (1e-6, 0.0), "g": (1e-3, 0.0), "kg": (1.0, 0.0)},
        "concentration by mass": {"mg/L": (1e-3, 0.0), "g/L": (1.0, 0.0)},
        "rate by volume": {"mmol/L/h": (1.0, 0.0), "mol/L/h": (1000.0, 0.0)},
        "conductivity": {"µS/cm": (1e-3, 0.0), "mS/cm": (1.0, 0.0)},
        "conductance": {"µS": (1.0, 0.0), "mS": (1000.0, 0.0)},
        "voltage": {"mV": (1e-3, 0.0), "V": (1.0, 0.0)},
        "torque": {"mNm": (1e-3, 0.0), "Nm": (1.0, 0.0)},
        "speed": {"rpm": (1.0, 0.0), "1/s": (60.0, 0.0)},
        "time": {"s": (1.0, 0.0), "min": (60.0, 0.0), "h": (3600.0, 0.0), "d": (86_400.0, 0.0)},
    }
)
"""Dimension → unit → (factor, summand): value · factor + summand is in the dimension's unit of the pair (1, 0)."""

DIMENSION_OF = {unit: dimension for dimension, units in DIMENSIONS.items() for unit in units}
ASCII = {"degC": "°C", "degF": "°F", "C": "°C", "F": "°F", "uL": "µL", "uS": "µS", "uS/cm": "µS/cm", "ul": "µL"}
ASCII |= {"ml": "mL", "l": "L", "ml/h": "mL/h", "l/h": "L/h", "ml/min": "mL/min", "l/min": "L/min"}
GREEK_MU, MICRO = "\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}"
SATURATION, DISSOLVED = "%", "mg/L"


class NotConvertible(ValueError):
    """Raised when values of a unit cannot be in another one; the text says what is possible."""


class Affine(NamedTuple):
    """A conversion: value · factor + summand."""

    factor: float
    summand: float

    def of(self, values: Floats) -> Floats:
        """The values converted, in the same shape; NaN stays NaN."""
        return values if self == SAME else values * self.factor + self.summand

    def one(self, value: float) -> float:
        """One value converted, as `of` does it."""
        return value if self == SAME else value * self.factor + self.summand

    def then(self, after: Affine) -> Affine:
        """First this conversion, then `after`."""
        return Affine(self.factor * after.factor, self.summand * after.factor + after.summand)

    def back(self) -> Affine:
        """The conversion that undoes this one."""
        return Affine(1 / self.factor, -self.summand / self.factor)


SAME = Affine(1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Oxygen:
    """Assumptions for dissolved oxygen: fresh water without salt under humid air of one atmosphere.

    Real broth dissolves less oxygen, by its salts, and a probe reads % of what it was calibrated at.
    """

    temperature: float = 37.0
    """°C, 0 to 40."""

    @property
    def saturation(self) -> float:
        """The concentration in mg/L that is 100 %.

        B. B. Benson, D. Krause, Limnol. Oceanogr. 29 (1984) 620-632, equation 32, as in APHA Standard Methods 4500-O:
        at 1 atm, salinity 0; its table has 9.092 mg/L at 20 °C.
        """
        kelvin = self.temperature + 273.15
        powers = (1.575701e5, -6.642308e7, 1.243800e10, -8.621949e11)
        return math.exp(-139.34411 + sum(a / kelvin ** (n + 1) for n, a in enumerate(powers)))

    @property
    def text(self) -> str:
        return (
            f"100 % dissolved oxygen is taken as {self.saturation:.2f} mg/L: water of {self.temperature:g} °C, "
            "salinity 0, 1 atm (Benson and Krause, 1984)"
        )


USUAL_OXYGEN = Oxygen()


def named(unit: str) -> str:
    """The unit as the standard list writes it; as it is if nobody knows it."""
    unit = unit.strip().replace(GREEK_MU, MICRO)
    return ASCII.get(unit, unit)


def alternatives(unit: str | None, *, oxygen: bool = False) -> list[str]:
    """The other units that values of this unit can be in. `oxygen`: they are of dissolved oxygen."""
    if unit is None:
        return []
    known = named(unit)
    found = [other for other in DIMENSIONS.get(DIMENSION_OF.get(known, ""), {}) if other != known]
    if oxygen and known == SATURATION:
        found += DIMENSIONS["concentration by mass"]
    if oxygen and DIMENSION_OF.get(known) == "concentration by mass":
        found.append(SATURATION)
    return found


def conversion(from_: str | None, to: str, *, oxygen: Oxygen | None = None) -> Affine:
    """The conversion from one unit to another. Raises NotConvertible.

    `oxygen`: the values are of dissolved oxygen, under these assumptions; None: of something else, and % stays %.
    """
    if from_ is None:
        raise NotConvertible(f"nobody has said in which unit the values are, so they cannot be in {to}")
    source, target = named(from_), named(to)
    if source == target:
        return SAME
    if DIMENSION_OF.get(source) is not None and DIMENSION_OF.get(source) == DIMENSION_OF.get(target):
        return _to_base(source).then(_to_base(target).back())
    if oxygen is not None and source == SATURATION and target in DIMENSIONS["concentration by mass"]:
        return Affine(oxygen.saturation / 100, 0.0).then(conversion(DISSOLVED, target))
    if oxygen is not None and target == SATURATION and source in DIMENSIONS["concentration by mass"]:
        return conversion(source, DISSOLVED).then(Affine(100 / oxygen.saturation, 0.0))
    possible = alternatives(source, oxygen=oxygen is not None)
    others = f"they can be in {', '.join(possible)}" if possible else "no other unit of it is known"
    raise NotConvertible(f"values in {from_} cannot be in {to}: {others}")


def convert(values: Floats, from_: str | None, to: str, *, oxygen: Oxygen | None = None) -> Floats:
    """The values in another unit, in the same shape; NaN stays NaN. Raises NotConvertible."""
    return conversion(from_, to, oxygen=oxygen).of(values)


def _to_base(unit: str) -> Affine:
    return Affine(*DIMENSIONS[DIMENSION_OF[unit]][unit])
