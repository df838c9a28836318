"""Samples of one channel as arrays, and how they are read from PostgreSQL's binary COPY."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
HEADER, TRAILER = 19, 2
"""Bytes before and after the rows (PostgreSQL, COPY, "Binary Format"), as there is no header extension."""
ROW = np.dtype(
    [
        *(("fields", ">i2"), ("time_bytes", ">i4"), ("time", ">i8")),
        *(("value_bytes", ">i4"), ("value", ">f8"), ("quality_bytes", ">i4"), ("quality", ">i2")),
    ]
)
"""A row of time, value and quality, none of which is null: so all rows have the same size."""
SINCE_1970 = 946_684_800_000_000
"""µs from 1970 to 2000, where PostgreSQL counts from."""
MOST = 1e100
"""The largest value that is used where values are added up (decision 65)."""


class Samples(NamedTuple):
    """Samples in the order of their time, and of layouts where times are equal."""

    times: Ints
    """µs since 1970"""
    values: Floats
    """NaN: the channel was due and had no value."""
    qualities: NDArray[np.int16]
    """0 good, 1 bad, 2 uncertain, others as the device said"""

    def between(self, first: int, last: int) -> Samples:
        """Return the samples with these indexes; `last` is not one of them."""
        return Samples(self.times[first:last], self.values[first:last], self.qualities[first:last])

    def where(self, wanted: Flags) -> Samples:
        if wanted.all():
            return self
        return Samples(self.times[wanted], self.values[wanted], self.qualities[wanted])

    def followed_by(self, others: Samples) -> Samples:
        return Samples(
            np.concatenate([self.times, others.times]),
            np.concatenate([self.values, others.values]),
            np.concatenate([self.qualities, others.qualities]),
        )

    def put(self, at: Ints, others: Samples, which: Ints) -> None:
        """Replace the samples at these indexes by those of the others at `which`."""
        self.times[at], self.values[at] = others.times[which], others.values[which]
        self.qualities[at] = others.qualities[which]

    def usable(self, everything: bool) -> Samples:
        """Return the samples that have a value: all of them, or the good ones."""
        there = np.isfinite(self.values)
        return self.where(there if everything else there & (self.qualities == 0))

    def calculable(self) -> Samples:
        """Return the samples whose values can be added up without being too large, even if squared."""
        return self.where(np.abs(self.values) <= MOST)

    def good(self) -> Flags:
        """Which samples are good and have a value."""
        found: Flags = np.isfinite(self.values) & (self.qualities == 0)
        return found


AGGREGATE_ROW = np.dtype(
    [
        *(("fields", ">i2"), ("time_bytes", ">i4"), ("time", ">i8"), ("count_bytes", ">i4"), ("count", ">i8")),
        *(("sum_bytes", ">i4"), ("sum", ">f8"), ("min_bytes", ">i4"), ("min", ">f8")),
        *(("max_bytes", ">i4"), ("max", ">f8"), ("bad_bytes", ">i4"), ("bad", ">i8")),
    ]
)
"""A row of a continuous aggregate."""


class PartSums(NamedTuple):
    """Samples that the database has added up, in the order of time: an entry for each hour or minute."""

    times: Ints
    """the begin"""
    counts: Ints
    sums: Floats
    least: Floats
    most: Floats
    bad: Ints
    """how many more there are, which are not good or beyond MOST"""

    def where(self, wanted: Flags) -> PartSums:
        times, counts, sums, least, most, bad = self
        return PartSums(times[wanted], counts[wanted], sums[wanted], least[wanted], most[wanted], bad[wanted])


def parse_sums(copied: bytes) -> PartSums:
    """Return what a whole binary COPY with rows of AGGREGATE_ROW holds."""
    rows = np.frombuffer(copied[HEADER:-TRAILER], AGGREGATE_ROW)
    return PartSums(
        rows["time"].astype(np.int64) + SINCE_1970,
        rows["count"].astype(np.int64),
        rows["sum"].astype(np.float64),
        rows["min"].astype(np.float64),
        rows["max"].astype(np.float64),
        rows["bad"].astype(np.int64),
    )


def parse(copied: bytes) -> Samples:
    """Return the samples of a whole binary COPY with rows of ROW."""
    rows = np.frombuffer(copied[HEADER:-TRAILER], ROW)
    return Samples(
        rows["time"].astype(np.int64) + SINCE_1970,
        rows["value"].astype(np.float64),
        rows["quality"].astype(np.int16),
    )
