"""Opens a file of any kind that is read: CSV, Parquet, Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.history.arrow_tables import arrow_table, parquet_table
from gateway.history.csv_tables import csv_file
from gateway.history.tables import FileForm, OpenFile
from gateway.history.text_file import encoding_of, opened

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
"""How files begin."""


@contextmanager
def opened_tables(path: Path, form: FileForm) -> Iterator[OpenFile]:
    """The tables of a file. What `form` leaves open is found out. Raises UnusableFile."""
    with ExitStack() as kept:
        with path.open("rb") as file:
            begin = file.read(8)
        if begin.startswith(PARQUET):
            yield OpenFile("parquet", FileForm(), [parquet_table(path, kept)])
        elif begin.startswith((ARROW_FILE, ARROW_STREAM)):
            table = arrow_table(path, kept, is_file=begin.startswith(ARROW_FILE))
            yield OpenFile("arrow", FileForm(), [table])
        else:
            encoding = form.encoding or encoding_of(path)
            content = kept.enter_context(opened(path, encoding))
            yield csv_file(content, form._replace(encoding=encoding))
