"""When two samples are so far apart that nothing is known of the time between them."""

from __future__ import annotations

import numpy as np

from api.series.samples import Ints

USUAL_DISTANCES = 3
"""A gap is longer than so many usual distances of two samples (decision 55)."""


def usual_gap(*runs: Ints) -> int | None:
    """Return the longest distance in µs that is no gap: three times the usual one, which is the median; of several
    runs of times the greater, as a channel may have been sent more slowly at one end. None without two samples."""
    distances = [np.diff(run) for run in runs]
    medians = [np.median(some[some > 0]) for some in distances if (some > 0).any()]
    return int(max(medians) * USUAL_DISTANCES) if medians else None
