"""What a report is about, and where its sections find it: the devices, the time, the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.database import Database
from api.queries import reports as queries
from api.queries.devices import Channel, DeviceChannels
from api.queries.plant import MAIN
from api.queries.reports import MOST_ROWS, ReportedRun
from api.queries.selection import matching
from api.series.phases import RunPhase
from api.shapes.reports import CellKind, ReportColumn, ReportFact, ReportTable
from schema import times
from schema.times import Span

USUAL_CHARTS = (*MAIN, "gas_flow", "feed_a_rate", "optical_density", "exhaust_co2", "volume")
"""Channels that are drawn where a template names none."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """One report while it is gathered."""

    database: Database
    span: Span
    devices: Sequence[DeviceChannels]
    run: ReportedRun | None
    """None: the report of a shift."""

    @property
    def numbers(self) -> list[int]:
        return [one.device_id for one in self.devices]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.devices]

    @property
    def phases(self) -> list[tuple[RunPhase, Span]]:
        """The phases of the run with their times; one without an end ends where the next one begins."""
        phases = [] if self.run is None else self.run.phases
        ends = (*(after.begins for after in phases[1:]), self.span.end)
        return [(one, Span(one.begins, one.ends or end)) for one, end in zip(phases, ends, strict=False)]

    def hours(self, moment: datetime) -> float:
        """Return the hours from the begin of the report."""
        return round((moment - self.span.begin).total_seconds() / 3600, 6)

    def channels(self, device: DeviceChannels, wanted: Sequence[str]) -> tuple[Channel, ...]:
        """Return the channels of a device that a template names, or those that matter most; setpoints stand with their
        values."""
        if wanted:
            return matching(device.channels, wanted)
        return tuple(one for name in USUAL_CHARTS for one in device.channels if one.name == name)

    async def rows(self, name: str, *more: Any) -> list[Mapping[str, Any]]:
        """Return the rows of a statement of reports.sql: those of the devices in the time."""
        return await queries.rows(self.database, name, self.numbers, self.span, *more)


def table(title: str, columns: Sequence[ReportColumn], rows: Sequence[Sequence[Any]]) -> ReportTable:
    """Return a table with at most MOST_ROWS rows; instants become text."""
    shown = [[times.text(cell) if isinstance(cell, datetime) else cell for cell in row] for row in rows[:MOST_ROWS]]
    return ReportTable(title, list(columns), shown, len(rows) - len(shown))


def column(name: str, title: str, kind: CellKind = "text", unit: str | None = None) -> ReportColumn:
    return ReportColumn(name, title, kind, unit)


def fact(title: str, value: str | float | datetime | None, unit: str | None = None) -> ReportFact:
    """Return a fact; its kind is that of its value."""
    if isinstance(value, datetime):
        return ReportFact(title, times.text(value), "time")
    return ReportFact(title, value, "text" if value is None or isinstance(value, str) else "number", unit)
