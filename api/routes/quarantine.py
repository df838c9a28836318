"""Routes for the quarantine: rejected messages, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.queries import quarantine as queries
from api.routes import Router
from api.shapes import quarantine as shapes

router = Router("quarantine", allow(Role.VIEWER, Scope.DEVICES_READ))
QUARANTINE = Table(
    name="quarantine",
    of=shapes.Quarantined,
    item=queries.item,
    key={"received_at": cursors.instant, "quarantine_id": cursors.number},
)


@router.table(
    "/quarantine",
    summary="Rejected messages with the reason, newest first",
    responses=description.DATABASE | QUARANTINE.described(shapes.QUARANTINED),
)
async def quarantine(
    request: Request, database: Db, asked: Annotated[shapes.QuarantineParameters, Query()]
) -> Response:
    return await QUARANTINE.page(
        request,
        asked,
        lambda before, limit: queries.quarantine(database, asked, before, limit),
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
