"""Routes for holds, which keep data from being dropped, however old they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import described, order
from api.http.parameters import ListParameters, ReasonParameter
from api.queries import retention as queries
from api.routes import Router
from api.shapes import retention as shapes
from api.shapes.retention import NewHold

router = Router("retention")

READS = allow(Role.ADMIN, Scope.ORGANIZATION_READ)
CHANGES = allow(Role.ADMIN, Scope.ORGANIZATION_WRITE)

LAST_ID = 2**31 - 1
HOLDS = Table(name="holds", of=shapes.Hold, key={"hold_id": cursors.small}, first=(LAST_ID,))

Id = Annotated[int, Path(ge=1, le=LAST_ID, description="number in the list", examples=[shapes.HOLD["hold_id"]])]


@router.table(
    "/retention/holds",
    summary="Holds, newest first; those that were ended too. The organization that runs the installation sees all",
    responses=description.DATABASE | HOLDS.described(shapes.HOLD),
    dependencies=[READS],
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await HOLDS.page(request, asked, lambda before, limit: queries.holds(database, before[0], limit))


@router.post(
    "/retention/holds",
    status_code=201,
    summary="Make a hold: keep the data of a span of time from being dropped, however old they are",
    description="What the organization's devices, or the one named, have sent of that time stays, also when a device "
    "is given away. What was dropped before does not come back: see `dropped_until`.",
    responses=description.CHANGE | description.made(shapes.Hold, hold=shapes.HOLD),
    openapi_extra=described(NewHold),
    dependencies=[CHANGES],
)
async def make(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, NewHold)
    span = given.begins, given.ends
    return answers.json(await queries.make(database, given.device, span, member.who, given.why), 201)


@router.delete(
    "/retention/holds/{hold_id}",
    status_code=204,
    summary="End a hold",
    description="The list and the audit trail keep it. What is old by then is dropped within an hour.",
    responses=description.CHANGE | description.NOTHING,
    dependencies=[CHANGES],
)
async def end(database: Db, member: Member, hold_id: Id, asked: Annotated[ReasonParameter, Query()]) -> Response:
    await queries.end(database, hold_id, member.who, asked.why)
    return Response(status_code=204)
