"""Splits a binary COPY of frames by hour. Pure.

Of devices that send seldom one COPY holds many hours: each statement costs a millisecond, which is more than its rows
do. The digest of an hour is that of a COPY of its own: header, its rows, trailer.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime, timedelta

from schema import times
from schema.evidence.seals import HOUR

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
EPOCH = datetime(2000, 1, 1, tzinfo=times.EPOCH.tzinfo)
HOUR_US = HOUR // timedelta(microseconds=1)
TIME_AT, NULLABLE_AT = 6, 34
"""Where the time of a row begins, and the length of its boot: before it are time, layout_id and receipt."""
NULLABLE = 4
"""Boot, seq, values, quality."""
INT8, INT4 = struct.Struct(">q"), struct.Struct(">i")


class HourDigest:
    """The frames of an hour so far."""

    def __init__(self, text: str) -> None:
        self.frames = 0
        self._sha256 = hashlib.sha256(f"{text}\n".encode() + HEADER)

    def add(self, row: bytes) -> None:
        self.frames += 1
        self._sha256.update(row)

    def hexdigest(self) -> str:
        """Of the whole COPY; nothing is added after it."""
        self._sha256.update(TRAILER)
        return self._sha256.hexdigest()


class CopiedHours:
    """Takes a COPY in parts, and gives each row to its hour. Rows of other hours count for nothing."""

    def __init__(self, texts: dict[datetime, str]) -> None:
        """`texts`: the layouts text of each hour that is wanted."""
        self.hours = {hour: HourDigest(text) for hour, text in texts.items()}
        self._by_number = {(hour - EPOCH) // HOUR: digest for hour, digest in self.hours.items()}
        self._rest, self._headed = b"", False

    def add(self, part: bytes) -> None:
        """Take the next part, which may end within a row."""
        content, at = self._rest + part, 0
        if not self._headed and len(content) >= len(HEADER):
            at, self._headed = len(HEADER), True
        while self._headed and (end := _end(content, at)) is not None:
            hour = self._by_number.get(INT8.unpack_from(content, at + TIME_AT)[0] // HOUR_US)
            if hour is not None:
                hour.add(content[at:end])
            at = end
        self._rest = content[at:]


def _end(content: bytes, at: int) -> int | None:
    """Where the row ends that begins there; None: not all of it is here, or it is the trailer."""
    at += NULLABLE_AT
    for _ in range(NULLABLE):
        if at + INT4.size > len(content):
            return None
        at += INT4.size + max(0, INT4.unpack_from(content, at)[0])
    return at if at <= len(content) else None
