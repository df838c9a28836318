"""One client of a feed, from its admission to its end: by socket, or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, suppress

from fastapi import Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.access.roles import Principal
from api.live import feeding
from api.live.feeding import GONE, TALKS, End, Feeding
from api.live.forms import EventsForm, SocketForm
from api.live.hub import Hub
from api.live.member import FeedMember
from api.trace import timed

GOODBYE_S = 1.0
MEDIA_TYPE = "text/event-stream"
REASON = 120
"""The most bytes of a reason: the close frame of a socket has room for 123."""

Admission = AbstractAsyncContextManager[FeedMember]
"""`Hub.member`, not yet entered."""


async def socket(hub: Hub, websocket: WebSocket, listener: Principal, admission: Admission) -> None:
    """Accept the socket once its member is admitted, and feed it until one of the two has enough."""
    async with admission as member:
        await websocket.accept()
        with feeding.observed("socket", listener) as ended:

            async def send(content: bytes) -> None:
                await websocket.send_text(content.decode())

            end = await feeding.feed(Feeding(hub, member, websocket, SocketForm(), send), _silent(websocket))
            ended(end)
            if end is not GONE:
                await _quickly(websocket.close(end.code, end.detail.encode()[:REASON].decode(errors="ignore")))


async def _silent(websocket: WebSocket) -> End:
    """Wait until the client goes or says something."""
    message = await websocket.receive()
    return GONE if message["type"] == "websocket.disconnect" else TALKS


class EventStream(StreamingResponse):
    """An answer of server-sent events with time-outs of its own, which ends when the client goes."""

    def __init__(self, hub: Hub, request: Request, listener: Principal, admission: Admission) -> None:
        super().__init__(_nothing(), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        self._hub, self._request, self._listener, self._admission = hub, request, listener, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = EventsForm()

        async def put(content: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        async with self._admission as member:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with feeding.observed("events", self._listener) as ended, timed("patience"):
                await put(form.begin())
                end = await feeding.feed(Feeding(self._hub, member, self._request, form, put), _gone(receive))
                ended(end)
                # What is said to nobody is not sent; but so it is an answer that has come to its end.
                await _quickly(put(b"" if end is GONE else form.end(end.code, end.detail), False))


async def _nothing() -> AsyncIterator[bytes]:
    """Yield the body that the base class would send: none."""
    return
    yield b""


async def _gone(receive: Receive) -> End:
    while (await receive())["type"] != "http.disconnect":
        pass
    return GONE


async def _quickly(what: Awaitable[None]) -> None:
    """Send a last message if the client still reads."""
    with suppress(TimeoutError, OSError, WebSocketDisconnect):
        async with asyncio.timeout(GOODBYE_S):
            await what
