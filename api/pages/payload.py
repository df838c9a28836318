"""Bytes of a message as people read them: as text where they are one, and always in hexadecimal."""

from __future__ import annotations

import msgspec

SHOWN = 4096
"""Bytes of which the hexadecimal form is shown."""
MOST_TEXT = 20_000
WIDTH = 16


def text(payload: bytes) -> tuple[str, str] | None:
    """Return what the payload is, and it as text: JSON, MessagePack written as JSON, or text; None if it is none."""
    for name, decode in (("JSON", msgspec.json.decode), ("MessagePack, written as JSON", msgspec.msgpack.decode)):
        try:
            content = decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            continue
        if name == "JSON" or isinstance(content, dict | list):  # one byte is a number in MessagePack, too
            return name, _cut(_written(content))
    try:
        plain = payload.decode()
    except UnicodeDecodeError:
        return None
    return ("text", _cut(plain)) if plain.strip() and all(_is_text(sign) for sign in plain) else None


def hexadecimal(payload: bytes) -> str:
    """Return lines of offset, bytes in hexadecimal, and the same as ASCII."""
    lines = []
    for begin in range(0, min(len(payload), SHOWN), WIDTH):
        row = payload[begin : begin + WIDTH]
        signs = "".join(chr(one) if 32 <= one < 127 else "." for one in row)
        lines.append(f"{begin:06x}  {row.hex(' '):<{3 * WIDTH - 1}}  {signs}")
    return "\n".join(lines)


def _written(content: object) -> str:
    try:
        return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    except (msgspec.MsgspecError, TypeError, ValueError):  # keys that are no texts, or a number that JSON lacks
        return repr(content)


def _cut(written: str) -> str:
    return written if len(written) <= MOST_TEXT else f"{written[:MOST_TEXT]} …"


def _is_text(sign: str) -> bool:
    return sign.isprintable() or sign in "\r\n\t"
