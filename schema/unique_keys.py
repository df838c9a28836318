"""Refuses JSON and MessagePack in which a key of an object stands twice: readers would take the last, or the first.

The decoders of msgspec and pydantic take the last without a word; both formats leave it open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

FIXMAP, MAP16, MAP32 = 0x80, 0xDE, 0xDF
FIXARRAY, ARRAYS = 0x90, (0xDC, 0xDD)
DEEPEST = 32
"""Levels of MessagePack that are looked at: each costs as much as the first."""


class RepeatedKey(ValueError):
    """An object has the key `key`, of which at most 64 characters are given, twice."""

    def __init__(self, key: object) -> None:
        self.key = str(key)[:64]
        super().__init__(f"the key {self.key!r} stands twice")


def check_json(text: bytes) -> None:
    """Raise RepeatedKey if an object in a JSON text has a key twice; other faults are left to its reader."""
    try:
        json.loads(
            text.decode("utf-8-sig", errors="replace"),
            object_pairs_hook=_unique,
            parse_int=_nothing,
            parse_float=_nothing,
        )
    except RepeatedKey:
        raise
    except (ValueError, RecursionError):
        return


def check_msgpack(packed: bytes) -> None:
    """Raise RepeatedKey if a map in a MessagePack message has a key twice; other faults are left to its reader."""
    try:
        _check_msgpack(packed, DEEPEST)
    except (msgspec.DecodeError, RecursionError):
        return


def map_header(count: int) -> bytes:
    """The bytes with which MessagePack begins a map of so many entries, as short as they can be."""
    return bytes([FIXMAP | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")


def _unique(pairs: Sequence[tuple[str, Any]]) -> None:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise RepeatedKey(key)
        keys.add(key)


def _nothing(number: str) -> None:
    """Take a number for null: only keys matter, and Python refuses long integers."""


def _check_msgpack(packed: bytes, levels: int) -> None:
    first = packed[0]
    if first & 0xF0 == FIXMAP or first in (MAP16, MAP32):
        entries = msgspec.msgpack.decode(packed, type=dict[Any, msgspec.Raw])
        if _entries(packed) != len(entries):
            raise RepeatedKey(max(entries, key=lambda key: packed.count(msgspec.msgpack.encode(key)), default=""))
        parts = [bytes(value) for value in entries.values()]
    elif first & 0xF0 == FIXARRAY or first in ARRAYS:
        parts = [bytes(value) for value in msgspec.msgpack.decode(packed, type=list[msgspec.Raw])]
    else:
        return
    for part in parts if levels else ():
        _check_msgpack(part, levels - 1)


def _entries(packed: bytes) -> int:
    """The number of entries that the header of a map says."""
    if packed[0] & 0xF0 == FIXMAP:
        return packed[0] & 0x0F
    return int.from_bytes(packed[1 : 3 if packed[0] == MAP16 else 5], "big")
