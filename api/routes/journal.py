"""Device events and the quarantine, newest first, read-only."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from api import answers, cursors, problems, times
from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.models import common as models
from api.parameters import Cursor, DeviceName, Instant, NoParameters, Parameters, once
from api.problems import BadParameter
from api.queries import devices, journal
from api.routes import PREFIX
from schema.reasons import Reason

router = APIRouter(prefix=PREFIX, dependencies=[Depends(once)])

EVENTS = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
REJECTS = [allow(Role.VIEWER, Scope.DEVICES_READ)]

EVENT_COLUMNS = ("time", "type", "boot", "data", "received_at")
QUARANTINE_COLUMNS = (
    *("id", "received_at", "device", "topic", "reason", "detail", "content_type", "bytes", "state", "settled_at"),
    "payload",
)


State = Literal["open", "replayed", "discarded"]


class WindowParameters(Parameters):
    from_: Instant = Field(times.FIRST, alias="from", description="first instant; without it from the beginning")
    to: Instant = Field(times.LAST, description="end, not part of it; without it to the newest")
    cursor: Cursor = None

    def window(self) -> journal.Window:
        if self.from_ >= self.to:
            raise BadParameter("from", "must be before `to`")
        return journal.Window(self.from_, self.to)


class EventParameters(WindowParameters):
    type: str | None = Field(None, min_length=1, max_length=64, description="only events of this type, like phase")
    limit: int = Field(100, ge=1, le=1000, description="most events on a page")


class QuarantineParameters(WindowParameters):
    reason: list[Reason] = Field([], description="only these reasons; may be repeated")
    state: list[State] = Field(["open"], description="only in these states; may be repeated")
    device: str | None = Field(None, max_length=2000, description="the device level of the topic, registered or not")
    limit: int = Field(100, ge=1, le=200, description="most messages on a page")


@router.get("/devices/{device}/events.csv", include_in_schema=False, dependencies=EVENTS)
@router.get(
    "/devices/{device}/events",
    dependencies=EVENTS,
    tags=["events"],
    summary="Events of a device, newest first",
    responses=problems.DEVICE
    | models.ok(
        models.Events,
        'time,type,boot,data,received_at\r\n2026-11-20T07:45:00.000000Z,phase,7,"{""phase"": ""batch""}",…\r\n',
        events={"events": [models.EVENT], **models.PAGE},
    ),
)
async def events(
    request: Request, database: Db, device: DeviceName, asked: Annotated[EventParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    window, before = asked.window(), [asked.to, journal.AFTER_ALL_DIGESTS]
    if asked.cursor is not None:
        before = cursors.decode(request, asked.cursor, cursors.instant, cursors.digest)
    number = await devices.device_id(database, device)
    found = await journal.events(database, number, window, before, kind=asked.type, limit=asked.limit + 1)
    page, following = found[: asked.limit], None
    if len(found) > asked.limit:
        following = cursors.encode(request, *page[-1].key)
    return answers.listing(request, format_, "events", [one.item for one in page], EVENT_COLUMNS, following=following)


@router.get("/quarantine.csv", include_in_schema=False, dependencies=REJECTS)
@router.get(
    "/quarantine",
    dependencies=REJECTS,
    tags=["quarantine"],
    summary="Rejected messages with the reason, newest first",
    responses=problems.DATABASE
    | models.ok(
        models.Quarantine,
        "id,received_at,device,topic,reason,…\r\n4711,2026-11-20T07:45:00.000000Z,br-1,…\r\n",
        quarantine={"quarantine": [models.QUARANTINED], **models.PAGE},
    ),
)
async def quarantine(request: Request, database: Db, asked: Annotated[QuarantineParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    window, before = asked.window(), [asked.to, journal.LAST_ID]
    if asked.cursor is not None:
        before = cursors.decode(request, asked.cursor, cursors.instant, cursors.number)
    reasons = [str(reason) for reason in dict.fromkeys(asked.reason or Reason)]
    states = list(dict.fromkeys(asked.state))
    found = await journal.quarantine(
        database, reasons, states, window, before, device=asked.device, limit=asked.limit + 1
    )
    page, following = found[: asked.limit], None
    if len(found) > asked.limit:
        following = cursors.encode(request, *page[-1].key)
    items = [one.item for one in page]
    return answers.listing(request, format_, "quarantine", items, QUARANTINE_COLUMNS, following=following)


@router.get(
    "/quarantine/{number}",
    dependencies=REJECTS,
    tags=["quarantine"],
    summary="One rejected message with all of its payload",
    responses=problems.DATABASE
    | {404: problems.DEVICE[404]}
    | models.ok(models.Quarantined, None, quarantined=models.QUARANTINED),
)
async def quarantined(
    request: Request,
    database: Db,
    number: Annotated[int, Path(ge=1, le=journal.LAST_ID, description="`id` in the list", examples=[4711])],
    asked: Annotated[NoParameters, Query()],
) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await journal.quarantined(database, number))
