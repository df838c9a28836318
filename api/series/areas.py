"""Areas under a curve in buckets: the time-weighted average, and the integral."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from api.series.samples import Floats, Ints, Samples

SECONDS = 1e-6
HOURS = SECONDS / 3600


class Stretches(NamedTuple):
    """Times between two samples that follow each other, cut where a bucket ends."""

    numbers: Ints
    """of the bucket"""
    lengths: Ints
    """µs"""
    heights: Floats
    """the average value"""


class Areas:
    """twa and integral: of a straight line between two samples, or (`step`) of the first one's value. A stretch that is
    longer than `gap` µs is not known and counts for nothing; a stretch over the edge of buckets counts in each.

    twa: integral over the time that is known; integral: in the channel's unit times hours.
    """

    def __init__(self, edges: Ints, step: bool, gap: int | None) -> None:
        self._edges, self._step = edges, step
        self._gap = np.iinfo(np.int64).max if gap is None else gap
        self._area, self._known = (np.zeros(max(0, len(edges) - 1)) for _ in range(2))
        self._last_time, self._last_value = np.empty(0, np.int64), np.empty(0)

    def add(self, samples: Samples) -> None:
        plain = samples.calculable()
        times = np.concatenate([self._last_time, plain.times])
        values = np.concatenate([self._last_value, plain.values])
        self._last_time, self._last_value = times[-1:], values[-1:]
        if len(times) < 2 or not len(self._area):
            return
        some = self._stretches(times, values)
        count = len(self._area)
        self._area += np.bincount(some.numbers, some.lengths * some.heights, count)
        self._known += np.bincount(some.numbers, some.lengths, count)

    def _stretches(self, times: Ints, values: Floats) -> Stretches:
        edges = self._edges
        lengths = np.diff(times)
        known = np.flatnonzero((lengths <= self._gap) & (times[1:] > edges[0]) & (times[:-1] < edges[-1]))
        begins, ends = times[known], times[known + 1]
        inner = np.searchsorted(edges, begins, "right")  # the first edge within
        cuts = np.maximum(0, np.searchsorted(edges, ends, "left") - inner)
        of = np.repeat(np.arange(len(known)), cuts + 1)
        nth = np.arange(len(of)) - np.repeat(np.cumsum(cuts + 1) - (cuts + 1), cuts + 1)
        edge = np.concatenate([edges, edges[-1:]])  # so that what is not taken below can be looked up
        starts = np.where(nth == 0, begins[of], edge[inner[of] + nth - 1])
        stops = np.where(nth == cuts[of], ends[of], edge[np.minimum(inner[of] + nth, len(edges))])
        numbers = np.searchsorted(edges, starts, "right") - 1
        inside = (numbers >= 0) & (numbers < len(edges) - 1) & (stops > starts)
        if self._step:
            heights = values[known][of]
        else:
            middles = ((starts + stops) / 2 - begins[of]) / np.maximum(ends - begins, 1)[of]
            heights = values[known][of] * (1 - middles) + values[known + 1][of] * middles
        return Stretches(numbers[inside], (stops - starts)[inside], heights[inside])

    def results(self) -> Mapping[str, Floats]:
        known = self._known > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            average = np.where(known, self._area / self._known, np.nan)
        return {"twa": average, "integral": np.where(known, self._area * HOURS, np.nan)}
