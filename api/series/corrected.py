"""Samples as people have corrected them: what stands in frames stays, and a correction is put over it where samples are
read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.series.copied import NOT_SENT
from api.series.samples import Flags, Floats, Ints

Shorts = NDArray[np.int16]
BAD = 1


@dataclass(frozen=True, slots=True)
class Correction:
    """What holds of the samples of a channel from `begin` to `end` (not part of it), in µs since 1970."""

    number: int
    begin: int
    end: int
    value: float | None
    """In place of what was sent, in the unit in which the channel is stored; None: see `factor`."""
    factor: float | None
    """What was sent times this, plus `added`; None: the value stays."""
    added: float | None
    quality: int | None
    """None: it stays."""

    def of(self, values: Floats, marks: Shorts) -> tuple[Floats, Shorts]:
        """Return values and qualities of samples that lie in its time; one that becomes too large is bad."""
        if self.value is not None:
            values = np.full(len(values), self.value)
        elif self.factor is not None and self.added is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                changed = values * self.factor + self.added
            lost = ~np.isfinite(changed) & np.isfinite(values)
            values, marks = np.where(lost, np.nan, changed), np.where(lost & (marks == 0), np.int16(BAD), marks)
        if self.quality is not None:
            marks = np.full(len(marks), self.quality, np.int16)
        return values, np.where(np.isnan(values) & (marks == 0), np.int16(BAD), marks)


class CorrectedSamples(NamedTuple):
    values: Floats
    marks: Shorts
    numbers: Ints
    """Which correction each sample has; 0: none."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """The corrections that hold of a channel, in the order in which they were made: of those that cover a sample the
    last one holds, and is put over what was sent."""

    corrections: tuple[Correction, ...]

    def within(self, begin: int, end: int) -> list[Correction]:
        """Return those that reach into the time from `begin` to `end`, in µs."""
        return [one for one in self.corrections if one.begin < end and one.end > begin]

    def touched(self, begins: Ints, width: int) -> Flags:
        """Which of the times of this width, in µs, that begin there may have a corrected sample."""
        found = np.zeros(len(begins), np.bool_)
        for one in self.corrections:
            found |= (begins < one.end) & (begins + width > one.begin)
        return found

    def samples(self, times: Ints, values: Floats, marks: Shorts) -> CorrectedSamples:
        """Return samples, in the order of their time, corrected. What was not sent (NOT_SENT) stays so."""
        found = CorrectedSamples(values.copy(), marks.copy(), np.zeros(len(times), np.int64))
        for one in self.within(int(times[0]), int(times[-1]) + 1) if len(times) else ():
            first, last = np.searchsorted(times, [one.begin, one.end])
            at = first + np.flatnonzero(marks[first:last] != NOT_SENT)
            found.values[at], found.marks[at] = one.of(values[at], marks[at])
            found.numbers[at] = one.number
        return found
