"""Tells how far the intake has stored what was sent, which decides whether silence of a device counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

STOPPED_S = 10.0
"""Seconds without a beat after which the intake of a cell has stopped."""
GONE_S = 86_400.0
"""Seconds without a beat after which a cell counts as gone, if there are others."""
INFINITY = float("inf")


class Intake(NamedTuple):
    """The intake has stored all that was sent from `well_since` to `settled_until`, in s since 1970 by the clock that
    gives frames their receipt."""

    well_since: float = 0.0
    """Infinity: it stores nothing just now."""
    settled_until: float = INFINITY


WELL = Intake()
STOPPED = Intake(INFINITY, 0.0)


class Intakes:
    """The intakes of all cells. `beats` has by cell settled_until, well_since, and the time of the beat by the clock of
    `now`."""

    def __init__(self, beats: Mapping[str, tuple[float, float, float]] | None = None, now: float = 0.0) -> None:
        beats = beats or {}
        self._of_cell = {
            cell: STOPPED if now - beat_at > STOPPED_S else Intake(well_since, settled_until)
            for cell, (settled_until, well_since, beat_at) in beats.items()
        }
        there = [cell for cell, (_, _, beat_at) in beats.items() if now - beat_at <= GONE_S]
        some = [self._of_cell[cell] for cell in there or self._of_cell] or [WELL]
        self._worst = Intake(max(one.well_since for one in some), min(one.settled_until for one in some))

    def of(self, cell: str | None) -> Intake:
        """The intake of a cell; the worst of all where the cell is not known. Without any beat all counts as well."""
        return self._of_cell.get(cell or "", self._worst)
