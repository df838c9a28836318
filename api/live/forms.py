"""What is sent, as messages of a socket and as server-sent events. Encoded transitions are put together, not encoded
again: with 500 listeners that is most of the work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from api.queries.alerts import Told

RETRY_MS = 2000


class SocketForm:
    """Messages of a socket: JSON objects that say by `type` what they are. With `cursor` as `after` one can go on."""

    def snapshot(self, cursor: int, alarms: Sequence[Told], more: bool) -> bytes:
        return b'{"type":"snapshot",%b}' % _snapshot(cursor, alarms, more)

    def transitions(self, transitions: Sequence[Told]) -> bytes:
        return b'{"type":"transitions","cursor":%d,"transitions":[%b]}' % (transitions[-1].number, _joined(transitions))

    def heartbeat(self, cursor: int) -> bytes:
        return b'{"type":"heartbeat","cursor":%d}' % cursor

    def trouble(self, detail: str) -> bytes:
        return msgspec.json.encode({"type": "trouble", "detail": detail})

    def recovered(self, cursor: int) -> bytes:
        return b'{"type":"recovered","cursor":%d}' % cursor


class EventsForm:
    """`id` is the cursor: a browser that connects again sends the last one by itself. Only what is whole has one."""

    def snapshot(self, cursor: int, alarms: Sequence[Told], more: bool) -> bytes:
        content = b"event: snapshot\ndata: {%b}\n\n" % _snapshot(cursor, alarms, more)
        return content if more else b"id: %d\n%b" % (cursor, content)

    def transitions(self, transitions: Sequence[Told]) -> bytes:
        return b"".join(b"id: %d\nevent: transition\ndata: %b\n\n" % (told.number, told.json) for told in transitions)

    def heartbeat(self, cursor: int) -> bytes:
        return b": heartbeat\nid: %d\n\n" % cursor

    def trouble(self, detail: str) -> bytes:
        return b"event: trouble\ndata: %b\n\n" % msgspec.json.encode({"detail": detail})

    def recovered(self, cursor: int) -> bytes:
        return b'id: %d\nevent: recovered\ndata: {"cursor":%d}\n\n' % (cursor, cursor)

    def begin(self) -> bytes:
        return b"retry: %d\n\n" % RETRY_MS

    def end(self, code: int, detail: str) -> bytes:
        return b"event: end\ndata: %b\n\n" % msgspec.json.encode({"code": code, "detail": detail})


Form = SocketForm | EventsForm


def _snapshot(cursor: int, alarms: Sequence[Told], more: bool) -> bytes:
    return b'"cursor":%d,"alarms":[%b],"more":%b' % (cursor, _joined(alarms), b"true" if more else b"false")


def _joined(many: Iterable[Told]) -> bytes:
    return b",".join(told.json for told in many)
