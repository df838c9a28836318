"""M4: what a chart of so many pixels needs of a channel, and no more.

U. Jugel, Z. Jerzak, G. Hackenbroich, V. Markl: "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014:
the first, the last, the least and the greatest sample of each pixel draw the same line as all samples do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from api.series.buckets import cut
from api.series.samples import Flags, Floats, Ints, Samples

METHOD = "m4"
POINTS_OF_A_PIXEL = 4


@dataclass(frozen=True, slots=True)
class Points:
    """Points of a line in the order of their time, and the first sample of each pixel that is not good."""

    times: Ints
    values: Floats
    """NaN: a gap; the line ends before it and begins anew after it."""
    bad: Samples


class KeptSamples(NamedTuple):
    """What a plot keeps of each of its pixels. Hours are such pixels; those of a pixel make the same plot as all of its
    samples do."""

    begins: Ints
    filled: Flags
    """Which have a sample that counts."""
    times: tuple[Ints, ...]
    """Of the first, the least, the greatest and the last."""
    values: tuple[Floats, ...]
    bad_filled: Flags
    bad: Samples
    """The first that is not good."""

    def at(self, which: Flags | slice) -> KeptSamples:
        """Return some of the pixels."""
        return KeptSamples(
            self.begins[which],
            self.filled[which],
            tuple(some[which] for some in self.times),
            tuple(some[which] for some in self.values),
            self.bad_filled[which],
            Samples(self.bad.times[which], self.bad.values[which], self.bad.qualities[which]),
        )

    def samples(self) -> Samples:
        """Return all that is kept, in the order of time; of one instant the first comes first, and the last last."""
        filled, bad = self.filled, self.bad.where(self.bad_filled)
        good = np.concatenate([some[filled] for some in self.times])
        values = np.concatenate([some[filled] for some in self.values])
        found = Samples(good, values, np.zeros(len(good), np.int16)).followed_by(bad)
        order = np.argsort(found.times, kind="stable")
        return Samples(found.times[order], found.values[order], found.qualities[order])


class Extreme:
    """The sample of each pixel with the least value, the first of several."""

    def __init__(self, count: int) -> None:
        self.times, self.values = np.zeros(count, np.int64), np.full(count, np.inf)

    def add(self, samples: Samples, sign: int, numbers: Ints, begins: Ints, ends: Ints) -> None:
        """Take samples; with a sign of -1 the greatest is kept, with its value negated."""
        values, counts = samples.values[begins[0] : ends[-1]] * sign, ends - begins
        least = np.minimum.reduceat(values, begins - begins[0])
        at = np.flatnonzero(values == np.repeat(least, counts))
        _, first = np.unique(np.repeat(numbers, counts)[at], return_index=True)
        times = samples.times[begins[0] + at[first]]
        better = least < self.values[numbers]
        self.times[numbers[better]], self.values[numbers[better]] = times[better], least[better]


class Plot:
    """The points of one channel. Samples come in blocks, in the order of their time.

    `edges` bound the pixels; `gap` is the longest distance of two samples in µs over which the line is drawn. A gap
    within a pixel cannot be seen and is left out.
    """

    def __init__(self, edges: Ints, *, everything: bool, gap: int | None) -> None:
        count = max(0, len(edges) - 1)
        self._edges, self._everything, self._gap = edges, everything, gap
        self._filled: Flags = np.zeros(count, np.bool_)
        self._first, self._last = _nothing(count), _nothing(count)
        self._least, self._most = Extreme(count), Extreme(count)
        self._bad_filled: Flags = np.zeros(count, np.bool_)
        self._bad = _nothing(count)
        self._newest: Ints = np.empty(0, np.int64)
        self._gaps: list[Ints] = []

    def add(self, samples: Samples) -> None:
        bad = samples.where(~samples.good())
        numbers, begins, _ = cut(bad.times, self._edges)
        self._keep_first(self._bad, self._bad_filled, numbers, bad, begins)
        usable = samples.usable(self._everything)
        numbers, begins, ends = cut(usable.times, self._edges)
        if len(numbers):
            self._note_gaps(usable.times[begins[0] : ends[-1]])
            self._least.add(usable, 1, numbers, begins, ends)
            self._most.add(usable, -1, numbers, begins, ends)
            self._keep_first(self._first, self._filled, numbers, usable, begins)
            self._last.put(numbers, usable, ends - 1)

    @staticmethod
    def _keep_first(kept: Samples, filled: Flags, numbers: Ints, samples: Samples, begins: Ints) -> None:
        new = ~filled[numbers]
        kept.put(numbers[new], samples, begins[new])
        filled[numbers] = True

    def _note_gaps(self, times: Ints) -> None:
        if self._gap is None:
            return
        times = np.concatenate([self._newest, times])
        self._newest = times[-1:]
        long = np.flatnonzero(np.diff(times) > self._gap)
        before, after = times[long], times[long + 1]
        seen = np.searchsorted(self._edges, before, "right") != np.searchsorted(self._edges, after, "right")
        self._gaps.append(before[seen] + (after[seen] - before[seen]) // 2)

    def kept(self) -> KeptSamples:
        """Return the samples out of which the plot is made, pixel by pixel."""
        least, most = self._least, self._most
        return KeptSamples(
            self._edges[:-1],
            self._filled,
            (self._first.times, least.times, most.times, self._last.times),
            (self._first.values, least.values, -most.values, self._last.values),
            self._bad_filled,
            self._bad,
        )

    def results(self) -> Points:
        filled = self._filled
        times = [self._first.times, self._least.times, self._most.times, self._last.times]
        values = [self._first.values, self._least.values, -self._most.values, self._last.values]
        gaps = np.concatenate([np.empty(0, np.int64), *self._gaps])
        all_times = np.concatenate([*(some[filled] for some in times), gaps])
        all_values = np.concatenate([*(some[filled] for some in values), np.full(len(gaps), np.nan)])
        order = np.argsort(all_times, kind="stable")
        all_times, all_values = all_times[order], all_values[order]
        again = _seen_before(all_times, all_values)
        return Points(all_times[~again], all_values[~again], self._bad.where(self._bad_filled))


def _seen_before(times: Ints, values: Floats) -> Flags:
    """Which points are there already: a sample may be the first of its pixel and the least, too."""
    pairs = np.rec.fromarrays([times, values.view(np.int64)])
    _, first = np.unique(pairs, return_index=True)
    again = np.ones(len(times), np.bool_)
    again[first] = False
    return again


def _nothing(count: int) -> Samples:
    return Samples(np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.int16))
