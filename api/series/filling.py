"""Values for buckets that have none, where somebody asks for them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from api.series.samples import Floats, Ints

Fill: TypeAlias = Literal["last", "linear"]


def filled(values: Floats, times: Ints, how: Fill, most: int) -> Floats:
    """Return the values with NaN replaced: by the last one before, or on a straight line between the neighbours.

    Runs of more than `most` NaN stay, as do those at the begin and, for a line, at the end. `times` are where the
    values stand.
    """
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values
    at = np.arange(len(values))
    before = np.searchsorted(known, at, "right") - 1
    after = np.minimum(before + 1, len(known) - 1)
    left, right = known[np.maximum(before, 0)], known[after]
    ends = np.where(right > left, right, len(values))
    fits = (before >= 0) & (ends - left - 1 <= most)
    if how == "last":
        return np.where(np.isnan(values) & fits, values[left], values)
    fits &= right > left
    span = np.maximum(times[right] - times[left], 1)
    share = (times - times[left]) / span
    line = values[left] * (1 - share) + values[right] * share
    return np.where(np.isnan(values) & fits, line, values)
