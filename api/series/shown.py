"""Samples in the unit of a column: each stretch of time with a unit of its own is converted by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from api.series.samples import Flags, Floats, Ints, Samples
from schema.units import Affine


class Stretch(NamedTuple):
    """From `begin` on, in µs since 1970, values become those of the column by `convert`; None: they are not of it."""

    begin: int
    convert: Affine | None


@dataclass(frozen=True, slots=True)
class ShownUnit:
    """The unit of a column, and how stored values come into it. The first stretch begins before all samples."""

    unit: str | None
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...] = ()
    """What an answer has to say of it."""

    def samples(self, page: Samples) -> Samples:
        """Return the samples of a page that are of the column, converted."""
        values, kept = self.converted(page.times, page.values)
        return page._replace(values=values).where(kept)

    def converted(self, times: Ints, values: Floats) -> tuple[Floats, Flags]:
        """Return the values converted, and which of them are of the column; arrays of one length."""
        begins = np.array([one.begin for one in self.stretches])
        of = np.searchsorted(begins, times, side="right") - 1
        found, kept = values, np.ones(len(times), np.bool_)
        for number, one in enumerate(self.stretches):
            there = of == number
            if one.convert is None:
                kept &= ~there
            elif there.any():
                found = np.where(there, one.convert.of(values), found)
        return found, kept

    def value(self, time: int, value: float | None) -> float | None:
        """Return one value in the unit of the column; None where it is not of it."""
        convert = self._at(time)
        return None if convert is None or value is None else convert.one(value)

    def has(self, time: int) -> bool:
        """Whether samples of that time are of the column."""
        return self._at(time) is not None

    def _at(self, time: int) -> Affine | None:
        return next((one.convert for one in reversed(self.stretches) if one.begin <= time), None)
