"""A table of a file: headings, and rows in batches. What reads it is in csv_tables.py and arrow_tables.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from schema.csv_files import Decimal

BATCH_ROWS, BATCH_CELLS = 16_384, 2**20
"""Most rows, and roughly cells, of a table that are looked at together."""


class RowBatch(NamedTuple):
    """Some rows of a table."""

    first: int
    """The index of the first row in the table, from 0."""
    columns: list[Any]
    """Arrow arrays, as asked for."""


RefusedRow: TypeAlias = Callable[[int, str, str], None]
"""Told of a row that is no row of the table: its number in the file from 1, its text, and the reason."""
Batches: TypeAlias = Callable[[Sequence[int], RefusedRow], Iterator[RowBatch]]
"""Reads columns, given by their indices."""


def batch_rows(columns: int) -> int:
    """Rows of so many columns that are looked at together."""
    return max(1, min(BATCH_ROWS, BATCH_CELLS // max(1, columns)))


class FileTable:
    """A table of a file: its headings, and its rows in batches, as often as asked for."""

    def __init__(self, name: str, headings: Sequence[str], batches: Batches, first_row: int = 1) -> None:
        """`first_row` is the number of the first row in the file, from 1."""
        self.name = name
        self.headings = tuple(headings)
        self._batches = batches
        self._first_row = first_row
        self._gaps: list[int] = []

    def batches(self, columns: Sequence[int], refuse: RefusedRow = lambda *_: None) -> Iterator[RowBatch]:
        """The rows of these columns, in the order of the file. Raises UnusableFile."""
        self._gaps.clear()

        def skip(number: int, text: str, reason: str) -> None:
            self._gaps.append(number)
            refuse(number, text, reason)

        return self._batches(columns, skip)

    def row_number(self, index: int) -> int:
        """The number in the file, from 1, of the row with this index; rows that were refused have none."""
        number = self._first_row + index
        for gap in self._gaps:
            if gap > number:
                break
            number += 1
        return number


class FileForm(NamedTuple):
    """How a text file is written; None: find it out."""

    encoding: str | None = None
    delimiter: str | None = None
    decimal: Decimal | None = None
    sections: str | None = None
    """The beginning of the headings of the sections that hold tables: `TrackData` for `[TrackData1]`."""


class OpenFile(NamedTuple):
    """A file and what was found out about its form."""

    kind: str
    """`csv`, `parquet` or `arrow`."""
    form: FileForm
    tables: list[FileTable]
