"""Reads cells of text as numbers, in one way for all files. Pure.

A number has digits, at most one decimal sign, and perhaps an exponent: `7`, `-.015`, `6.9E-04`, and with a decimal
comma `7,2`. There are no signs between thousands: `1.234` would be two numbers. Blanks at the ends do not count. `NaN`
and infinity say that there is no value, as in a message of a device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schema.csv_files import NUMBER, Decimal

NOTHING = r"^[+-]?(?i:nan|inf|infinity)$"

SENT, EMPTY, NO_VALUE = 0, 1, 2
"""States of a cell: a number; empty, or refused; the file says that there is no value."""

Refuse = Callable[[int, str, str], None]
"""Told of a refused cell: its index, its text, and the reason."""


class Cells(NamedTuple):
    """A column of n cells."""

    values: NDArray[np.float64]
    """Shape (n,); NaN where there is no number."""
    states: NDArray[np.uint8]
    """Shape (n,): SENT, EMPTY or NO_VALUE."""


@lru_cache(maxsize=1)
def arrow() -> Any:
    """pyarrow.compute; it is imported when a file is read, as it takes a third of a second."""
    import pyarrow.compute  # noqa: PLC0415 - see above

    return pyarrow.compute


def numbers(column: Any, decimal: Decimal, refuse: Refuse) -> Cells:
    """Read a column, an Arrow array of text or numbers. `refuse` is told of cells that are none; they are EMPTY."""
    import pyarrow as pa  # noqa: PLC0415 - see `arrow`

    compute = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return _typed(column, compute, refuse)
    text = compute.utf8_trim_whitespace(column)
    text = compute.if_else(compute.equal(compute.utf8_length(text), 0), None, text)
    if text.null_count == len(text):
        return Cells(np.full(len(text), np.nan), np.full(len(text), EMPTY, np.uint8))
    plain = text
    if decimal == ",":
        plain = compute.if_else(compute.match_substring(text, "."), "?", text)  # no number then
        plain = compute.replace_substring(plain, ",", ".")
    try:
        parsed = compute.cast(plain, pa.float64())
    except pa.ArrowInvalid:
        fits = compute.match_substring_regex(plain, f"{NUMBER}|{NOTHING}")
        _refuse_all(column, compute.equal(fits, False), lambda cell: _why(cell, decimal), refuse)
        parsed = compute.cast(compute.if_else(fits, plain, None), pa.float64())
    return _checked(column, parsed, refuse)


def _typed(column: Any, compute: Any, refuse: Refuse) -> Cells:
    import pyarrow as pa  # noqa: PLC0415 - see `arrow`

    try:
        values = compute.cast(column, pa.float64(), safe=False)
    except pa.ArrowNotImplementedError:
        _refuse_all(column, compute.is_valid(column), lambda _: f"not a number, but {column.type}", refuse)
        return Cells(np.full(len(column), np.nan), np.full(len(column), EMPTY, np.uint8))
    states = np.where(np.asarray(column.is_null()), EMPTY, SENT).astype(np.uint8)
    numbers_ = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    states[(states == SENT) & ~np.isfinite(numbers_)] = NO_VALUE
    return Cells(np.where(np.isfinite(numbers_), numbers_, np.nan), states)


def _checked(column: Any, parsed: Any, refuse: Refuse) -> Cells:
    """The cells of `parsed`, where a number beyond what a float can be has become infinite."""
    values = np.array(parsed.to_numpy(zero_copy_only=False), np.float64)
    states = np.where(np.asarray(parsed.is_null()), EMPTY, SENT).astype(np.uint8)
    odd = (states == SENT) & ~np.isfinite(values)
    for n in np.flatnonzero(odd).tolist():
        text = column[n].as_py()
        if any(sign.isdigit() for sign in text):
            refuse(n, text, "number too large")
            states[n] = EMPTY
        else:
            states[n] = NO_VALUE
    values[odd] = np.nan
    return Cells(values, states)


def _refuse_all(column: Any, wrong: Any, why: Callable[[str], str], refuse: Refuse) -> None:
    for n in np.flatnonzero(np.asarray(wrong.fill_null(False))).tolist():
        text = str(column[n].as_py())
        refuse(n, text, why(text))


def _why(text: str, decimal: Decimal) -> str:
    other = "." if decimal == "," else ","
    return f"not a number: the decimal sign is '{decimal}'" if other in text else "not a number"
