"""The live feed of devices' presence: a WebSocket for programs and pages, server-sent events for curl."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, WebSocket
from fastapi.responses import StreamingResponse

from api.access import guard
from api.access.guard import allow, allow_socket
from api.access.roles import Principal, Role, Scope
from api.http import description
from api.http.parameters import RateParameters
from api.live import serving
from api.live.board import Wants
from api.live.boards import BoardMember
from api.live.presence import PresenceFeed
from api.live.serving import MEDIA_TYPE, EventStream
from api.queries import run_times
from api.routes import PREFIX, Router
from api.services import App
from api.shapes import device_status as shapes

READ = (Role.VIEWER, Scope.DEVICES_READ)
Listener = Annotated[Principal, allow_socket(*READ)]
router = Router("live", prefix="")


def _member(asked: RateParameters) -> BoardMember:
    return BoardMember(Wants(asked.devices()), asked.rate)


@router.websocket("/ws/device-status")
@router.websocket(f"{PREFIX}/ws/device-status")
async def socket(websocket: WebSocket, app: App, listener: Listener, asked: Annotated[RateParameters, Query()]) -> None:
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(PresenceFeed, listener, _member(asked))
    await serving.socket(app.hub, websocket, listener, admission)


@router.get(
    f"{PREFIX}/device-status",
    dependencies=[allow(*READ)],
    summary="Devices that come, go, start anew or fall silent, as server-sent events",
    description="First `snapshot`: how each device is doing, in parts. Then `changes`: devices whose presence, boot, "
    "firmware, state or freshness has changed, each once, with how it is doing now. That a device was heard again is "
    "no change: `last_seen` is of the message's time. All else is as for newest values. The same as messages of a "
    "WebSocket: `/api/v1/ws/device-status`, with the same parameters.",
    responses=description.DATABASE
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": shapes.STREAM}}}},
)
async def stream(
    request: Request, app: App, listener: guard.Member, asked: Annotated[RateParameters, Query()]
) -> StreamingResponse:
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(PresenceFeed, listener, _member(asked))
    return EventStream(app.hub, request, listener, admission)
