"""Gives recorded messages other times and boots, so that a gateway takes them once more. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgpack

from device_sim.frames import Format
from device_sim.tape import Recorded
from schema.messages import CONTENT_JSON, CONTENT_MSGPACK
from schema.topics import parse

MOST_BOOT = 2**32 - 1


def contents(message: Recorded) -> tuple[Format, dict[str, Any]] | None:
    """The format and the fields of a message; None if it is none that a gateway could read."""
    format = Format.MSGPACK if message.content_type == CONTENT_MSGPACK else Format.JSON
    if message.content_type not in {CONTENT_MSGPACK, CONTENT_JSON} and message.payload[:1] not in {b"{", b"["}:
        format = Format.MSGPACK
    try:
        fields = msgpack.unpackb(message.payload) if format is Format.MSGPACK else json.loads(message.payload)
    except (ValueError, msgpack.UnpackException):
        return None
    return (format, fields) if isinstance(fields, dict) else None


def lowest_boots(messages: Iterable[Recorded]) -> dict[str, int]:
    """The lowest boot of each device."""
    lowest: dict[str, int] = {}
    for message in messages:
        parts, found = parse(message.topic), contents(message)
        if parts and found and isinstance(boot := found[1].get("boot"), int):
            lowest[parts[0]] = min(boot, lowest.get(parts[0], boot))
    return lowest


class Shift:
    """Adds `ms` to all times; with `lowest`, the lowest boot of each device becomes `boot`, the next `boot` + 1, …"""

    def __init__(self, ms: float, boot: int = 0, lowest: dict[str, int] | None = None) -> None:
        self._ms, self._boot, self._lowest = ms, boot, lowest

    def payload(self, message: Recorded) -> bytes:
        """The payload of the message; one that cannot be read is left as it is."""
        parts, found = parse(message.topic), contents(message)
        if parts is None or found is None or not (self._ms or self._lowest is not None):
            return message.payload
        format, fields = found
        if "t" in fields:
            fields["t"] = self._moved(fields["t"])
        boot = fields.get("boot")
        if self._lowest is not None and isinstance(boot, int):
            fields["boot"] = min(MOST_BOOT, self._boot + boot - self._lowest.get(parts[0], boot))
        try:
            return format.encode(fields)
        except (ValueError, TypeError):
            return message.payload

    def _moved(self, time: Any) -> Any:
        if isinstance(time, list):
            return [self._moved(one) for one in time]
        return time + self._ms if isinstance(time, int | float) and not isinstance(time, bool) else time
