"""Collects what of a file is not stored: the first cells by name, and a count of all by reason."""

from __future__ import annotations

from collections import Counter

import msgspec

MOST_NAMED = 100
"""Refused cells that a result names; beyond them it counts."""
MOST_TEXT = 60
"""Most characters of a cell that are shown."""


class RefusedCell(msgspec.Struct, frozen=True):
    """A cell that was not stored. `row` is the row of the file, from 1, headings included."""

    table: str
    row: int
    column: str
    text: str
    reason: str


class RefusedCells:
    """The refused cells of a file: MOST_NAMED of them by name, in the order of the file, and all of them as counts."""

    def __init__(self) -> None:
        self.named: list[RefusedCell] = []
        self.counts: Counter[str] = Counter()

    def add(self, table: str, row: int, column: str, text: str, reason: str) -> None:
        self.counts[reason] += 1
        if self.has_room:
            shown = text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
            self.named.append(RefusedCell(table, row, column, shown, reason))

    @property
    def has_room(self) -> bool:
        """Whether the next one will be named."""
        return len(self.named) < MOST_NAMED

    @property
    def total(self) -> int:
        return self.counts.total()
