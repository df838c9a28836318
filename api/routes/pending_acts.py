"""Routes for acts that wait for a second person: to see them, to confirm them by a signature, to refuse them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, Person, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.queries import pending_acts as queries
from api.routes import Router
from api.services import App
from api.shapes import pending_acts as shapes
from api.shapes.pending_acts import Confirmation, PendingActParameters
from api.signing import Signer

router = Router("second person")

READ = [allow(Role.OPERATOR, Scope.AUDIT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
ActNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` of an act", examples=[12])]
ACTS = Table(
    name="acts",
    title="PendingActs",
    of=shapes.PendingActAnswer,
    item=queries.item,
    key={"act_id": cursors.number},
    first=(queries.LAST_ID,),
)
ACT = description.ok(shapes.PendingActAnswer, act=shapes.PENDING)
DONE = description.ok(shapes.PendingActAnswer, act=shapes.PENDING | {"state": "done", "decided_by": "eva@example.org"})


@router.table(
    "/pending-acts",
    dependencies=READ,
    summary="Acts that wait for a second person, and those that were decided, newest first",
    responses=description.DATABASE | ACTS.described(shapes.PENDING),
)
async def page(request: Request, database: Db, asked: Annotated[PendingActParameters, Query()]) -> Response:
    states = asked.state or None
    return await ACTS.page(request, asked, lambda before, limit: queries.page(database, states, before[0], limit))


@router.get(
    "/pending-acts/{number}",
    dependencies=READ,
    summary="One act that waits for a second person, or has waited",
    responses=description.THING | ACT,
)
async def one(database: Db, number: ActNumber, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, number))


@router.post(
    "/pending-acts/{number}/confirm",
    dependencies=DECIDE,
    summary="Confirm what another person asks for, by a signature: it is done",
    description="Who asked for it cannot confirm it. If what it would change was changed since, nothing is done: 412.",
    responses=description.CHANGE | description.CHANGED | DONE,
    openapi_extra=described(Confirmation),
)
async def confirm(request: Request, app: App, database: Db, person: Person, *, number: ActNumber) -> Response:
    given = await order(request, Confirmation)
    return answers.json(await Signer(request, app, database, person).confirm(number, given))


@router.post(
    "/pending-acts/{number}/refuse",
    dependencies=DECIDE,
    summary="Refuse what another person asks for, or withdraw what you have asked for",
    responses=description.CHANGE | DONE,
    openapi_extra=described(Order),
)
async def refuse(request: Request, database: Db, member: Member, number: ActNumber) -> Response:
    return answers.json(await queries.refuse(database, number, member.who, (await order(request, Order)).why))
