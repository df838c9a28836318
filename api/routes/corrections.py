"""Routes for corrections of samples: the samples stay as they were sent, and what is put over them is a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.http.parameters import DeviceName, known
from api.http.preconditions import IfMatch
from api.queries import corrections as queries
from api.queries import devices, run_times
from api.queries.corrections import CorrectionOrder
from api.routes import Router
from api.shapes import corrections as shapes
from api.shapes.corrections import CorrectionParameters, NewCorrection

router = Router("corrections")

READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
WRITE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
CORRECTIONS = Table(
    name="corrections",
    of=shapes.CorrectionAnswer,
    item=queries.item,
    key={"correction_id": cursors.number},
    first=(queries.LAST_ID,),
)
Number = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`correction` in the list", examples=[3])]
DETAILED = description.versioned(shapes.CorrectionDetail, correction=shapes.DETAIL)


@router.table(
    "/devices/{device}/corrections",
    dependencies=READ,
    summary="Corrections of samples of a device that overlap with a time, each by its newest version, newest first",
    responses=description.DEVICE | CORRECTIONS.described(shapes.CORRECTION),
)
async def page(
    request: Request, database: Db, device: DeviceName, asked: Annotated[CorrectionParameters, Query()]
) -> Response:
    number, as_of = await devices.device_id(database, device), known(asked.as_of)
    time = (await run_times.placed(database, asked, device)).span
    return await CORRECTIONS.page(
        request,
        asked,
        lambda before, limit: queries.page(
            database, number, time, before[0], limit, as_of=as_of, channel=asked.channel
        ),
    )


@router.post(
    "/devices/{device}/corrections",
    dependencies=WRITE,
    status_code=201,
    summary="Correct samples of a channel in a time, or one sample",
    description="What was sent stays. Of corrections that overlap the one that was made last holds, and is put over "
    "what was sent. docs/corrections.md says which answers have it.",
    responses=description.CHANGE | description.located(shapes.CorrectionDetail, correction=shapes.DETAIL),
    openapi_extra=described(NewCorrection),
)
async def make(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
    made = await queries.put(database, CorrectionOrder(member.who, device), await order(request, NewCorrection))
    answer = preconditions.tagged(made, 201)
    answer.headers["Location"] = f"{request.url.path}/{made.correction}"
    return answer


@router.get(
    "/devices/{device}/corrections/{correction}",
    dependencies=READ,
    summary="One correction with all its versions",
    responses=description.THING | DETAILED,
)
async def one(database: Db, device: DeviceName, correction: Number, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, device, correction))


@router.put(
    "/devices/{device}/corrections/{correction}",
    dependencies=WRITE,
    summary="Replace a correction by a new version of it",
    description="The versions before stay. It counts as made now: it holds where it overlaps with others.",
    responses=description.CHANGE | description.CHANGED | DETAILED,
    openapi_extra=described(NewCorrection),
)
async def change(
    request: Request, database: Db, member: Member, device: DeviceName, correction: Number, *, if_match: IfMatch = None
) -> Response:
    meant = CorrectionOrder(member.who, device, correction, preconditions.wanted(if_match))
    return preconditions.tagged(await queries.put(database, meant, await order(request, NewCorrection)))


@router.post(
    "/devices/{device}/corrections/{correction}/withdraw",
    dependencies=WRITE,
    summary="Withdraw a correction: it holds no more",
    description="Its versions stay, and `as_of` reads what it was.",
    responses=description.CHANGE | description.CHANGED | DETAILED,
    openapi_extra=described(Order),
)
async def withdraw(
    request: Request, database: Db, member: Member, device: DeviceName, correction: Number, *, if_match: IfMatch = None
) -> Response:
    meant = CorrectionOrder(member.who, device, correction, preconditions.wanted(if_match))
    return preconditions.tagged(await queries.withdraw(database, meant, (await order(request, Order)).why))
