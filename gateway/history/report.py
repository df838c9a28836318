"""What an import has found in a file, and what became of it."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.history.refused import RefusedCell
from schema.local_times import instant_text


class ColumnReport(msgspec.Struct, frozen=True):
    """A column, and what it was taken for. Without a device a column of the table names it."""

    heading: str
    device: str | None
    channel: str
    unit: str | None
    stored_unit: str | None


class SkippedReport(msgspec.Struct, frozen=True):
    """A column that was not stored, and why."""

    heading: str
    reason: str


class TableReport(msgspec.Struct, frozen=True):
    """A table of the file, and what was recognized."""

    name: str
    rows: int
    shape: str
    """`wide`, or `long`: a sample in each row; then each channel of a device is one of the columns."""
    time_column: str
    """Or that of dates and that of times, with a blank between."""
    columns: list[ColumnReport]
    skipped: list[SkippedReport]


class DeviceReport(msgspec.Struct):
    """The frames of a device in the file. `first` and `last` are instants in UTC."""

    name: str
    is_new: bool = False
    """Whether the device was, or would be, created."""
    frames: int = 0
    samples: int = 0
    first: str | None = None
    last: str | None = None

    def count(self, times: Any, samples: int) -> None:
        """Count frames with these times, shape (n,), in µs since 1970."""
        self.frames += len(times)
        self.samples += samples
        first, last = instant_text(int(times.min())), instant_text(int(times.max()))
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


class ImportReport(msgspec.Struct):
    """A file and what became, or would become, of it: frames = stored + duplicate + rejected, in all attempts together.

    Rejected frames are in quarantine, except `discarded` messages, for which it had no room. Refused cells are no part
    of a frame: they are not stored anywhere."""

    file: str
    sha256: str
    dry_run: bool
    kind: str
    zone: str | None
    encoding: str | None
    delimiter: str | None
    decimal: str | None
    tables: list[TableReport]
    devices: list[DeviceReport]
    frames: int = 0
    samples: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    discarded: int = 0
    reasons: dict[str, int] = {}
    """Messages of rejected frames by reason, without those of earlier attempts."""
    refused: int = 0
    refused_by_reason: dict[str, int] = {}
    refused_cells: list[RefusedCell] = []
    """The first refused cells."""
    resumed_at: int = 0
    """Frames that an earlier attempt had settled."""


def lines(report: ImportReport) -> list[str]:
    """The report for people."""
    form = [f"{name} {value!r}" for name in ("encoding", "delimiter", "decimal") if (value := getattr(report, name))]
    zone = f"times in {report.zone}" if report.zone else "times with a zone"
    said = [f"{report.file}: {', '.join([report.kind, *form, zone])}"]
    for table in report.tables:
        said.append(
            f"table {table.name or 'of the file'}: {table.rows} rows, {table.shape}, times in {table.time_column!r}"
        )
        said += [f"  {_column(one)}" for one in table.columns]
        said += [f"  {one.heading!r} left out: {one.reason}" for one in table.skipped]
    for device in report.devices:
        new = " (new)" if device.is_new else ""
        span = f", {device.first} to {device.last}" if device.first else ""
        said.append(f"device {device.name}{new}: {device.frames} frames, {device.samples} samples{span}")
    if report.resumed_at:
        said.append(f"went on after {report.resumed_at} frames")
    said += [f"  refused: row {one.row}, {one.column!r}: {one.text!r}: {one.reason}" for one in report.refused_cells]
    if report.refused > len(report.refused_cells):
        said.append(f"  refused: {report.refused - len(report.refused_cells)} more cells")
    said += [f"  rejected: {count} messages: {reason}" for reason, count in report.reasons.items()]
    would = "would be " if report.dry_run else ""
    said.append(
        f"{report.frames} frames: {report.stored} {would}stored, {report.duplicate} duplicate, {report.rejected} "
        f"{would}rejected; {report.refused} cells refused"
    )
    return said


def _column(column: ColumnReport) -> str:
    device = column.device or "(by row)"
    unit = f" [{column.unit}]" if column.unit else ""
    stored = f", stored in {column.stored_unit}" if column.stored_unit not in (column.unit, None) else ""
    return f"{column.heading!r} → {device}: {column.channel}{unit}{stored}"
