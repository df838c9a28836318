"""Receives a table in Arrow's stream format and knows whether it is whole.

A stream ends with a mark of eight bytes (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format).
pyarrow takes a stream without the mark for a whole one, so it is looked for here, message by message: the last bytes
of a table can look like it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from biogate.asking import CutShort

END = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowBody:
    """A sink for one table in memory: an attempt that breaks off leaves nothing."""

    kept = 0

    def __init__(self) -> None:
        self._content = bytearray()
        self._table: pa.Table | None = None

    def headers(self) -> dict[str, str]:
        return {}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._content = bytearray()

    def write(self, content: bytes) -> None:
        self._content += content

    def end(self) -> None:
        self._table = whole_table(self._content)

    @property
    def table(self) -> pa.Table:
        assert self._table is not None, "the body was not received"
        return self._table

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest of the table."""
        found: dict[str, Any] = json.loads(self.table.schema.metadata[b"biogate"])
        return found


def whole_table(content: bytearray) -> pa.Table:
    """Read a stream without copying it. Raises CutShort unless its last message is followed by the mark, and that by
    nothing."""
    buffer = pa.py_buffer(content)
    try:
        end = _end_of_messages(buffer)
    except (pa.ArrowInvalid, OSError) as error:
        raise CutShort(f"the table ends within a message: {error}") from error
    if bytes(content[end:]) != END:
        raise CutShort("the table ends without its mark of the end")
    return pa.ipc.open_stream(buffer).read_all()


def _end_of_messages(buffer: pa.Buffer) -> int:
    """Return where the last whole message ends."""
    source = pa.BufferReader(buffer)
    messages = pa.ipc.MessageReader.open_stream(source)
    end = 0
    while True:
        try:
            messages.read_next_message()
        except StopIteration:
            return end
        end = source.tell()
