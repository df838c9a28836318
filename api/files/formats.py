"""Writes tables as Arrow stream, Parquet or CSV into anything with `write`, a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from api.files.arrow import schema
from api.files.columns import TableColumns
from api.http.answers import FORMULA, lines
from api.shapes.exports import FileFormat

ROW_GROUP_VALUES = 500_000
"""Values of a row group of Parquet: its pages wait in memory until it is whole."""


class ByteSink(Protocol):
    def write(self, content: bytes, /) -> object: ...


class ArrowWriter:
    """Arrow's stream format, uncompressed, which every reader of Arrow can read."""

    def __init__(self, sink: ByteSink, columns: TableColumns, facts: bytes) -> None:
        self._schema = schema(columns, facts)
        self._writer = pa.ipc.new_stream(pa.PythonFile(_File(sink), "w"), self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch.replace_schema_metadata(self._schema.metadata))

    def close(self) -> None:
        self._writer.close()


class ParquetWriter:
    """Parquet with zstd; words are dictionaries."""

    def __init__(self, sink: ByteSink, columns: TableColumns, facts: bytes) -> None:
        self._schema = schema(columns, facts)
        self._group_rows = max(1, ROW_GROUP_VALUES // len(columns.columns))
        words = [one.name for one in columns.columns if one.kind in {"device", "channel", "unit"}]
        self._writer = pyarrow.parquet.ParquetWriter(
            pa.PythonFile(_File(sink), "w"), self._schema, compression="zstd", use_dictionary=words
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch.replace_schema_metadata(self._schema.metadata))
        self._rows += batch.num_rows
        if self._rows >= self._group_rows:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=self._rows)
        self._waiting, self._rows = [], 0


class CsvWriter:
    """CSV: null is an empty cell, an instant is ISO 8601 in UTC. A title has its unit in brackets. Lines end with a
    line feed, as Arrow writes them: of a file with two kinds of ends DuckDB finds no dialect."""

    def __init__(self, sink: ByteSink, columns: TableColumns, _: bytes) -> None:
        self._sink, self._options = sink, pyarrow.csv.WriteOptions(include_header=False)
        titles = [one.name if one.unit is None else f"{one.name} [{one.unit}]" for one in columns.columns]
        sink.write(lines([titles]).replace("\r\n", "\n").encode())

    def write(self, batch: pa.RecordBatch) -> None:
        content = wide_lines(batch)
        if content is None:
            plain = [_plain(batch.column(number)) for number in range(batch.num_columns)]
            out = pa.BufferOutputStream()
            pyarrow.csv.write_csv(pa.RecordBatch.from_arrays(plain, batch.schema.names), out, self._options)
            content = out.getvalue()
        self._sink.write(content)

    def close(self) -> None:
        """Nothing is left: each batch was written whole."""


WriterKind: TypeAlias = type[ArrowWriter] | type[ParquetWriter] | type[CsvWriter]
WRITERS: Mapping[FileFormat, WriterKind] = {"arrow": ArrowWriter, "parquet": ParquetWriter, "csv": CsvWriter}


def wide_lines(batch: pa.RecordBatch) -> pa.Buffer | None:
    """Return the lines of a batch of instants, one device and floats; None: it has something else. Hot path: orjson
    writes floats in a third of the time that Arrow takes, as short and exact (but 20.0, not 20). Lines get their
    instants afterwards, all at once."""
    first, *rest = batch.columns
    numbers = [one for one in rest if pa.types.is_floating(one.type)]
    words = rest[: len(rest) - len(numbers)]
    if not numbers or not pa.types.is_timestamp(first.type) or not all(map(_is_one_word, words)):
        return None
    table = np.stack([one.to_numpy(zero_copy_only=False) for one in numbers], axis=1)
    body = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    if np.isnan(table).any():
        body = body.replace(b"null", b"")
    head = b'\n"%b",' % INSTANT.tobytes() + b"".join(b'"%b",' % _plain(one)[0].as_py().encode() for one in words)
    text = bytearray().join((head, body[2:-2].replace(b"],[", head), b"\n"))
    at = np.flatnonzero(np.frombuffer(text, np.uint8)[:-1] == ord("\n")) + len('\n"')
    kind = f"V{len(INSTANT)}"
    everywhere = np.ndarray((len(text) - len(INSTANT) + 1,), kind, text, strides=(1,))
    everywhere[at] = np.frombuffer(_plain(first).buffers()[2], kind)
    return pa.py_buffer(memoryview(text)[1:])


def _is_one_word(column: pa.Array) -> bool:
    """Whether all of a column is one word that stands between quotes as it is."""
    if not pa.types.is_dictionary(column.type) or len(column.indices.unique()) != 1 or not column.indices[0].is_valid:
        return False
    return not {'"', "\n"} & set(column[0].as_py())


def _plain(column: pa.Array) -> pa.Array:
    """Words that a spreadsheet would take for a formula begin with an apostrophe, and instants are text."""
    if pa.types.is_dictionary(column.type):
        words = [f"'{word}" if word.startswith(FORMULA) else word for word in column.dictionary.to_pylist()]
        return pc.take(pa.array(words, pa.string()), column.indices)
    if pa.types.is_timestamp(column.type):
        return instants(np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset))
    return column


PLACES = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19), (20, 26))
"""Where year, month, day, hour, minute, second and microseconds stand in an instant as text."""
INSTANT = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)


def instants(microseconds: npt.NDArray[np.int64]) -> pa.Array:
    """Microseconds since 1970 as text like schema.times.text has it, digit by digit for all rows at once."""
    days, rest = np.divmod(microseconds, 86_400_000_000)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    parts: Iterable[npt.NDArray[np.int64]] = (
        months.astype("datetime64[Y]").astype(np.int64) + 1970,
        months.astype(np.int64) % 12 + 1,
        (dates - months).astype(np.int64) + 1,
        rest // 3_600_000_000,
        rest // 60_000_000 % 60,
        rest // 1_000_000 % 60,
        rest % 1_000_000,
    )
    text = np.tile(INSTANT, (len(microseconds), 1))
    for part, (begin, end) in zip(parts, PLACES, strict=True):
        left = part
        for place in range(end - 1, begin - 1, -1):
            left, digit = np.divmod(left, 10)
            text[:, place] += digit.astype(np.uint8)
    offsets = np.arange(len(text) + 1, dtype=np.int32) * len(INSTANT)
    return pa.Array.from_buffers(pa.string(), len(text), [None, pa.py_buffer(offsets), pa.py_buffer(text)])


class _File(io.RawIOBase):
    """A sink as Arrow wants it: it asks where it is."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink, self._at = sink, 0

    def writable(self) -> bool:
        return True

    def write(self, content: bytes, /) -> int:  # type: ignore[override]  # a buffer of any kind
        self._sink.write(content)
        self._at += len(content)
        return len(content)

    def tell(self) -> int:
        return self._at
