"""Reads Parquet, and Arrow as a file or a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.history.errors import UnusableFile
from gateway.history.tables import Batches, FileTable, RefusedRow, RowBatch, batch_rows


def parquet_table(path: Path, kept: ExitStack) -> FileTable:
    import pyarrow as pa  # noqa: PLC0415 - a third of a second, when a file is read
    from pyarrow import parquet  # noqa: PLC0415 - a third of a second, when a file is read

    try:
        file = kept.enter_context(parquet.ParquetFile(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UnusableFile(f"the Parquet file cannot be read: {error}") from error
    names = file.schema_arrow.names

    def batches(columns: Sequence[int], refuse: RefusedRow) -> Iterator[RowBatch]:
        first = 0
        for batch in file.iter_batches(batch_rows(len(columns)), columns=[names[n] for n in columns]):
            by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield RowBatch(first, [by_name[names[n]] for n in columns])
            first += batch.num_rows

    return FileTable("", names, _guarded(batches))


def arrow_table(path: Path, kept: ExitStack, *, is_file: bool) -> FileTable:
    import pyarrow as pa  # noqa: PLC0415 - a third of a second, when a file is read

    try:
        mapped = kept.enter_context(pa.memory_map(str(path)))
        names = (pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)).schema.names
    except (pa.ArrowInvalid, OSError) as error:
        raise UnusableFile(f"the Arrow file cannot be read: {error}") from error

    def batches(columns: Sequence[int], refuse: RefusedRow) -> Iterator[RowBatch]:
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        whole = (reader.get_batch(n) for n in range(reader.num_record_batches)) if is_file else iter(reader)
        first, most = 0, batch_rows(len(columns))
        for long in whole:
            for begin in range(0, long.num_rows, most):
                batch = long.slice(begin, most)
                yield RowBatch(first, [batch.column(n) for n in columns])
                first += batch.num_rows

    return FileTable("", names, _guarded(batches))


def _guarded(batches: Batches) -> Batches:
    """The batches, with errors of a broken file in words."""
    import pyarrow as pa  # noqa: PLC0415 - a third of a second, when a file is read

    def guarded(columns: Sequence[int], refuse: RefusedRow) -> Iterator[RowBatch]:
        try:
            yield from batches(columns, refuse)
        except (pa.ArrowInvalid, OSError) as error:
            raise UnusableFile(f"the file is broken: {error}") from error

    return guarded
