"""The columns that several devices have in common: one for each channel and unit, and each aggregate of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.queries.selection import Selection
from api.queries.telemetry_buckets import unit
from api.shapes.telemetry_many import TelemetryColumn


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table of several devices, and where those of each device stand in it."""

    columns: list[TelemetryColumn]
    places: list[list[int]]
    """for each selection the places of its cells, channel by channel and aggregate by aggregate"""

    def spread(self, number: int, cells: Sequence[Any]) -> list[Any]:
        """Return a row of all columns with the cells of the selection `number` at their places."""
        places = self.places[number]
        if len(places) == len(self.columns) and places == list(range(len(places))):
            return list(cells)
        row: list[Any] = [None] * len(self.columns)
        for place, cell in zip(places, cells, strict=True):
            row[place] = cell
        return row


def columns(selections: Sequence[Selection], aggregates: Sequence[str | None]) -> Columns:
    """Return the columns of these selections; an aggregate of None is the sample itself."""
    known: dict[tuple[str, str | None, str | None, bool, int], int] = {}
    found: list[TelemetryColumn] = []
    places: list[list[int]] = []
    for one in selections:
        mine: list[int] = []
        seen: Counter[tuple[str, str | None, str | None]] = Counter()
        for channel in one.channels:
            for name in aggregates:
                said = channel.unit if name is None else unit(channel, name)
                one_of = channel.name, said, name
                key = (
                    *one_of,
                    channel.computed is not None,
                    seen[one_of],
                )  # a channel of several units has several counts
                seen[one_of] += 1
                if key not in known:
                    known[key] = len(found)
                    computed = channel.computed is not None
                    found.append(TelemetryColumn(channel.name, said, name, channel.step, computed))
                mine.append(known[key])
        places.append(mine)
    return Columns(found, places)
