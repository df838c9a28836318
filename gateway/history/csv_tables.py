"""Reads CSV: one table, or sections with a table each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gateway.history.errors import UnusableFile
from gateway.history.tables import FileForm, FileTable, OpenFile, RefusedRow, RowBatch
from gateway.history.text_file import Utf8
from schema.csv_files import decimal_of, delimiter_of

BLOCK_BYTES = 2**20
"""Bytes that are parsed at once."""
SAMPLE_LINES = 200
"""Rows that are looked at to find out the decimal sign."""
MOST_COLUMNS = 4096
LINE_BREAK = re.compile(rb"\r\n|\n|\r")
MALFORMED = "the row has another number of cells than the headings"


class _Part(NamedTuple):
    """The bytes of a table, its name, and the row of the file at which it begins, from 1."""

    name: str
    begin: int
    end: int
    row: int


def csv_file(content: Utf8, form: FileForm) -> OpenFile:
    """The tables of a text. What `form` leaves open is found out. Raises UnusableFile."""
    parts = _sections(content, form.sections) if form.sections else [_Part("", 0, len(content), 1)]
    first = parts[0]
    lines = _first_lines(content, first)
    delimiter = form.delimiter or _delimiter(lines[0])
    decimal = form.decimal or decimal_of(lines[1:], delimiter)
    found = form._replace(delimiter=delimiter, decimal=decimal)
    return OpenFile("csv", found, [_csv(content, part, delimiter) for part in parts])


def _sections(content: Utf8, begins: str) -> list[_Part]:
    """The sections whose heading is `begins` and a number. A section ends before the next heading or an empty line."""
    heading = re.compile(rb'^"?\[([^\]\r\n"]{1,80})\]"?[;,\t]*\r?$', re.MULTILINE)
    wanted = re.compile(re.escape(begins) + r"\d+")
    parts, row, at = [], 1, 0
    found = list(heading.finditer(content))
    for match, after in zip(found, [*(one.start() for one in found[1:]), len(content)], strict=True):
        name = match[1].decode()
        if not wanted.fullmatch(name):
            continue
        row, at = row + content[at : match.end()].count(b"\n"), match.end()
        end = re.compile(rb"\n[ \t]*\r?\n").search(content, match.end() + 1, after)
        parts.append(_Part(name, match.end() + 1, end.start() + 1 if end else after, row + 1))
    if not parts:
        raise UnusableFile(f"the file has no section [{begins}1]: is it an export of another kind?")
    return parts


def _first_lines(content: Utf8, part: _Part) -> list[str]:
    """Some lines of a part, the first with headings."""
    head = bytes(content[part.begin : min(part.end, part.begin + 2**18)])
    lines = head.decode(errors="replace").splitlines()[:SAMPLE_LINES]
    if not lines or not lines[0].strip():
        raise UnusableFile("there is no row of headings at the beginning")
    return lines


def _delimiter(headings: str) -> str:
    found = delimiter_of(headings)
    if found is None:
        raise UnusableFile("the headings have no delimiter out of ; , | and tab: give --delimiter")
    return found


def _csv(content: Utf8, part: _Part, delimiter: str) -> FileTable:
    head = _first_lines(content, part)[0]
    headings = [cell.strip() for cell in next(csv.reader(io.StringIO(head), delimiter=delimiter))]
    if len(headings) > MOST_COLUMNS:
        raise UnusableFile(f"the table has {len(headings)} columns, at most {MOST_COLUMNS} are read")
    data = LINE_BREAK.search(content, part.begin)
    begin = data.end() if data else part.end

    def batches(columns: Sequence[int], refuse: RefusedRow) -> Iterator[RowBatch]:
        if begin >= part.end:
            return
        names = [str(n) for n in range(len(headings))]
        yield from _csv_batches(content, part._replace(begin=begin), (delimiter, names, columns), refuse)

    return FileTable(part.name, headings, batches, first_row=part.row + 1)


def _csv_batches(
    content: Utf8, part: _Part, columns: tuple[str, list[str], Sequence[int]], refuse: RefusedRow
) -> Iterator[RowBatch]:
    """The rows of a part, which begins behind its headings. All cells are text, for one way of reading them.
    `columns`: the delimiter, a name for each column, and the numbers of those that are wanted."""
    import pyarrow as pa  # noqa: PLC0415 - a third of a second, when a file is read
    from pyarrow import csv as arrow_csv  # noqa: PLC0415 - as above

    delimiter, names, wanted = columns

    def skipped(row: Any) -> str:
        refuse(part.row + row.number, row.text, MALFORMED)
        return "skip"

    source = pa.BufferReader(pa.py_buffer(content).slice(part.begin, part.end - part.begin))
    try:
        reader = arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=skipped
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=[names[n] for n in wanted]
            ),
        )
        first = 0
        for batch in reader:
            yield RowBatch(first, batch.columns)
            first += batch.num_rows
    except pa.ArrowInvalid as error:
        raise UnusableFile(f"the table {part.name or 'of the file'} cannot be read: {error}") from error
