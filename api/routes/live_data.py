"""The live feed of telemetry: a WebSocket for programs and pages, server-sent events for curl.

A feed begins with the newest values; then come the devices that have changed, at a rate that the client chooses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.access import guard
from api.access.guard import allow, allow_socket
from api.access.roles import Principal, Role, Scope
from api.http import description
from api.http.parameters import RateParameters, some
from api.live import serving
from api.live.board import Wants
from api.live.boards import BoardMember
from api.live.serving import MEDIA_TYPE, EventStream
from api.live.telemetry import TelemetryFeed
from api.queries import run_times
from api.routes import PREFIX, Router
from api.services import App
from api.shapes import live_data as shapes

READ = (Role.VIEWER, Scope.TELEMETRY_READ)
Listener = Annotated[Principal, allow_socket(*READ)]
router = Router("live", prefix="")


class LiveDataParameters(RateParameters):
    channel: list[str] = Field(
        [], description="channel name, as it is, also of a computed one; may be repeated. None: all that are sent"
    )
    channels: str | None = Field(None, max_length=20_000, description="channel names with commas between")

    def member(self) -> BoardMember:
        return BoardMember(Wants(self.devices(), some("channels", self.channels, self.channel)), self.rate)


@router.websocket("/ws/live-data")
@router.websocket(f"{PREFIX}/ws/live-data")
async def socket(
    websocket: WebSocket, app: App, listener: Listener, asked: Annotated[LiveDataParameters, Query()]
) -> None:
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(TelemetryFeed, listener, asked.member())
    await serving.socket(app.hub, websocket, listener, admission)


@router.get(
    f"{PREFIX}/live-data",
    dependencies=[allow(*READ)],
    summary="Newest values as they are committed, as server-sent events",
    description="First `snapshot`: the newest value of each channel, with units, in parts (`more`: another one "
    "follows); `unknown` are names that no device has. Then `changes`: devices that have new frames, each once, with "
    "its newest values; `skipped` says how many updates came before them since the last message. `quality` has what is "
    "not good, `times` the channels whose time is not that of the device; `units` come again when they change, "
    "with `computed`, which of the channels are; those with `rate` and `total` are left out; and "
    "`gone` is a device that you have no more. `heartbeat` comes after 15 s without anything else: what was committed "
    "until `committed_until` has been read. `trouble`, `recovered` and `end` are as for alarms. There is no cursor: "
    "connect again for a new snapshot, and read what lies between as telemetry. The same as messages of a WebSocket: "
    "`/api/v1/ws/live-data`, with the same parameters.",
    responses=description.DATABASE
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": shapes.STREAM}}}},
)
async def stream(
    request: Request, app: App, listener: guard.Member, asked: Annotated[LiveDataParameters, Query()]
) -> StreamingResponse:
    asked = await run_times.placed_feed(app.server, listener, asked)
    admission = app.hub.member(TelemetryFeed, listener, asked.member())
    return EventStream(app.hub, request, listener, admission)
