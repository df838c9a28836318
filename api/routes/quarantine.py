"""Rejected messages, newest first."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.parameters import NoParameters, WindowParameters, once
from api.queries import quarantine as queries
from api.routes import PREFIX
from api.shapes import quarantine as shapes
from schema.reasons import Reason

router = APIRouter(prefix=PREFIX, dependencies=[Depends(once)])
REJECTS = [allow(Role.VIEWER, Scope.DEVICES_READ)]
QUARANTINE_COLUMNS = (
    *("id", "received_at", "device", "topic", "reason", "detail", "content_type", "bytes", "state", "settled_at"),
    "payload",
)


State = Literal["open", "replayed", "discarded"]


class QuarantineParameters(WindowParameters):
    reason: list[Reason] = Field([], description="only these reasons; may be repeated")
    state: list[State] = Field(["open"], description="only in these states; may be repeated")
    device: str | None = Field(None, max_length=2000, description="the device level of the topic, registered or not")
    limit: int = Field(100, ge=1, le=200, description="most messages on a page")


@router.get("/quarantine.csv", include_in_schema=False, dependencies=REJECTS)
@router.get(
    "/quarantine",
    dependencies=REJECTS,
    tags=["quarantine"],
    summary="Rejected messages with the reason, newest first",
    responses=description.DATABASE
    | description.ok(
        shapes.Quarantine,
        "id,received_at,device,topic,reason,…\r\n4711,2026-11-20T07:45:00.000000Z,br-1,…\r\n",
        quarantine={"quarantine": [shapes.QUARANTINED], **description.PAGE},
    ),
)
async def quarantine(request: Request, database: Db, asked: Annotated[QuarantineParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    window, before = asked.window(), [asked.to, queries.LAST_ID]
    if asked.cursor is not None:
        before = cursors.decode(request, asked.cursor, cursors.instant, cursors.number)
    reasons = [str(reason) for reason in dict.fromkeys(asked.reason or Reason)]
    states = list(dict.fromkeys(asked.state))
    found = await queries.quarantine(
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
    responses=description.DATABASE
    | {404: description.DEVICE[404]}
    | description.ok(shapes.Quarantined, None, quarantined=shapes.QUARANTINED),
)
async def quarantined(
    request: Request,
    database: Db,
    number: Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` in the list", examples=[4711])],
    asked: Annotated[NoParameters, Query()],
) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await queries.quarantined(database, number))
