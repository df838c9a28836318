"""The hours of a plot: which of them lie within one pixel, what is left to be read sample by sample, and how they are
read from PostgreSQL's binary COPY. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from api.series.plot import KeptSamples
from api.series.samples import HEADER, SINCE_1970, TRAILER, Flags, Ints, Samples

HOUR = 3_600_000_000
"""µs"""
PAIR = [("time_bytes", ">i4"), ("time", ">i8"), ("value_bytes", ">i4"), ("value", ">f8")]
ROW = np.dtype(
    [
        *(("fields", ">i2"), ("hour_bytes", ">i4"), ("hour", ">i8")),
        *(("filled_bytes", ">i4"), ("filled", "?"), ("bad_filled_bytes", ">i4"), ("bad_filled", "?")),
        *(("first", PAIR), ("least", PAIR), ("most", PAIR), ("last", PAIR), ("bad", PAIR)),
        *(("quality_bytes", ">i4"), ("quality", ">i2")),
    ]
)
"""A row of the statement `hours`, in which nothing is null."""


def parse(copied: bytes) -> KeptSamples:
    """Return what a whole binary COPY with rows of ROW holds."""
    rows = np.frombuffer(copied[HEADER:-TRAILER], ROW)
    pairs = [rows[name] for name in ("first", "least", "most", "last", "bad")]
    times = [pair["time"].astype(np.int64) + SINCE_1970 for pair in pairs]
    values = [pair["value"].astype(np.float64) for pair in pairs]
    return KeptSamples(
        rows["hour"].astype(np.int64) + SINCE_1970,
        rows["filled"].astype(np.bool_),
        tuple(times[:4]),
        tuple(values[:4]),
        rows["bad_filled"].astype(np.bool_),
        Samples(times[4], values[4], rows["quality"].astype(np.int16)),
    )


def within_pixels(begins: Ints, edges: Ints) -> Flags:
    """Which of the hours that begin there lie within one pixel."""
    pixel = np.searchsorted(edges, begins, "right")
    found: Flags = (pixel > 0) & (pixel < len(edges)) & (pixel == np.searchsorted(edges, begins + HOUR - 1, "right"))
    return found


def runs(begins: Ints) -> Iterator[tuple[int, int]]:
    """Yield hours that follow each other without a pause: the indexes of the first and of the last (exclusive)."""
    cuts = [0, *(np.flatnonzero(np.diff(begins) != HOUR) + 1).tolist(), len(begins)]
    yield from pairwise(cuts)
