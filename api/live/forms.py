"""What is sent, as messages of a socket and as server-sent events. What is encoded already is put together, not encoded
again: with 500 listeners that is most of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

RETRY_MS = 2000
MOST_BYTES = 256 * 1024
"""Of a message, with the last one in it beyond: libraries refuse more than 1 MiB if they are not told otherwise."""


class Encoded(Protocol):
    """Something that has happened, encoded as JSON."""

    @property
    def json(self) -> bytes: ...


class Numbered(Encoded, Protocol):
    """Something that has happened, with a number from which one goes on."""

    @property
    def number(self) -> int: ...


E = TypeVar("E", bound=Encoded)


class SocketForm:
    """Messages of a socket: JSON objects that say by `type` what they are."""

    def message(self, kind: str, fields: bytes, number: int | None = None) -> bytes:
        """`fields` are those of a JSON object, without its braces; `number` is what one goes on from."""
        return b'{"type":"%b",%b}' % (kind.encode(), fields)

    def each(self, kind: str, many: Sequence[Numbered]) -> bytes:
        """All of them, in their order."""
        fields = b'"cursor":%d,"%bs":[%b]' % (many[-1].number, kind.encode(), joined(many))
        return self.message(f"{kind}s", fields)

    def heartbeat(self, cursor: int) -> bytes:
        return self.message("heartbeat", b'"cursor":%d' % cursor)

    def trouble(self, detail: str) -> bytes:
        return msgspec.json.encode({"type": "trouble", "detail": detail})


class EventsForm:
    """`id` is the cursor: a browser that connects again sends the last one by itself. Only what is whole has one."""

    def message(self, kind: str, fields: bytes, number: int | None = None) -> bytes:
        content = b"event: %b\ndata: {%b}\n\n" % (kind.encode(), fields)
        return content if number is None else b"id: %d\n%b" % (number, content)

    def each(self, kind: str, many: Sequence[Numbered]) -> bytes:
        name = kind.encode()
        return b"".join(b"id: %d\nevent: %b\ndata: %b\n\n" % (told.number, name, told.json) for told in many)

    def heartbeat(self, cursor: int) -> bytes:
        return b": heartbeat\nid: %d\n\n" % cursor

    def trouble(self, detail: str) -> bytes:
        return b"event: trouble\ndata: %b\n\n" % msgspec.json.encode({"detail": detail})

    def begin(self) -> bytes:
        return b"retry: %d\n\n" % RETRY_MS

    def end(self, code: int, detail: str) -> bytes:
        return b"event: end\ndata: %b\n\n" % msgspec.json.encode({"code": code, "detail": detail})


Form = SocketForm | EventsForm


def joined(many: Iterable[Encoded]) -> bytes:
    return b",".join(told.json for told in many)


def taken(from_: deque[E], most: int) -> list[E]:
    """Remove and return the next ones for one message: at most `most`, and MOST_BYTES."""
    found: list[E] = []
    size = 0
    while from_ and len(found) < most and size < MOST_BYTES:
        found.append(from_.popleft())
        size += len(found[-1].json)
    return found
