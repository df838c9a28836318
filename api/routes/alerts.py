"""Live feeds of alarms: a WebSocket for programs, server-sent events for pages.

A feed begins with the alarms that stand; then comes every transition, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Annotated

from fastapi import Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.types import Receive, Send
from starlette.types import Scope as ConnectionScope

from api.access import guard
from api.access.guard import allow, allow_socket
from api.access.roles import Principal, Role, Scope
from api.http import description
from api.http.parameters import StrictParameters, listed
from api.live import feeding
from api.live.feeding import GONE, TALKS, End, Feeding
from api.live.forms import EventsForm, SocketForm
from api.live.hub import Hub
from api.live.member import Wishes
from api.problems import BadParameter
from api.routes import Router
from api.services import App
from api.shapes import alerts as shapes
from api.trace import timed
from schema.alarms.rules import Priority

READ = (Role.VIEWER, Scope.ALARMS_READ)
Listener = Annotated[Principal, allow_socket(*READ)]
router = Router("alarms")

LAST = 2**63 - 1
MOST_NAMES = 200
GOODBYE_S = 1.0
MEDIA_TYPE = "text/event-stream"
REASON = 120
"""The most bytes of a reason: the close frame of a socket has room for 123."""


class AlertParameters(StrictParameters):
    priority: list[Priority] = Field([], description="only these; may be repeated")
    device: str | None = Field(None, max_length=10_000, description="only these devices: names, commas between")
    rule: str | None = Field(None, max_length=10_000, description="only these rules: names, commas between")
    after: int | None = Field(
        None,
        ge=0,
        le=LAST,
        description="the last cursor received, from where it goes on. Without it, or if too much has happened, what "
        "stands comes first",
    )
    organization: str | None = Field(
        None, max_length=64, description="as the header Biogate-Organization, which a page cannot send here"
    )

    def wishes(self) -> Wishes:
        return Wishes(frozenset(self.priority), _names("device", self.device), _names("rule", self.rule))


def _names(parameter: str, joined: str | None) -> frozenset[str]:
    names = frozenset(listed([], [joined or ""]))
    if len(names) > MOST_NAMES or (joined is not None and not names):
        raise BadParameter(parameter, f"give 1 to {MOST_NAMES} names, commas between")
    return names


@router.websocket("/ws/alerts")
async def socket(
    websocket: WebSocket, app: App, listener: Listener, asked: Annotated[AlertParameters, Query()]
) -> None:
    async with app.hub.member(listener, asked.wishes(), asked.after) as member:
        await websocket.accept()
        with feeding.observed("socket", listener) as ended:

            async def send(content: bytes) -> None:
                await websocket.send_text(content.decode())

            end = await feeding.feed(Feeding(app.hub, member, websocket, SocketForm(), send), _silent(websocket))
            ended(end)
            if end is not GONE:
                await _quickly(websocket.close(end.code, end.detail.encode()[:REASON].decode(errors="ignore")))


async def _silent(websocket: WebSocket) -> End:
    """Wait until the client goes or says something."""
    message = await websocket.receive()
    return GONE if message["type"] == "websocket.disconnect" else TALKS


@router.get(
    "/alarms/stream",
    dependencies=[allow(*READ)],
    summary="Alarms as they happen, as server-sent events",
    description="First `snapshot`: the alarms that stand, in parts of at most 500 (`more`: another one follows), and "
    "the cursor that they belong to. Then one `transition` for each, in order, none left out and none twice, with its "
    "number as `id`: with `Last-Event-ID`, or `after`, one goes on from there. A comment every 15 s says that all is "
    "well; `trouble`, that the database is away, and `recovered`, that it is back: then what was missed follows. `end` "
    "is the last event, and says why. The same as messages of a WebSocket: `/api/v1/ws/alerts`, with the same "
    "parameters.",
    responses=description.DATABASE
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": shapes.STREAM}}}},
)
async def stream(
    request: Request,
    app: App,
    listener: guard.Member,
    asked: Annotated[AlertParameters, Query()],
    last_event_id: Annotated[
        str | None, Header(description="the last `id` received; a browser sends it when it connects again")
    ] = None,
) -> StreamingResponse:
    last = last_event_id or ""
    known = int(last) if last.isascii() and last.isdigit() and int(last) <= LAST else asked.after
    return EventStream(app.hub, request, listener, asked.wishes(), known)


class EventStream(StreamingResponse):
    """An answer of server-sent events with time-outs of its own, which ends when the client goes."""

    def __init__(self, hub: Hub, request: Request, listener: Principal, wishes: Wishes, after: int | None) -> None:
        super().__init__(_nothing(), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        self._hub, self._request, self._listener, self._wishes, self._after = hub, request, listener, wishes, after

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        hub, form = self._hub, EventsForm()

        async def put(content: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        async with hub.member(self._listener, self._wishes, self._after) as member:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with feeding.observed("events", self._listener) as ended, timed("patience"):
                await put(form.begin())
                end = await feeding.feed(Feeding(hub, member, self._request, form, put), _gone(receive))
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
