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
PARTS = 100
"""A window has so many parts, counted from 1970; a rate takes the average of the good samples of each."""
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
    """The slope per hour of the least-squares line through the averages of parts of the window: of the part at hand, as
    far as it has come, and of those before it. Unknown of less than two parts, of averages that span less than half the
    window, and when the newest sample is too old.

    Sums go from sample to sample, and from part to part, so that they are the same whatever is read at once.
    """

    def __init__(self, what: Computation, place: OverTime) -> None:
        super().__init__(what, place)
        assert place.window is not None
        self.window = place.window // times.MICROSECOND
        self.part = _part(self.window)
        self.numbers, self.offsets, self.means = np.empty(0, np.int64), np.empty(0), np.empty(0)
        """Parts: which, and the averages of the time since its begin, in µs, and of the value. The last is at hand."""
        self.sums, self.first = np.zeros((3, 0)), 0.0
        """Of the part at hand: count, times, values; and its first value."""
        self.newest, self.slope = NEVER, np.nan

    def add(self, moments: Moments, argument: Floats) -> Floats:
        good = self.good(moments, argument)
        last_good = np.maximum.accumulate(np.where(good, moments.times, self.newest))
        slopes = np.append(self.slope, self._slopes(moments.times[good], argument[good]))
        self.newest, self.slope = int(last_good[-1]), slopes[-1]
        return np.where(moments.times - last_good <= self.max_age, slopes[np.cumsum(good)], np.nan)

    def _slopes(self, some_times: Ints, values: Floats) -> Floats:
        """Take samples; return the slope after each of them."""
        if not len(values):
            return np.empty(0)
        numbers, of = np.unique(some_times // self.part, return_inverse=True)
        goes_on = len(self.numbers) > 0 and self.numbers[-1] == numbers[0]
        firsts = values[np.searchsorted(of, np.arange(len(numbers)))]
        if goes_on:
            firsts[0] = self.first
            self.numbers, self.offsets, self.means = self.numbers[:-1], self.offsets[:-1], self.means[:-1]
        steps = np.stack([np.ones(len(values)), (some_times - numbers[of] * self.part).astype(np.float64), values])
        sums = _running(steps, of, self.sums if goes_on else np.zeros((3, 0)))
        last = np.append(of[1:] != of[:-1], True)
        offsets, means = sums[1] / sums[0], sums[2] / sums[0]
        self.numbers = np.concatenate([self.numbers, numbers])
        self.offsets = np.concatenate([self.offsets, offsets[last]])
        self.means = np.concatenate([self.means, means[last]])
        self.sums, self.first = sums[:, -1:], float(firsts[-1])
        found = self._through(len(self.numbers) - len(numbers) + of, offsets, means, firsts[of])
        kept = self.numbers > self.numbers[-1] - PARTS
        self.numbers, self.offsets, self.means = self.numbers[kept], self.offsets[kept], self.means[kept]
        return found

    def _through(self, parts: Ints, offsets: Floats, means: Floats, origins: Floats) -> Floats:
        """The slopes through these averages of the parts at hand, and those of the parts before. Values count from the
        first of the part at hand, and times from its begin."""
        rows, starts, of = np.unique(parts, return_index=True, return_inverse=True)
        before = rows - np.searchsorted(self.numbers, self.numbers[rows] - PARTS, "right")
        sums, earliest = np.empty((5, len(rows))), np.empty(len(rows))
        size = max(1, AT_ONCE // PARTS)
        for begin in range(0, len(rows), size):
            some = slice(begin, begin + size)
            back = np.arange(1, before[some].max(initial=0) + 1)[:, None]
            there, index = back <= before[some], np.maximum(rows[some] - back, 0)
            x = ((self.numbers[index] - self.numbers[rows[some]]) * self.part + self.offsets[index]) * HOURS
            x, y = np.where(there, x, 0.0), np.where(there, self.means[index] - origins[starts[some]], 0.0)
            for number, table in enumerate((x, y, x * x, x * y)):
                sums[number + 1, some] = _sum(table)
            earliest[some] = x.min(axis=0, initial=0.0)
        sums[0] = before
        x, y = offsets * HOURS, means - origins
        n, sx, sy, sxx, sxy = sums[:, of] + np.stack([np.ones(len(x)), x, y, x * x, x * y])
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            slope = (n * sxy - sx * sy) / (n * sxx - sx * sx)
        enough = (n > 1) & (x - earliest[of] >= self.window * HOURS / 2)
        return np.where(enough & np.isfinite(slope), slope, np.nan)


def _running(steps: Floats, of: Ints, carried: Floats) -> Floats:
    """The sums of each row since the begin of each group of columns; `carried` is that of the first group so far."""
    starts = np.searchsorted(of, np.arange(of[-1] + 2))
    counts = np.diff(starts)
    found = np.empty(steps.shape)
    first = carried.shape[1]
    size = max(1, AT_ONCE // int(counts.max() + 1))
    for begin in range(0, len(counts), size):
        some = counts[begin : begin + size]
        columns = slice(int(starts[begin]), int(starts[begin + len(some)]))
        row, place = of[columns] - begin, np.arange(columns.start, columns.stop) - starts[of[columns]] + first
        table = np.zeros((len(steps), some.max() + first, len(some)))
        table[:, place, row] = steps[:, columns]
        if begin == 0:
            table[:, :first, 0] = carried
        found[:, columns] = np.add.accumulate(table, axis=1)[:, place, row]
    return found


def _sum(table: Floats) -> Floats:
    """Sums of the columns, row by row: rows of zeros change nothing."""
    return np.add.accumulate(table, axis=0)[-1] if len(table) else np.zeros(table.shape[1])


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
