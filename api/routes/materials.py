"""Routes for records of material, their sums, and the balance of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.http.parameters import DeviceName, NoParameters
from api.queries import devices, material_balance, run_times
from api.queries import materials as queries
from api.routes import Router
from api.shapes import materials as shapes
from api.shapes.materials import (
    BalanceParameters,
    Material,
    MaterialBalance,
    MaterialChange,
    MaterialParameters,
    MaterialSum,
    NewMaterial,
    SumParameters,
)

router = Router("materials")

READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
MATERIALS = Table(
    name="materials",
    of=Material,
    item=queries.item,
    key={"begins": cursors.instant, "number": cursors.number},
)
VERSIONS = Table(name="versions", title="MaterialVersions", of=Material, item=queries.item)
SUMS = Table(name="sums", title="MaterialSums", of=MaterialSum, item=lambda row: row)
Number = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`number` in the list", examples=[31])]


@router.table(
    "/materials",
    dependencies=READ,
    summary="What went into devices and out of them, newest first",
    description="The newest version of each record; docs/samples.md says what a version is.",
    responses=description.DATABASE | MATERIALS.described(shapes.MATERIAL),
)
async def page(request: Request, database: Db, asked: Annotated[MaterialParameters, Query()]) -> Response:
    question = await run_times.placed(database, asked, asked.device)

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, question, before, limit)

    return await MATERIALS.page(request, asked, rows, first=(question.span.end, queries.LAST_ID))


@router.post(
    "/materials",
    dependencies=WRITE,
    status_code=201,
    summary="Record what went into a device or out of it",
    responses=description.CHANGE | description.located(Material, material=shapes.MATERIAL),
    openapi_extra=described(NewMaterial),
)
async def add(request: Request, database: Db, member: Member) -> Response:
    made = await queries.add(database, await order(request, NewMaterial), member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{request.url.path}/{made.number}"
    return answer


@router.get(
    "/materials/{number}",
    dependencies=READ,
    summary="The newest version of a record of material",
    responses=description.THING | description.ok(Material, material=shapes.MATERIAL),
)
async def one(database: Db, number: Number, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, number))


@router.table(
    "/materials/{number}/versions",
    dependencies=READ,
    summary="All versions of a record of material, the newest first",
    responses=description.THING | VERSIONS.described(shapes.MATERIAL),
)
async def versions(request: Request, database: Db, number: Number, asked: Annotated[NoParameters, Query()]) -> Response:
    found = await queries.versions(database, number)
    return VERSIONS.answer(request, answers.chosen(request, asked.format), found)


@router.patch(
    "/materials/{number}",
    dependencies=WRITE,
    summary="Correct a record of material: a new version",
    responses=description.CHANGE | description.ok(Material, material=shapes.MATERIAL) | description.CHANGED,
    openapi_extra=described(MaterialChange),
)
async def change(request: Request, database: Db, member: Member, number: Number) -> Response:
    return answers.json(await queries.change(database, number, await order(request, MaterialChange), member.who))


@router.post(
    "/materials/{number}/withdraw",
    dependencies=WRITE,
    summary="Withdraw a record of material",
    description="Lists and sums leave it out; its versions and the audit trail keep it.",
    responses=description.CHANGE
    | description.ok(Material, material=shapes.MATERIAL | {"withdrawn": True, "act": "withdraw"}),
    openapi_extra=described(Order),
)
async def withdraw(request: Request, database: Db, member: Member, number: Number) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.withdraw(database, number, member.who, given.why))


@router.table(
    "/material-sums",
    dependencies=READ,
    summary="What was recorded of each material of each device, in kg and L",
    responses=description.DATABASE | SUMS.described(shapes.SUM),
)
async def sums(request: Request, database: Db, asked: Annotated[SumParameters, Query()]) -> Response:
    if asked.device is not None:
        await devices.device_id(database, asked.device)
    found = await material_balance.sums(database, await run_times.placed(database, asked, asked.device))
    return SUMS.answer(request, answers.chosen(request, asked.format), found)


@router.get(
    "/devices/{device}/material-balance",
    dependencies=READ,
    summary="What went in and out of a device in a time, by records, weight and feeds",
    responses=description.DEVICE | description.ok(MaterialBalance, balance=shapes.BALANCE),
)
async def balance(
    request: Request, database: Db, device: DeviceName, asked: Annotated[BalanceParameters, Query()]
) -> Response:
    answers.json_only(request, asked.format)
    await devices.device_id(database, device)
    question = await run_times.placed(database, asked, device)
    return answers.json(await material_balance.balance(database, device, question))
