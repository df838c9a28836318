"""The envelope of reference runs, and how a run compares with it. Pure.

Runs are rows and times since the start, or since a phase, are columns; NaN is no value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from api.series.samples import Flags, Floats

CLOSE = 1e-9
"""The part of a value by which a band is wider, so that what is equal but for rounding is inside."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where reference runs were at each time; NaN where too few of them have a value."""

    middle: Floats
    low: Floats
    high: Floats
    count: Floats
    """how many reference runs have a value"""


@dataclass(frozen=True, slots=True)
class Excursion:
    """A time outside of an envelope: columns from `first` to `last`, which is part of it."""

    first: int
    last: int
    worst: int
    """the column farthest from the band"""
    distance: float
    """how far beyond the band that is, in units of the channel; negative: below"""
    outside: int
    """columns outside"""
    times: int = 1
    """of how many times in a row it is made"""


@dataclass(frozen=True, slots=True)
class EnvelopeScore:
    """How a run compares with an envelope."""

    judged: int
    """columns in which both have a value"""
    inside: int
    excursions: list[Excursion]

    @property
    def percent(self) -> float | None:
        return None if not self.judged else 100.0 * self.inside / self.judged


def spread(references: Floats, k: float, least: int) -> Envelope:
    """Return mean ± k times the sample standard deviation (n - 1), where at least `least` runs have a value."""
    count = _count(references)
    enough = count >= least
    total = np.where(np.isnan(references), 0.0, references).sum(axis=0)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=enough)
    squares = np.where(np.isnan(references), 0.0, (references - mean) ** 2).sum(axis=0)
    variance = np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=enough & (count > 1))
    half = k * np.sqrt(variance)
    return Envelope(mean, mean - half, mean + half, count)


def between(references: Floats, lower: float, upper: float, least: int) -> Envelope:
    """Return the median and the two quantiles (linear between order statistics), where at least `least` runs have a
    value."""
    count = _count(references)
    found = np.full((3, references.shape[1]), np.nan)
    enough = count >= least
    if enough.any():
        found[:, enough] = np.nanquantile(references[:, enough], [lower, 0.5, upper], axis=0)
    return Envelope(found[1], found[0], found[2], count)


def score(values: Floats, envelope: Envelope, apart: int = 0) -> EnvelopeScore:
    """Return how much of a run is inside of an envelope, and where it left it. Times outside on the same side with at
    most `apart` columns between them are one excursion; the score is the same."""
    slack = CLOSE * np.maximum(np.abs(envelope.low), np.abs(envelope.high))
    judged = ~(np.isnan(values) | np.isnan(envelope.low) | np.isnan(envelope.high))
    above, below = values - envelope.high, values - envelope.low
    distance = np.where(above > slack, above, np.where(below < -slack, below, 0.0))
    outside = judged & (distance != 0)
    found = []
    for first, last in _in_a_row(outside):
        worst = first + int(np.argmax(np.abs(distance[first : last + 1])))
        found.append(Excursion(first, last, worst, float(distance[worst]), last + 1 - first))
    return EnvelopeScore(int(judged.sum()), int((judged & ~outside).sum()), list(_joined(found, apart)))


def _joined(excursions: Sequence[Excursion], apart: int) -> Iterator[Excursion]:
    """Yield excursions, those on the same side with at most `apart` columns between them as one."""
    before: Excursion | None = None
    for one in excursions:
        if before is None:
            before = one
        elif one.first - before.last - 1 <= apart and (one.distance > 0) is (before.distance > 0):
            worse = max(before, one, key=lambda it: abs(it.distance))
            outside, times = before.outside + one.outside, before.times + one.times
            before = Excursion(before.first, one.last, worse.worst, worse.distance, outside, times)
        else:
            yield before
            before = one
    if before is not None:
        yield before


def _count(references: Floats) -> Floats:
    found: Floats = (~np.isnan(references)).sum(axis=0).astype(np.float64)
    return found


def _in_a_row(flags: Flags) -> Iterator[tuple[int, int]]:
    """Yield the first and the last index of each row of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        yield int(first), int(after) - 1
