"""Rejected messages, newest first."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.parameters import ListParameters, SpanParameters
from api.queries import quarantine as queries
from api.routes import Router
from api.shapes import quarantine as shapes
from schema.reasons import Reason

router = Router("quarantine", allow(Role.VIEWER, Scope.DEVICES_READ))
QUARANTINE = Table(
    name="quarantine",
    of=shapes.Quarantined,
    item=queries.item,
    key={"received_at": cursors.instant, "quarantine_id": cursors.number},
)

State = Literal["open", "replayed", "discarded"]


class QuarantineParameters(SpanParameters, ListParameters):
    reason: list[Reason] = Field([], description="only these reasons; may be repeated")
    state: list[State] = Field(["open"], description="only in these states; may be repeated")
    device: str | None = Field(None, max_length=2000, description="the device level of the topic, registered or not")
    limit: int = Field(100, ge=1, le=200, description="most messages on a page")


@router.table(
    "/quarantine",
    summary="Rejected messages with the reason, newest first",
    responses=description.DATABASE | QUARANTINE.described(shapes.QUARANTINED),
)
async def quarantine(request: Request, database: Db, asked: Annotated[QuarantineParameters, Query()]) -> Response:
    window = asked.span()
    reasons = [str(reason) for reason in dict.fromkeys(asked.reason or Reason)]
    states = list(dict.fromkeys(asked.state))
    return await QUARANTINE.page(
        request,
        asked,
        lambda before, limit: queries.quarantine(
            database, reasons, states, window, before, device=asked.device, limit=limit
        ),
        first=(asked.to, queries.LAST_ID),
    )


@router.get(
    "/quarantine/{number}",
    summary="One rejected message with all of its payload",
    responses=description.DATABASE
    | {404: description.DEVICE[404]}
    | description.ok(shapes.Quarantined, quarantined=shapes.QUARANTINED),
)
async def quarantined(
    database: Db,
    number: Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` in the list", examples=[4711])],
    _: JsonOnly,
) -> Response:
    return answers.json(await queries.quarantined(database, number))
