"""How files of other programs are written: delimiters, decimal signs, headings and times. Pure.

Imports of history and of samples read them in this one way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from schema.local_times import as_local
from schema.times import microseconds, parse_instant

Decimal = Literal[".", ","]
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
DELIMITERS = ";\t,|"
TIME_HEADINGS = (
    *("time", "timestamp", "datetime", "date time", "date/time", "date_time", "date", "_time"),
    *("zeit", "zeitstempel", "datum", "datum/zeit", "datum/uhrzeit"),
)
UNIT_HEADINGS = ("unit", "einheit")
VALUE_HEADINGS = ("value", "_value", "wert", "messwert")
DEVICE_HEADING = "device"
DOTTED = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S,%f")
"""Forms with dots are read without being told: the day comes first in all of them."""


def delimiter_of(headings: str) -> str | None:
    """Return the most frequent delimiter of a row of headings; None: it has none."""
    bare = re.sub(r'"[^"]*"', "", headings)
    best = max(DELIMITERS, key=bare.count)
    return best if bare.count(best) else None


def decimal_of(lines: Sequence[str], delimiter: str) -> Decimal:
    """Return the sign that more of the cells of these rows have between digits."""
    if delimiter == ",":
        return "."
    cells = [cell.strip().strip('"') for line in lines for cell in line.split(delimiter)]
    commas, points = (
        sum(bool(re.fullmatch(rf"[+-]?\d*{sign}\d+([eE][+-]?\d+)?", c)) for c in cells) for sign in (",", r"\.")
    )
    return "," if commas > points else "."


def read_time(cell: str, form: str | None = None) -> tuple[int, bool]:
    """Return the time of a cell in µs, and whether it is local. `form`: as of strptime. Raises ValueError."""
    for known in (form,) if form else DOTTED:
        try:
            moment = datetime.strptime(cell, known)  # noqa: DTZ007 - it may be local
        except ValueError:
            if form:
                raise
            continue
        return (as_local(moment), True) if moment.tzinfo is None else (microseconds(moment), False)
    if not cell[0].isdigit():  # nothing is relative to now here
        raise ValueError("give ISO 8601, or milliseconds since 1970")
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        moment = parse_instant(cell)
    return (as_local(moment), True) if moment.tzinfo is None else (microseconds(parse_instant(cell)), False)
