"""A connection that gives up on clients which send without end, too slowly or not at all, or do not read.

uvicorn bounds only the time between two requests.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api import metrics
from api.edge.limits import FREE
from api.problems import MEDIA_TYPE, fields_of

MOST_HEAD = 32 * 1024
"""Bytes of a request line with its headers."""
TOO_MANY = "too many connections: try again later"
TOO_LARGE = f"the request line and the headers have more than {MOST_HEAD} bytes"
HEAD_S = 10.0
"""Longest time from the first byte of a request (or from the connection's begin) to the end of its headers."""
BODY_S = 60.0
"""Longest time from the end of a request's headers to the end of its body."""
UNREAD_S = 60.0
"""How long an answer waits for a client that reads nothing of it."""
LINGER_S = 1.0
"""How long a refused connection stays open, with its bytes thrown away: closed at once, clients would not see why."""
LOOK_S = 2.0
RESERVE = 8
"""Connections above the bound, for requests whether the process is well."""
HEALTH = frozenset(path.encode() for path in FREE)
VERSIONS = frozenset({"1.0", "1.1"})
ONCE = frozenset({b"host", b"authorization", b"content-type", b"biogate-organization"})
"""Headers that may come once only: of two, a proxy may judge by one and the API by the other."""
QUIET = logging.getLogger("uvicorn.socket")
QUIET.setLevel(logging.WARNING)


class HeadRefused(Exception):
    """Raised through the parser, which then goes no further."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's own, with limits. What they cost is a comparison for each piece of data. When it has handed its
    transport over to a socket, it goes on looking whether that is closing: who does not read is not waited for."""

    most_connections = 1000
    sockets: frozenset[bytes] = frozenset()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since: float | None = self.loop.time()
        self._body_since: float | None = None
        self._unread_since: float | None = None
        self._head_bytes = self._piece = 0
        self._idle_since: float | None = None
        self._refused = self._is_reserve = False
        self._look = self.loop.call_later(LOOK_S, self._look_after)
        metrics.CONNECTIONS.set(len(self.connections))
        if len(self.connections) > self.most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)
        metrics.CONNECTIONS.set(len(self.connections))

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a whole request, of the address that has most connections:
        who opens many and says little takes no place from others. If there is none, this one is a reserve."""
        limited = [one for one in self.connections if isinstance(one, LimitedConnection)]
        each = Counter(one._from for one in limited)
        waits = {one: since for one in limited if one is not self and (since := one._waits_since) is not None}
        victims = [one for one in waits if each[one._from] >= each[self._from]]
        if victims:
            min(victims, key=lambda one: (-each[one._from], waits[one]))._refuse(503, TOO_MANY)
        elif len(self.connections) <= self.most_connections + RESERVE:
            self._is_reserve = True
        else:
            self._refuse(503, TOO_MANY)

    @property
    def _from(self) -> str:
        """The address at the other end, which may be a proxy's."""
        return "" if self.client is None else self.client[0]

    @property
    def _waits_since(self) -> float | None:
        """Since when this connection waits for a whole request; None if it is at work, or closes."""
        is_at_work = self.cycle is not None and not self.cycle.response_complete and self._body_since is None
        if is_at_work or self._refused or self.transport.is_closing():
            return None
        return self._head_since or self._body_since or self._idle_since

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._piece = len(data)
        super().data_received(data)
        if self._head_since is not None:
            self._head_bytes += self._piece
            if self._head_bytes > MOST_HEAD:
                self._refuse(431, TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_since, self._idle_since = self.loop.time(), None

    def on_response_complete(self) -> None:
        self._idle_since = None if self.pipeline else self.loop.time()
        super().on_response_complete()

    def on_headers_complete(self) -> None:
        self._check_head()
        if self._piece > MOST_HEAD:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MOST_HEAD:
                raise HeadRefused(431, TOO_LARGE)
        self._body_since, self._head_since = self._head_since, None
        self._head_bytes = 0
        super().on_headers_complete()

    def _check_head(self) -> None:
        """Raise HeadRefused if the head says what two readers could take for two things, or asks a reserve to work."""
        if self.parser.get_http_version() not in VERSIONS:
            raise HeadRefused(400, "this speaks HTTP/1.1 and HTTP/1.0")
        named = [name for name, _ in self.headers if name in ONCE]
        if len(named) != len(set(named)):
            raise HeadRefused(400, f"one of these headers is there twice: {', '.join(sorted(map(bytes.decode, ONCE)))}")
        if self._is_reserve and self.url.partition(b"?")[0] not in HEALTH:
            raise HeadRefused(503, TOO_MANY)

    def on_message_complete(self) -> None:
        self._body_since = None
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Accept an upgrade at the addresses of sockets only; elsewhere it is ignored."""
        return self.url.partition(b"?")[0] in self.sockets and super()._should_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def send_400_response(self, msg: str) -> None:
        cause = getattr(sys.exception(), "__context__", None)
        if isinstance(cause, HeadRefused):
            self._refuse(cause.status, cause.detail)
        else:
            self._refuse(400, "this is not valid HTTP")

    def _look_after(self) -> None:
        """Check the time limits now and then, instead of with a timer for each request."""
        if self.transport.is_closing():
            self.transport.abort()  # what was still to be sent is not being read either
            return
        now = self.loop.time()
        if _over(self._unread_since, UNREAD_S, now):
            self.transport.abort()
        elif _over(self._head_since, HEAD_S, now) or _over(self._body_since, BODY_S, now):
            self._refuse(408, "the request was not complete in time")
        self._look = self.loop.call_later(LOOK_S, self._look_after)

    def _refuse(self, status: int, detail: str) -> None:
        """Tell why, where nothing else is being said on this connection, and close it."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = msgspec.json.encode(fields_of(HTTPStatus(status), detail, ""))
            head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self._refused, self._head_since, self._body_since = True, None, None
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


class QuietSocket(WebSocketsSansIOProtocol):
    """uvicorn's own, which takes a refusal for an accident, and says three things of each that comes; what there is to
    say, the observer and the feeds do."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = self.conn.logger = QUIET

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def limited(most_connections: int, sockets: frozenset[bytes] = frozenset()) -> type[LimitedConnection]:
    """The class for `uvicorn.run(http=…)`, one instance a connection. `sockets`: addresses of WebSockets."""
    metrics.CONNECTIONS_LIMIT.set(most_connections)
    return type("Limited", (LimitedConnection,), {"most_connections": most_connections, "sockets": sockets})


def _over(since: float | None, most: float, now: float) -> bool:
    return since is not None and now - since > most
