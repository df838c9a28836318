"""Live feeds of alarms: a WebSocket for programs, server-sent events for pages.

A feed begins with the alarms that stand; then comes every transition, in order."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.access import guard
from api.access.guard import allow, allow_socket
from api.access.roles import Principal, Role, Scope
from api.http import description
from api.http.parameters import FeedParameters, some
from api.live import serving
from api.live.alarms import AlarmFeed, AlarmMember, Wishes
from api.live.serving import MEDIA_TYPE, EventStream
from api.queries import run_times
from api.routes import Router
from api.services import App
from api.shapes import alerts as shapes
from schema.alarms.rules import Priority

READ = (Role.VIEWER, Scope.ALARMS_READ)
Listener = Annotated[Principal, allow_socket(*READ)]
router = Router("alarms")

LAST = 2**63 - 1


class AlertParameters(FeedParameters):
    priority: list[Priority] = Field([], description="only these; may be repeated")
    rule: str | None = Field(None, max_length=10_000, description="only these rules: names, commas between")
    after: int | None = Field(
        None,
        ge=0,
        le=LAST,
        description="the last cursor received, from where it goes on. Without it, or if too much has happened, what "
        "stands comes first",
    )

    def wishes(self) -> Wishes:
        return Wishes(frozenset(self.priority), self.devices(), some("rule", self.rule))


@router.websocket("/ws/alerts")
async def socket(
    websocket: WebSocket, app: App, listener: Listener, asked: Annotated[AlertParameters, Query()]
) -> None:
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(AlarmFeed, listener, AlarmMember(asked.wishes(), asked.after))
    await serving.socket(app.hub, websocket, listener, admission)


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
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(AlarmFeed, listener, AlarmMember(asked.wishes(), known))
    return EventStream(app.hub, request, listener, admission)
