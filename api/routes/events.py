"""Events of devices, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.parameters import DeviceName, WindowParameters, once
from api.queries import devices
from api.queries import events as queries
from api.routes import PREFIX
from api.shapes import events as shapes

router = APIRouter(prefix=PREFIX, dependencies=[Depends(once)])

EVENTS = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]

EVENT_COLUMNS = ("time", "type", "boot", "data", "received_at")


class EventParameters(WindowParameters):
    type: str | None = Field(None, min_length=1, max_length=64, description="only events of this type, like phase")
    limit: int = Field(100, ge=1, le=1000, description="most events on a page")


@router.get("/devices/{device}/events.csv", include_in_schema=False, dependencies=EVENTS)
@router.get(
    "/devices/{device}/events",
    dependencies=EVENTS,
    tags=["events"],
    summary="Events of a device, newest first",
    responses=description.DEVICE
    | description.ok(
        shapes.Events,
        'time,type,boot,data,received_at\r\n2026-11-20T07:45:00.000000Z,phase,7,"{""phase"": ""batch""}",…\r\n',
        events={"events": [shapes.EVENT], **description.PAGE},
    ),
)
async def events(
    request: Request, database: Db, device: DeviceName, asked: Annotated[EventParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    window, before = asked.window(), [asked.to, queries.AFTER_ALL_DIGESTS]
    if asked.cursor is not None:
        before = cursors.decode(request, asked.cursor, cursors.instant, cursors.digest)
    number = await devices.device_id(database, device)
    found = await queries.events(database, number, window, before, kind=asked.type, limit=asked.limit + 1)
    page, following = found[: asked.limit], None
    if len(found) > asked.limit:
        following = cursors.encode(request, *page[-1].key)
    return answers.listing(request, format_, "events", [one.item for one in page], EVENT_COLUMNS, following=following)
