"""Computed channels: what a formula makes of samples of its inputs, frame by frame. What is read before a time decides
nothing but the state at its begin, so that the same time always has the same samples. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.series.areas import HOURS
from api.series.copied import NOT_SENT
from api.series.formula import Number, OverTime, SeriesFormula
from api.series.samples import MOST, Flags, Floats, Ints
from schema import times

Shorts = NDArray[np.int16]
BAD = 1
PARTS = 1000
"""Of each of so many parts of a window, counted from 1970, a rate takes the first good sample."""
MOST_TOTAL = timedelta(days=31)
"""How long after its start a total is known: all of that time is read."""
AT_ONCE = 2_000_000
"""Numbers that are in memory at a time for slopes."""
NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True, slots=True)
class Computation:
    """A formula on one device."""

    formula: SeriesFormula
    inputs: tuple[str, ...]
    """The channels that it reads, in the order of the arrays."""
    steps: frozenset[str]
    """Those of them whose values hold until the next one."""
    constants: Mapping[str, float]
    """A constant that is not here is unknown."""
    starts: Mapping[str, int]
    """Constants that are instants, in µs since 1970."""
    max_age: int
    """For how many µs a sample of an input counts."""

    def since(self, begin: int) -> int:
        """Return from when on inputs have to be read for the samples from `begin` on, in µs."""
        since = begin - self.max_age
        for place in self.formula.over_time:
            if place.window is not None:
                window = place.window // times.MICROSECOND
                since = min(since, begin - 2 * self.max_age - window - 2 * _part(window))
            elif (start := self.start(place)) is not None and begin - start <= MOST_TOTAL // times.MICROSECOND:
                since = min(since, start - self.max_age)
        return since

    def start(self, place: OverTime) -> int | None:
        """Return when a total begins; None: nobody has said it."""
        if isinstance(place.start, str):
            return self.starts.get(place.start)
        return None if place.start is None else times.microseconds(place.start)


class Moments(NamedTuple):
    """The instants at which an input has a sample, with the last sample of each input: arrays of (inputs, instants)."""

    times: Ints
    values: Floats
    """NaN: none, or one without a value, or too old."""
    qualities: Shorts
    """NOT_SENT: there is none, or it is too old."""
    fresh: Flags
    """It is of this instant."""


def _part(window: int) -> int:
    return max(1, window // PARTS)


def worst(qualities: Shorts) -> Shorts:
    """Return the worst quality of each column: bad if one is bad, else the greatest; NOT_SENT of nothing."""
    found = qualities.max(axis=0, initial=NOT_SENT)
    return np.where((qualities == BAD).any(axis=0), np.int16(BAD), found).astype(np.int16)


class Computing:
    """Computes a channel from frames that come in blocks, in the order of their time; no instant is in two blocks."""

    def __init__(self, what: Computation) -> None:
        self._what = what
        count = len(what.inputs)
        self._times, self._values = np.full(count, NEVER), np.full(count, np.nan)
        self._qualities = np.full(count, NOT_SENT, np.int16)
        self._places = [_place(what, place) for place in what.formula.over_time]

    def copy(self) -> Computing:
        """Return another one of the same state, which goes on by itself."""
        other = copy.copy(self)
        other._times, other._values, other._qualities = self._times.copy(), self._values.copy(), self._qualities.copy()
        other._places = [copy.copy(place) for place in self._places]
        return other

    def add(self, frames: Ints, values: Floats, qualities: Shorts) -> tuple[Floats, Shorts]:
        """Take the times of frames, and values and qualities of (inputs, frames); return those of the channel.

        It has a sample with the last frame of each instant at which an input has one; a sample without a value is bad.
        """
        found, marks = np.full(len(frames), np.nan), np.full(len(frames), NOT_SENT, np.int16)
        sent = np.flatnonzero((qualities != NOT_SENT).any(axis=0))
        if not len(sent):
            return found, marks
        at = sent[np.append(frames[sent][1:] != frames[sent][:-1], True)]
        moments = self._moments(at, frames, values, qualities)
        computed = np.asarray(self._computed(moments), np.float64) + np.zeros(len(at))
        there = np.isfinite(computed)
        quality = worst(moments.qualities)
        found[at] = np.where(there, computed, np.nan)
        marks[at] = np.where(there | (quality > 0), quality, BAD)
        return found, marks

    def _moments(self, at: Ints, frames: Ints, values: Floats, qualities: Shorts) -> Moments:
        instants = frames[at]
        size = len(self._what.inputs), len(at)
        found = Moments(instants, np.empty(size), np.empty(size, np.int16), np.empty(size, np.bool_))
        for number in range(len(self._what.inputs)):
            own = np.flatnonzero(qualities[number] != NOT_SENT)
            some_times = np.append(self._times[number], frames[own])
            some_values = np.append(self._values[number], values[number, own])
            some_marks = np.append(self._qualities[number], qualities[number, own])
            last = np.searchsorted(own, at, "right")
            age = instants - some_times[last]
            recent = age <= self._what.max_age
            found.values[number] = np.where(recent, some_values[last], np.nan)
            found.qualities[number] = np.where(recent, some_marks[last], NOT_SENT)
            found.fresh[number] = age == 0
            self._times[number], self._values[number] = some_times[-1], some_values[-1]
            self._qualities[number] = some_marks[-1]
        return found

    def _computed(self, moments: Moments) -> Number:
        what = self._what
        read = dict(zip(what.inputs, moments.values, strict=True))

        def get(name: str) -> Number:
            return read[name] if name in read else what.constants.get(name, np.nan)

        def over_time(number: int, argument: Number) -> Number:
            return self._places[number].add(moments, np.asarray(argument, np.float64) + np.zeros(len(moments.times)))

        return what.formula.values(get, over_time)


class _Place:
    """One `rate` or `total` of a formula. It takes good samples: instants at which one of the channels within it has a
    sample, and none of them has one that is not good."""

    def __init__(self, what: Computation, place: OverTime) -> None:
        self.inputs = [number for number, name in enumerate(what.inputs) if name in place.reads]
        self.max_age = what.max_age

    def good(self, moments: Moments, argument: Floats) -> Flags:
        fresh = moments.fresh[self.inputs].any(axis=0)
        found: Flags = fresh & (moments.qualities[self.inputs] == 0).all(axis=0) & (np.abs(argument) <= MOST)
        return found

    def add(self, moments: Moments, argument: Floats) -> Floats:
        raise NotImplementedError


class _Rate(_Place):
    """The slope per hour of the least-squares line through the samples of a window that ends with the newest of them;
    unknown of less than two, of a time of less than half the window, and when the newest is too old."""

    def __init__(self, what: Computation, place: OverTime) -> None:
        super().__init__(what, place)
        assert place.window is not None
        self.window = place.window // times.MICROSECOND
        self.times, self.values, self.slope = np.empty(0, np.int64), np.empty(0), np.nan
        self.newest = NEVER

    def add(self, moments: Moments, argument: Floats) -> Floats:
        good = self.good(moments, argument)
        last_good = np.maximum.accumulate(np.where(good, moments.times, self.newest))
        part, before = _part(self.window), self.times[-1:]
        some_times, some_values = moments.times[good], argument[good]
        parts = np.concatenate([before, some_times]) // part
        first = np.ones(len(some_times), np.bool_) if not len(before) else parts[1:] != parts[:-1]
        if not len(before):
            first[1:] = parts[1:] != parts[:-1]
        known = len(self.times)
        self.times = np.concatenate([self.times, some_times[first]])
        self.values = np.concatenate([self.values, some_values[first]])
        slopes = np.append(self.slope, self._slopes(known))
        held = slopes[np.searchsorted(self.times[known:], moments.times, "right")]
        self.slope, self.newest = slopes[-1], int(last_good[-1])
        if len(self.times):
            kept = self.times > self.times[-1] - self.window
            self.times, self.values = self.times[kept], self.values[kept]
        return np.where(moments.times - last_good <= self.max_age, held, np.nan)

    def _slopes(self, first: int) -> Floats:
        """The slopes at the samples from that number on. Sums go from the newest sample backwards, one by one, so that
        they are the same whatever else is in memory."""
        ends = np.arange(first, len(self.times))
        counts = ends + 1 - np.searchsorted(self.times, self.times[ends] - self.window, "right")
        found = np.full(len(ends), np.nan)
        size = max(1, AT_ONCE // int(counts.max(initial=1)))
        for begin in range(0, len(ends), size):
            some, count = ends[begin : begin + size], counts[begin : begin + size]
            back = np.arange(count.max())[:, None]
            there = back < count
            index = np.maximum(some - back, 0)
            hours = np.where(there, (self.times[index] - self.times[some]) * HOURS, 0.0)
            y = np.where(there, self.values[index], 0.0)
            hours = np.where(there, hours - _sum(hours) / count, 0.0)
            y = np.where(there, y - _sum(y) / count, 0.0)
            long = self.times[some] - self.times[some - count + 1] >= self.window / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                slope = _sum(hours * y) / _sum(hours * hours)
            found[begin : begin + size] = np.where(long & (count > 1), slope, np.nan)
        return found


def _sum(table: Floats) -> Floats:
    """Sums of the columns, row by row: rows of zeros change nothing."""
    found: Floats = np.add.accumulate(table, axis=0)[-1]
    return found


class _Total(_Place):
    """The integral over hours from the first sample at or after the start: of straight lines, or of values that hold
    until the next one. Between samples farther apart than `max_age` it does not grow."""

    def __init__(self, what: Computation, place: OverTime) -> None:
        super().__init__(what, place)
        self.start = what.start(place)
        self.step = bool(self.inputs) and all(what.inputs[number] in what.steps for number in self.inputs)
        self.time, self.value, self.total = np.empty(0, np.int64), np.empty(0), np.nan

    def add(self, moments: Moments, argument: Floats) -> Floats:
        if self.start is None:
            return np.full(len(argument), np.nan)
        good = self.good(moments, argument) & (moments.times >= self.start)
        begun = len(self.time) > 0
        some_times = np.concatenate([self.time, moments.times[good]])
        some_values = np.concatenate([self.value, argument[good]])
        lengths = np.diff(some_times)
        heights = some_values[:-1] if self.step else (some_values[:-1] + some_values[1:]) / 2
        areas = np.where(lengths <= self.max_age, heights * (lengths * HOURS), 0.0)
        first = self.total if begun else 0.0
        totals = np.cumsum(np.concatenate([[first], areas]))[: len(some_times)]
        held = np.concatenate([[self.total], totals[1:] if begun else totals])
        found = held[np.cumsum(good)]
        self.time, self.value, self.total = some_times[-1:], some_values[-1:], held[-1]
        return np.where(moments.times - self.start <= MOST_TOTAL // times.MICROSECOND, found, np.nan)


def _place(what: Computation, place: OverTime) -> _Rate | _Total:
    return _Rate(what, place) if place.name == "rate" else _Total(what, place)
