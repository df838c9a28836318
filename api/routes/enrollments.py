"""Routes for handshakes and for the kill switch of enrollment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.http.parameters import NoParameters
from api.queries import enrollments as queries
from api.routes import Router
from api.shapes import enrollments as shapes
from api.shapes.enrollments import Approval, Switch
from schema import times

router = Router("enrollment")

READ = [allow(Role.OPERATOR, Scope.ENROLLMENT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.ENROLLMENT_WRITE)]
SWITCH = [allow(Role.ADMIN, Scope.ENROLLMENT_WRITE)]

ENROLLMENTS = Table(
    name="enrollments",
    of=shapes.Enrollment,
    item=queries.item,
    key={"created_at": cursors.instant, "txn": cursors.txn},
    first=(times.LAST, queries.LAST_TXN),
)
CELLS = Table(name="cells", title="Switches", of=shapes.CellAnswer)
Txn = Annotated[
    str, Path(pattern="^[0-9a-f]{32}$", description="the transaction number", examples=[shapes.ENROLLMENT["txn"]])
]


@router.table(
    "/enrollments",
    dependencies=READ,
    summary="Handshakes, newest first",
    responses=description.DATABASE | ENROLLMENTS.described(shapes.ENROLLMENT),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.EnrollmentParameters, Query()]) -> Response:
    return await ENROLLMENTS.page(request, asked, lambda before, limit: queries.page(database, asked, before, limit))


@router.get(
    "/enrollments/{txn}",
    dependencies=READ,
    summary="One handshake",
    responses=description.THING | description.ok(shapes.Enrollment, enrollment=shapes.ENROLLMENT),
)
async def one(database: Db, txn: Txn, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, txn))


@router.post(
    "/enrollments/{txn}/approve",
    dependencies=DECIDE,
    summary="Approve a handshake that awaits approval",
    responses=description.CHANGE
    | description.ok(shapes.Enrollment, enrollment=shapes.ENROLLMENT | {"state": "approved"}),
    openapi_extra=described(Approval),
)
async def approve(request: Request, database: Db, member: Member, txn: Txn) -> Response:
    given = await order(request, Approval)
    return answers.json(await queries.approve(database, txn, given, member.who))


@router.post(
    "/enrollments/{txn}/deny",
    dependencies=DECIDE,
    summary="Deny a handshake",
    responses=description.CHANGE
    | description.ok(shapes.Enrollment, enrollment=shapes.ENROLLMENT | {"state": "rejected", "reason": "denied"}),
    openapi_extra=described(Order),
)
async def deny(request: Request, database: Db, member: Member, txn: Txn) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.deny(database, txn, member.who, given.why))


@router.table(
    "/enrollment",
    dependencies=READ,
    summary="Whether handshakes work, in each cell",
    responses=description.DATABASE | CELLS.described(shapes.CELL),
)
async def switches(request: Request, database: Db, asked: Annotated[NoParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    return CELLS.answer(request, format_, await queries.switches(database))


@router.put(
    "/enrollment",
    dependencies=SWITCH,
    summary="The kill switch: let handshakes work, or none",
    responses=description.CHANGE | CELLS.described(shapes.CELL, csv=False),
    openapi_extra=described(Switch),
)
async def switch(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, Switch)
    await queries.switch(database, given.cell, given.open, member.who, given.why)
    return CELLS.answer(request, "json", await queries.switches(database))
