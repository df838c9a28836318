"""Reads a table of lab samples out of a file of text. Pure.

A row is a sample with a column for each analyte, or, in a long table, one analyte of a sample.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.files.text_rows import number_of, plain_number, read_rows, read_times, sign_hint, split_heading
from api.problems import BadParameter
from api.shapes.lab_samples import MOST_ANALYTES
from api.shapes.sample_imports import ImportOptions, LabColumn, Meaning, RefusedRow
from schema import units
from schema.csv_files import (
    DEVICE_HEADING,
    TIME_HEADINGS,
    UNIT_HEADINGS,
    VALUE_HEADINGS,
    Decimal,
)
from schema.topics import is_device_name

HEADINGS: dict[str, Meaning] = {
    **dict.fromkeys(("sample", "sample id", "sample name", "sample identifier", "probe", "proben-id", "id"), "sample"),
    **dict.fromkeys((DEVICE_HEADING, "vessel", "reactor", "bioreactor", "reaktor"), "device"),
    **dict.fromkeys((*TIME_HEADINGS, "taken at", "sample time", "sampling time", "probenahme"), "time"),
    **dict.fromkeys(("location", "port", "sample location", "ort"), "location"),
    **dict.fromkeys(("note", "comment", "bemerkung", "kommentar"), "note"),
    **dict.fromkeys(("measured at", "measurement time", "analysis time", "gemessen"), "measured_at"),
    **dict.fromkeys(("method", "methode"), "method"),
    **dict.fromkeys(("analyte", "analyte name", "parameter", "component", "test", "analyt"), "analyte"),
    **dict.fromkeys((*VALUE_HEADINGS, "result", "ergebnis", "concentration"), "value"),
    **dict.fromkeys(UNIT_HEADINGS, "unit"),
}
"""Headings in small letters, with blanks for underscores, and what they mean. Every other one is an analyte."""
BOUND = re.compile(r"(<=|>=|[<>≤≥~])\s*(?P<number>\S+)")
SAMPLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
LONG = frozenset({"analyte", "value"})


@dataclass(frozen=True, slots=True)
class ReadAnalyte:
    """What a cell says of an analyte; a value of None: it is still to be measured."""

    value: float | str | None
    unit: str | None
    method: str | None
    measured_at: datetime | None


@dataclass(slots=True)
class ReadSample:
    """A sample of a file, of all of its rows."""

    line: int
    sample: str | None
    device: str | None
    taken_at: datetime | None
    location: str | None = None
    note: str | None = None
    analytes: dict[str, ReadAnalyte] = field(default_factory=dict)


@dataclass(slots=True)
class LabTable:
    """What a file has: its columns, its samples, and the rows and cells that cannot be read."""

    delimiter: str
    decimal: Decimal
    columns: list[LabColumn]
    samples: list[ReadSample] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    rows: int = 0


def read_table(content: bytes, said: ImportOptions) -> LabTable:
    """Read a file. Raises BadParameter if it is no table of samples, with what has to be said about it."""
    found = read_rows(content, said)
    table = LabTable(found.delimiter, found.decimal, _columns(found.headings, said))
    _Reading(table, said).read(found.rows)
    return table


def _columns(headings: Sequence[str], said: ImportOptions) -> list[LabColumn]:
    """Return what the headings mean. Raises BadParameter for a table that cannot be of samples."""
    found = [_column(heading) for heading in headings]
    meanings = [one.meaning for one in found]
    for meaning in set(meanings) - {"analyte_value", "ignored"}:
        if meanings.count(meaning) > 1:
            names = ", ".join(one.heading for one in found if one.meaning == meaning)
            raise BadParameter("body", f"several columns mean {meaning}: {names}")
    if set(meanings) & LONG and not set(meanings) >= LONG:
        raise BadParameter("body", "a long table has a column `analyte` and a column `value`")
    if set(meanings) >= LONG:  # a column beside these is no analyte
        found = [_ignored(one.heading) if one.meaning == "analyte_value" else one for one in found]
    if "time" not in meanings and "sample" not in meanings:
        raise BadParameter("body", "has no column of times, such as `time`, and no column `sample`")
    if "device" not in meanings and said.device is None and "sample" not in meanings:
        raise BadParameter("device", "the file has no column `device`: say the device")
    analytes = [one.analyte for one in found if one.analyte is not None]
    again = next((name for name in analytes if analytes.count(name) > 1), None)
    if again is not None:
        raise BadParameter("body", f"several columns are of the analyte {again}")
    if not analytes and not set(meanings) >= LONG:
        raise BadParameter("body", "has no analyte: a column such as `glucose [g/L]`, or `analyte` and `value`")
    return found


def _ignored(heading: str) -> LabColumn:
    return LabColumn(heading, "ignored", None, None)


def _column(heading: str) -> LabColumn:
    if not heading:
        return _ignored(heading)
    meaning = HEADINGS.get(heading.casefold().replace("_", " ")) or HEADINGS.get(heading.casefold())
    if meaning is not None:
        return LabColumn(heading, meaning, None, None)
    name, unit = split_heading(heading)
    return LabColumn(heading, "analyte_value", name[:64], units.named(unit) if unit else None)


class _Reading:
    """Reads the rows of one table."""

    def __init__(self, table: LabTable, said: ImportOptions) -> None:
        self._table, self._said = table, said
        self._places = {one.meaning: number for number, one in enumerate(table.columns)}
        self._known: dict[tuple[Any, ...], ReadSample] = {}

    def read(self, rows: Sequence[tuple[int, list[str]]]) -> None:
        whole = []
        for line, cells in rows:
            self._table.rows += 1
            if len(cells) != len(self._table.columns):
                self._refuse(line, "", "", f"{len(cells)} cells, and the headings are {len(self._table.columns)}")
            else:
                whole.append((line, cells))
        taken, measured = self._times("time", whole), self._times("measured_at", whole)
        for number, (line, cells) in enumerate(whole):
            self._row(line, cells, taken[number], measured[number])

    def _times(self, meaning: Meaning, rows: Sequence[tuple[int, list[str]]]) -> list[datetime | str | None]:
        place = self._places.get(meaning)
        return read_times(["" if place is None else cells[place] for _, cells in rows], self._said.zone)

    def _row(self, line: int, cells: list[str], taken: datetime | str | None, measured: datetime | str | None) -> None:
        for meaning, at in (("time", taken), ("measured_at", measured)):
            if isinstance(at, str):
                self._refuse(line, meaning, self._text(cells, meaning) or "", at)
                return
        assert not isinstance(taken, str)
        assert not isinstance(measured, str)
        name, device = self._text(cells, "sample"), self._text(cells, "device") or self._said.device
        if name is not None and not SAMPLE_NAME.fullmatch(name):
            self._refuse(line, "sample", name, "a name has 1 to 80 letters, digits, '.', '_' and '-'")
        elif device is not None and not is_device_name(device):
            self._refuse(line, "device", device, "not a device's name")
        elif name is None and (taken is None or device is None):
            self._refuse(line, "", "", "a row without a sample's name needs a device and a time")
        else:
            sample = self._sample(line, (name, device, taken), cells)
            if sample is not None:
                self._analytes(sample, line, cells, measured)

    def _sample(
        self, line: int, said: tuple[str | None, str | None, datetime | None], cells: list[str]
    ) -> ReadSample | None:
        name, device, taken = said
        known = self._known.get((name,) if name else (device, taken))
        if known is None:
            known = self._known[(name,) if name else (device, taken)] = ReadSample(line, name, device, taken)
            self._table.samples.append(known)
        elif (device or known.device, taken or known.taken_at) != (known.device, known.taken_at):
            self._refuse(line, "sample", name or "", f"line {known.line} has another device or time for this sample")
            return None
        known.location = known.location or self._text(cells, "location")
        known.note = known.note or self._text(cells, "note")
        return known

    def _analytes(self, sample: ReadSample, line: int, cells: list[str], measured: datetime | None) -> None:
        method = self._text(cells, "method")
        if self._places.keys() >= LONG:
            name = self._text(cells, "analyte")
            if name is None:
                self._refuse(line, "analyte", "", "the row names no analyte")
                return
            unit = self._text(cells, "unit")
            unit = units.named(unit) if unit else None
            self._analyte(sample, line, (name, cells[self._places["value"]], unit), (method, measured))
            return
        for column, cell in zip(self._table.columns, cells, strict=True):
            if column.analyte is not None and cell:
                self._analyte(sample, line, (column.analyte, cell, column.unit), (method, measured))

    def _analyte(
        self,
        sample: ReadSample,
        line: int,
        said: tuple[str, str, str | None],
        how: tuple[str | None, datetime | None],
    ) -> None:
        name, cell, unit = said
        value = reading(cell, self._table.decimal) if cell else None
        if not name.isprintable() or not (unit or "").isprintable():
            self._refuse(line, name[:64], cell, "the analyte or its unit has characters that cannot be printed")
            return
        if len(name) > 64 or len(unit or "") > 20 or (cell and value is None):
            hint = sign_hint(cell, self._table.decimal)
            self._refuse(line, name[:64], cell, f"neither a number nor a reading like `< 0.1`{hint}")
            return
        found = ReadAnalyte(value, unit, *how)
        known = sample.analytes.get(name)
        if known is not None and (known.value, known.unit) != (found.value, found.unit):
            self._refuse(line, name, cell, f"line {sample.line} begins the same sample, with another value of it")
            return
        if known is None and len(sample.analytes) >= MOST_ANALYTES:
            self._refuse(line, name, cell, f"a sample has at most {MOST_ANALYTES} analytes")
            return
        sample.analytes[name] = known or found

    def _text(self, cells: list[str], meaning: Any) -> str | None:
        place = self._places.get(meaning)
        return None if place is None else cells[place][:2000] or None

    def _refuse(self, line: int, heading: str, text: str, reason: str) -> None:
        self._table.refused.append(RefusedRow(line, heading, text[:100], reason))


def reading(cell: str, decimal: Decimal) -> float | str | None:
    """Return the number of a cell, or what was read in place of one: a bound like `< 0.1`, or words. None: neither."""
    number = number_of(cell, decimal)
    if number is not None:
        return number
    bound = BOUND.fullmatch(cell)
    if bound is not None:
        limit = bound["number"]
        return None if number_of(limit, decimal) is None else f"{bound[1]} {plain_number(limit, decimal)}"
    return cell if len(cell) <= 100 and cell.isprintable() and not any(sign.isdigit() for sign in cell) else None
