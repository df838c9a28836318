"""Reads a file of text as rows, for imports of what people wrote down: samples and material. Pure.

Delimiter, decimal sign and times are read as by an import of history: `schema/csv_files.py`, `schema/local_times.py`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from api.problems import BadParameter
from api.shapes.sample_imports import ImportOptions
from schema import times
from schema.csv_files import NUMBER, Decimal, decimal_of, delimiter_of, read_time
from schema.local_times import NONE, resolve, zone_of

MOST_ROWS = 20_000
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
IN_BRACKETS = re.compile(r"(?P<name>.+?)\s*(\[(?P<square>[^\[\]]{0,20})\]|\((?P<round>[^()]{0,20})\))\s*")


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells of a file without blanks around them, and how the file is written."""

    delimiter: str
    decimal: Decimal
    headings: list[str]
    rows: list[tuple[int, list[str]]]
    """line of the file, cells"""


def read_rows(content: bytes, said: ImportOptions) -> TextTable:
    """Read a file. Raises BadParameter if it is no table, with what has to be said about it."""
    text = _decoded(content)
    lines = text.splitlines()
    head = next((number for number, line in enumerate(lines) if line.strip()), None)
    if head is None:
        raise BadParameter("body", "is empty: send the file")
    delimiter = said.delimiter or delimiter_of(lines[head])
    if delimiter is None:
        raise BadParameter("delimiter", "the headings have none out of ; , | and tab: say it")
    decimal = said.decimal or decimal_of(lines[head + 1 : head + 200], delimiter)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise BadParameter("body", f"is not CSV: {error}") from error
    if len(rows) - 1 > MOST_ROWS:
        raise BadParameter("body", f"has more than {MOST_ROWS} rows: split the file")
    return TextTable(delimiter, decimal, rows[0][1], rows[1:])


def split_heading(heading: str) -> tuple[str, str | None]:
    """Return the name of a heading, and the unit that stands in brackets behind it."""
    match = IN_BRACKETS.fullmatch(heading)
    if match is None:
        return heading, None
    return match["name"], match["square"] if match["square"] is not None else match["round"]


def read_times(cells: Sequence[str], zone: str | None) -> list[datetime | str | None]:
    """Return the time of each cell; None: it is empty; a text: it is refused with this reason."""
    found: list[datetime | str | None] = [None] * len(cells)
    local: list[tuple[int, int]] = []
    for number, cell in enumerate(cells):
        if not cell:
            continue
        try:
            at, is_local = read_time(cell)
            if not is_local:
                found[number] = times.checked(times.from_microseconds(at))
            elif zone is None:
                found[number] = "the time has no zone: say `zone`, such as Europe/Berlin"
            else:
                local.append((number, at))
        except (ValueError, OverflowError):
            found[number] = "not a time"
    if local and zone is not None:
        resolved = resolve(np.array([at for _, at in local], np.int64), _zone(zone))
        for (number, _), instant in zip(local, resolved.instants.tolist(), strict=True):
            skipped = f"the clock of {zone} skips this time"
            found[number] = skipped if instant == NONE else times.from_microseconds(instant)
    return found


def number_of(cell: str, decimal: Decimal) -> float | None:
    """Return the number of a cell; None: it has none."""
    if decimal == "," and "." in cell:
        return None
    plain = plain_number(cell, decimal)
    if not re.match(NUMBER, plain):
        return None
    value = float(plain)
    return value if np.isfinite(value) else None


def plain_number(cell: str, decimal: Decimal) -> str:
    return cell.replace(",", ".") if decimal == "," else cell


def sign_hint(cell: str, decimal: Decimal) -> str:
    """Return what to add to a refusal of a number that is written with the other decimal sign."""
    return f": the decimal sign is '{decimal}'" if ("." if decimal == "," else ",") in cell else ""


def _decoded(content: bytes) -> str:
    for mark, name in MARKS:
        if content.startswith(mark):
            return content.decode(name, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _zone(name: str) -> Any:
    try:
        return zone_of(name)
    except ValueError as error:
        raise BadParameter("zone", str(error)) from error
