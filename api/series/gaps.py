"""When two samples are so far apart that nothing is known of the time between them."""

from __future__ import annotations

import numpy as np

from api.series.samples import Flags, Ints

USUAL_DISTANCES = 3
"""A gap is longer than so many usual distances of two samples (decision 55)."""
NEIGHBOURS = 5
"""Buckets with samples on either side of empty ones that say what is usual there."""


def usual_gap(*runs: Ints) -> int | None:
    """Return the longest distance in µs that is no gap: three times the usual one, which is the median; of several
    runs of times the greater, as a channel may have been sent more slowly at one end. None without two samples."""
    distances = [np.diff(run) for run in runs]
    medians = [np.median(some[some > 0]) for some in distances if (some > 0).any()]
    return int(max(medians) * USUAL_DISTANCES) if medians else None


def in_gaps(counts: Ints) -> Flags:
    """Return which buckets of a channel lie in a gap, by the number of samples in each: empty ones that are too many
    for the distance of samples beside them, of the two sides the greater. Samples each minute leave most buckets of a
    second empty, and none of these is in a gap."""
    result: Flags = counts == 0
    there = np.flatnonzero(counts)
    steps = np.diff(there)
    usual = steps / counts[there[:-1]]
    for one in np.flatnonzero(steps > 1):
        sides = usual[max(0, one - NEIGHBOURS) : one], usual[one + 1 : one + 1 + NEIGHBOURS]
        medians = [float(np.median(side)) for side in sides if len(side)]
        if medians and steps[one] - 1 < USUAL_DISTANCES * max(medians):
            result[there[one] + 1 : there[one + 1]] = False
    if len(usual):
        for edge, side in ((slice(0, there[0]), usual[:NEIGHBOURS]), (slice(there[-1] + 1, None), usual[-NEIGHBOURS:])):
            if len(counts[edge]) < USUAL_DISTANCES * np.median(side):
                result[edge] = False
    return result
