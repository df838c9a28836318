"""Aggregates of the samples of one channel in buckets. Samples come in blocks, in the order of their time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from api.series.areas import Areas
from api.series.samples import Floats, Ints, PartSums, Samples

SUMMABLE = frozenset({"avg", "sum", "min", "max", "count"})
"""Aggregates that can be made of `PartSums`."""
LARGEST_MEDIAN = 5_000_000
"""The most samples in a bucket with a median, which needs all of them at a time."""


class BucketTooLarge(Exception):
    """A bucket holds too many samples for its median."""


class Accumulator(Protocol):
    """Some of the aggregates of each bucket. What is not known is NaN."""

    def add(self, samples: Samples) -> None:
        """Take the samples that follow, all of which have a value."""

    def results(self) -> Mapping[str, Floats]: ...


@runtime_checkable
class SumAccumulator(Accumulator, Protocol):
    """Takes also what the database has added up."""

    def add_sums(self, numbers: Ints, begins: Ints, parts: PartSums) -> None:
        """Take of bucket `numbers[k]` the parts from `begins[k]` to where the next bucket's begin."""


def cut(times: Ints, edges: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the numbers of the buckets that have samples, and the first and the last index (exclusive) in each."""
    if not len(times) or len(edges) < 2:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    low = max(0, int(np.searchsorted(edges, times[0], "right")) - 1)
    high = min(len(edges) - 1, int(np.searchsorted(edges, times[-1], "right")))
    cuts = np.searchsorted(times, edges[low : high + 1])
    filled = np.flatnonzero(cuts[1:] > cuts[:-1])
    return filled + low, cuts[:-1][filled], cuts[1:][filled]


class Buckets:
    """All aggregates that are asked for.

    `edges` bound the buckets, `everything` takes samples of any quality that have a value, `step` holds a value until
    the next sample, `gap` is the longest distance of two samples in µs that is no gap.
    """

    def __init__(self, edges: Ints, names: Collection[str], *, everything: bool, step: bool, gap: int | None) -> None:
        count = max(0, len(edges) - 1)
        self._edges, self._everything = edges, everything
        self._good, self._all, self._count = (np.zeros(count, np.int64) for _ in range(3))
        self._parts: list[Accumulator] = [
            make() for made, make in self._makers(edges, step, gap).items() if not made.isdisjoint(names)
        ]

    @staticmethod
    def _makers(edges: Ints, step: bool, gap: int | None) -> Mapping[frozenset[str], Callable[[], Accumulator]]:
        return {
            frozenset({"avg", "sum", "stddev"}): lambda: Sums(edges),
            frozenset({"min", "max"}): lambda: Extremes(edges),
            frozenset({"first", "last"}): lambda: Ends(edges),
            frozenset({"median"}): lambda: Medians(edges),
            frozenset({"twa", "integral"}): lambda: Areas(edges, step, gap),
        }

    def add(self, samples: Samples) -> None:
        """Take the samples that follow, whatever their quality; also some before and after the buckets."""
        self._tally(self._all, samples.times)
        self._tally(self._good, samples.times[samples.good()])
        usable = samples.usable(self._everything)
        self._tally(self._count, usable.times)
        for part in self._parts:
            part.add(usable)

    def add_sums(self, parts: PartSums) -> None:
        """Take what the database has added up of good samples, for aggregates of SUMMABLE, in any order."""
        numbers, begins, _ = cut(parts.times, self._edges)
        if len(numbers):
            self._count[numbers] += np.add.reduceat(parts.counts, begins)
            for part in self._parts:
                assert isinstance(part, SumAccumulator), "an aggregate that needs the samples"
                part.add_sums(numbers, begins, parts)

    def _tally(self, counts: Ints, times: Ints) -> None:
        numbers, begins, ends = cut(times, self._edges)
        counts[numbers] += ends - begins

    def results(self) -> dict[str, Floats | Ints]:
        """Return each aggregate by its name, bucket by bucket, and `all`, the number of samples of any quality."""
        with np.errstate(invalid="ignore", divide="ignore"):
            percent = 100.0 * self._good / self._all
        found: dict[str, Floats | Ints] = {"count": self._count, "all": self._all, "percent_good": percent}
        for part in self._parts:
            found |= part.results()
        return found


class Sums:
    """avg, sum, stddev. Variances of blocks are merged as Chan, Golub and LeVeque do (1983, "Algorithms for Computing
    the Sample Variance", eq. 2.1); stddev is that of a sample (n - 1), and unknown of less than two."""

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._n, self._sum, self._mean, self._squares = (np.zeros(max(0, len(edges) - 1)) for _ in range(4))

    def add(self, samples: Samples) -> None:
        samples = samples.calculable()
        numbers, begins, ends = cut(samples.times, self._edges)
        if not len(numbers):
            return
        values, n = samples.values[begins[0] : ends[-1]], (ends - begins).astype(np.float64)
        starts = begins - begins[0]
        total = np.add.reduceat(values, starts)
        mean = total / n
        squares = np.add.reduceat((values - np.repeat(mean, ends - begins)) ** 2, starts)
        self._merge(numbers, n, total, mean, squares)

    def add_sums(self, numbers: Ints, begins: Ints, parts: PartSums) -> None:
        self._n[numbers] += np.add.reduceat(parts.counts, begins)
        self._sum[numbers] += np.add.reduceat(parts.sums, begins)

    def _merge(self, at: Ints, n: Floats, total: Floats, mean: Floats, squares: Floats) -> None:
        both, apart = self._n[at] + n, mean - self._mean[at]
        self._squares[at] += squares + apart * apart * self._n[at] * n / both
        self._mean[at] += apart * n / both
        self._sum[at] += total
        self._n[at] = both

    def results(self) -> Mapping[str, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(np.where(self._n > 1, self._squares / (self._n - 1), np.nan))
            return {
                "avg": self._sum / self._n,
                "sum": np.where(self._n > 0, self._sum, np.nan),
                "stddev": deviation,
            }


class Extremes:
    """min and max."""

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._least, self._most = (np.full(max(0, len(edges) - 1), np.nan) for _ in range(2))

    def add(self, samples: Samples) -> None:
        numbers, begins, ends = cut(samples.times, self._edges)
        if len(numbers):
            values, starts = samples.values[begins[0] : ends[-1]], begins - begins[0]
            self._least[numbers] = np.fmin(self._least[numbers], np.minimum.reduceat(values, starts))
            self._most[numbers] = np.fmax(self._most[numbers], np.maximum.reduceat(values, starts))

    def add_sums(self, numbers: Ints, begins: Ints, parts: PartSums) -> None:
        self._least[numbers] = np.fmin(self._least[numbers], np.minimum.reduceat(parts.least, begins))
        self._most[numbers] = np.fmax(self._most[numbers], np.maximum.reduceat(parts.most, begins))

    def results(self) -> Mapping[str, Floats]:
        return {"min": self._least, "max": self._most}


class Ends:
    """first and last; of samples of one instant, the older layout's comes first."""

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._first, self._last = (np.full(max(0, len(edges) - 1), np.nan) for _ in range(2))

    def add(self, samples: Samples) -> None:
        numbers, begins, ends = cut(samples.times, self._edges)
        known = self._first[numbers]
        self._first[numbers] = np.where(np.isnan(known), samples.values[begins], known)
        self._last[numbers] = samples.values[ends - 1]

    def results(self) -> Mapping[str, Floats]:
        return {"first": self._first, "last": self._last}


class Medians:
    """median: the middle value, or half-way between the two in the middle. The samples of a bucket are kept until the
    next bucket has begun."""

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._medians = np.full(max(0, len(edges) - 1), np.nan)
        self._open = Samples(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int16))

    def add(self, samples: Samples) -> None:
        merged = self._open.followed_by(samples.calculable())
        numbers, begins, ends = cut(merged.times, self._edges)
        self._open = merged.between(int(begins[-1]), int(ends[-1])) if len(numbers) else merged.between(0, 0)
        if len(numbers) > 1:
            closed = merged.values[begins[0] : begins[-1]]
            self._medians[numbers[:-1]] = middles(closed, (ends - begins)[:-1])
        if len(self._open.times) > LARGEST_MEDIAN:
            raise BucketTooLarge

    def results(self) -> Mapping[str, Floats]:
        numbers, _, _ = cut(self._open.times, self._edges)
        if len(numbers):
            self._medians[numbers[0]] = np.median(self._open.values)
        return {"median": self._medians}


def middles(values: Floats, counts: Ints) -> Floats:
    """Return the median of each group, of which the first has the first `counts[0]` values, and so on."""
    group = np.repeat(np.arange(len(counts)), counts)
    ordered = values[np.lexsort((values, group))]
    begins = np.cumsum(counts) - counts
    low, high = ordered[begins + (counts - 1) // 2], ordered[begins + counts // 2]
    found: Floats = low + (high - low) / 2
    return found
