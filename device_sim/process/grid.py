"""Keeps the readings of solved runs on a grid of time, from which samples are interpolated. Pure.

Thousands of vessels share a few dozen runs: `TruthGrid` has the readings of one run as far as somebody asked, `Arena` a
piece of a run for each vessel, all in one array, so that many vessels are read at once.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from device_sim.process.readings import CHANNELS, HELD, TOTALS, readings
from device_sim.process.trajectory import Trajectory

Single: TypeAlias = npt.NDArray[np.float32]
HOUR = 3_600_000.0  # ms
PIECE = 256
"""Rows of a piece; one more is its end."""


class TruthGrid:
    """The readings of a run, a row each `step` ms from the hour at which the run was begun or forked."""

    def __init__(self, trajectory: Trajectory, *, shared: bool) -> None:
        self.trajectory, self.shared = trajectory, shared
        self.step = trajectory.organism.grid_seconds * 1000.0
        self._rows: Single = np.empty((0, len(CHANNELS)), dtype=np.float32)
        self._count = 0

    @property
    def end(self) -> float:
        """When the run ended, in ms since its hour 0; infinity while that was not solved."""
        return np.inf if self.trajectory.ended is None else self.trajectory.ended * HOUR

    @property
    def begin(self) -> float:
        return self.trajectory.begun * HOUR

    def rows(self, first: int, past: int) -> Single:
        """Return rows [first, past), solving what is missing; fewer rows where the run ends."""
        if past > self._count:
            self._extend(past)
        return self._rows[first : min(past, self._count)]

    def _extend(self, past: int) -> None:
        it = self.trajectory
        it.solve(it.begun + past * self.step / HOUR)
        if it.ended is not None:
            past = int((it.ended - it.begun) * HOUR / self.step) + 2
        hours = it.begun + np.arange(self._count, past, dtype=np.float64) * self.step / HOUR
        if not len(hours):
            return
        if past > len(self._rows):
            grown = np.empty((max(past, len(self._rows) * 3 // 2), len(CHANNELS)), dtype=np.float32)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        np.minimum(hours, it.solved, out=hours)
        for part, stretch, states in it.states(hours):
            self._rows[self._count :][part] = readings(it.organism, hours[part], states, stretch.knobs)
        # A total never falls, not even by the error of the solver.
        since = max(self._count - 1, 0)
        self._rows[since:past, TOTALS] = np.maximum.accumulate(self._rows[since:past, TOTALS], axis=0)
        self._count = past

    def at(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the readings at times in ms since hour 0, in order, within what a run has."""
        place = (times - self.begin) / self.step
        before = place.astype(np.int64)
        rows = self.rows(0, int(before[-1]) + 2)
        return interpolated(rows[before], rows[np.minimum(before + 1, len(rows) - 1)], place - before)


def interpolated(before: Single, after: Single, part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the readings between two rows; setpoints and modes are those of the first."""
    start = before.astype(np.float64)
    between: npt.NDArray[np.float64] = start + part[:, None] * ~HELD * (after - start)
    return between


class Arena:
    """One piece of a run for each vessel, in one array; vessels that share a run share its pieces."""

    def __init__(self, vessels: int) -> None:
        self.place = np.zeros(vessels, dtype=np.int64)
        """The first row of the piece of each vessel."""
        self.begin, self.step = np.zeros(vessels), np.ones(vessels)
        self.end = np.full(vessels, -np.inf)
        """In ms since 1970; a vessel without a piece has ended."""
        self.rows: Single = np.zeros((0, len(CHANNELS)), dtype=np.float32)
        self._shared: dict[tuple[int, int], int] = {}
        self._free: list[int] = []
        self._own: dict[int, int] = {}

    def load(self, vessel: int, grid: TruthGrid, origin: float, now: float) -> None:
        """Give a vessel the piece of a run, whose hour 0 is at `origin`, that has `now` in it."""
        self.drop(vessel)
        number = int((now - origin - grid.begin) / grid.step) // PIECE
        key = (id(grid), number)
        place = self._shared.get(key) if grid.shared else None
        if place is None:
            found = grid.rows(number * PIECE, (number + 1) * PIECE + 1)
            place = self._room()
            self.rows[place : place + len(found)] = found
            self.rows[place + len(found) : place + PIECE + 1] = found[-1]
            if grid.shared:
                self._shared[key] = place
            else:
                self._own[vessel] = place
        self.place[vessel], self.step[vessel] = place, grid.step
        self.begin[vessel] = origin + grid.begin + number * PIECE * grid.step
        self.end[vessel] = min(self.begin[vessel] + PIECE * grid.step, origin + grid.end)

    def drop(self, vessel: int) -> None:
        """Take the piece of a vessel away."""
        self.end[vessel] = -np.inf
        if (place := self._own.pop(vessel, None)) is not None:
            self._free.append(place)

    def read(self, vessels: slice, now: float) -> npt.NDArray[np.float64]:
        """Return the readings of vessels that all have their pieces, a row each."""
        place = (now - self.begin[vessels]) / self.step[vessels]
        before = place.astype(np.int64)
        first = self.place[vessels] + before
        return interpolated(self.rows[first], self.rows[first + 1], place - before)

    def _room(self) -> int:
        if not self._free:
            count, more = len(self.rows), max(len(self.rows), 32 * (PIECE + 1))
            self.rows = np.concatenate([self.rows, np.zeros((more, len(CHANNELS)), dtype=np.float32)])
            self._free = list(range(count + more - PIECE - 1, count - 1, -(PIECE + 1)))
        return self._free.pop()
