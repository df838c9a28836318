"""Reads a column of times: instants with a zone as everywhere (schema/times.py), and local times of a given zone.

Arrow reads columns of one usual form at once; every other cell is read by itself, in the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gateway.history.errors import UnusableFile
from gateway.history.numbers import Refuse, arrow
from schema.csv_files import read_time
from schema.local_times import NONE, Instants, resolve

ZONED = r"(Z|z|[+-][0-9]{2}:?[0-9]{2})$"
NO_ZONE = "the times have no zone: give --zone, such as --zone Europe/Berlin, or --zone UTC"


class TimeColumn(NamedTuple):
    """A column of n times, read but not resolved."""

    times: Instants
    """Shape (n,): instants, or local times where `local`; NONE where the cell is no time."""
    local: NDArray[np.bool_]
    """Shape (n,)."""


def read_times(column: Any, form: str | None, refuse: Refuse) -> TimeColumn:
    """Read an Arrow array of text, timestamps or numbers (ms since 1970). `form` is a form as of strptime, or None.
    Raises UnusableFile for a column of another type."""
    import pyarrow as pa  # noqa: PLC0415 - see numbers.arrow

    compute = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        times = compute.cast(column, pa.timestamp("us", column.type.tz), safe=False)
        return TimeColumn(_counted(times), np.full(len(column), column.type.tz is None))
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        try:
            column = compute.cast(column, pa.string())
        except pa.ArrowNotImplementedError as error:
            raise UnusableFile(f"the column of times has the type {column.type}, of which no times are read") from error
    text = compute.utf8_trim_whitespace(column)
    text = compute.if_else(compute.equal(compute.utf8_length(text), 0), None, text)
    return _at_once(text, form) or _one_by_one(text, form, refuse)


def joined(dates: Any, clocks: Any, form: str | None) -> Any:
    """The cells of two Arrow arrays, dates and times of day, as text, for `read_times`. A cell of `clocks` that is no
    time of day stands for itself: some files have a whole time beside the date."""
    import pyarrow as pa  # noqa: PLC0415 - see numbers.arrow

    compute = arrow()
    if pa.types.is_timestamp(clocks.type):
        return clocks
    days, hours = _text(dates), _text(clocks)
    if form is None:
        days = compute.replace_substring_regex(days, r"[ T]0?0:00(:00)?([.,]0+)?$", "")
        hours = compute.replace_substring_regex(hours, r"^([0-9]):", r"0\1:")
        apart = compute.match_substring_regex(hours, r"^[0-9]{2}:")
        return compute.if_else(apart, compute.binary_join_element_wise(days, hours, " "), hours)
    return compute.binary_join_element_wise(days, hours, " ")


def _text(column: Any) -> Any:
    """The cells as text without blanks at the ends, of dates without a time of day; null for an empty one."""
    import pyarrow as pa  # noqa: PLC0415 - see numbers.arrow

    compute = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        column = compute.cast(column, pa.date32(), safe=False)
    try:
        text = compute.utf8_trim_whitespace(compute.cast(column, pa.string()))
    except pa.ArrowNotImplementedError as error:
        raise UnusableFile(f"a column of dates or times has the type {column.type}, of which none are read") from error
    return compute.if_else(compute.equal(compute.utf8_length(text), 0), None, text)


def resolved(column: TimeColumn, zone: ZoneInfo | None, clocks: NDArray[np.int64] | None, refuse: Refuse) -> Instants:
    """The instants of the column, shape (n,). `clocks`, shape (n,), says which rows are of the same clock (None: all).
    Local times that the clock skips are told to `refuse`. Raises UnusableFile if a zone is needed and none given."""
    if not column.local.any():
        return column.times
    if zone is None:
        raise UnusableFile(NO_ZONE)
    instants = column.times.copy()
    for clock in [None] if clocks is None else np.unique(clocks).tolist():
        rows = np.flatnonzero(column.local if clock is None else column.local & (clocks == clock))
        found = resolve(column.times[rows], zone)
        instants[rows] = found.instants
        for n in rows[found.skipped].tolist():
            refuse(n, "", f"the clock of {zone.key} skips this time")
    return instants


def _at_once(text: Any, form: str | None) -> TimeColumn | None:
    """The column, if all of it has one usual form; else None."""
    import pyarrow as pa  # noqa: PLC0415 - see numbers.arrow

    compute = arrow()
    try:
        if form is not None:
            return TimeColumn(_counted(compute.strptime(text, form, "us")), np.full(len(text), "%z" not in form))
        zoned = compute.all(compute.match_substring_regex(text, ZONED)).as_py() is True
        times = compute.cast(text, pa.timestamp("us", "UTC" if zoned else None))
        dates_only = compute.any(compute.less(compute.utf8_length(text), 12)).as_py()
        return None if dates_only else TimeColumn(_counted(times), np.full(len(text), not zoned))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _counted(times: Any) -> Instants:
    """Timestamps in µs, null as NONE."""
    import pyarrow as pa  # noqa: PLC0415 - see numbers.arrow

    counts = arrow().fill_null(times.cast(pa.int64()), NONE)
    return np.asarray(counts.to_numpy(zero_copy_only=False), np.int64)


def _one_by_one(text: Any, form: str | None, refuse: Refuse) -> TimeColumn:
    times = np.full(len(text), NONE, np.int64)
    local = np.zeros(len(text), np.bool_)
    for n, cell in enumerate(text.to_pylist()):
        if cell is not None:
            try:
                times[n], local[n] = read_time(cell, form)
            except ValueError:
                refuse(n, cell, f"not a time of the form {form}" if form else "not a time")
    return TimeColumn(times, local)
