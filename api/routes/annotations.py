"""Routes for annotations: notes about a time of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import Field

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.parameters import DeviceName, ListParameters, ReasonParameter
from api.http.run_times import Moment, RunSpanParameters
from api.queries import annotations as queries
from api.queries import devices, run_times
from api.routes import Router
from api.shapes import annotations as shapes
from api.shapes.annotations import NewAnnotation
from schema import times

router = Router("annotations")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]

ANNOTATIONS = Table(
    name="annotations",
    of=shapes.Annotation,
    item=queries.item,
    key={"begins": cursors.instant, "annotation_id": cursors.number},
)
Number = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` in the list", examples=[12])]


class AnnotationParameters(RunSpanParameters, ListParameters):
    from_: Moment = Field(
        times.FIRST, alias="from", description="those that end then or later; without it from the beginning"
    )
    to: Moment = Field(times.LAST, description="those that begin before; without it to the newest")


@router.table(
    "/devices/{device}/annotations",
    dependencies=READ,
    summary="Annotations of a device that overlap with a time, newest first",
    responses=description.DEVICE | ANNOTATIONS.described(shapes.ANNOTATION),
)
async def page(
    request: Request, database: Db, device: DeviceName, asked: Annotated[AnnotationParameters, Query()]
) -> Response:
    number = await devices.device_id(database, device)
    time = (await run_times.placed(database, asked, device)).span

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, number, time, before, limit)

    return await ANNOTATIONS.page(request, asked, rows, first=(time.end, queries.LAST_ID))


@router.post(
    "/devices/{device}/annotations",
    dependencies=WRITE,
    status_code=201,
    summary="Note something about a time of a device",
    responses=description.CHANGE | description.located(shapes.Annotation, annotation=shapes.ANNOTATION),
    openapi_extra=described(NewAnnotation),
)
async def annotate(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
    given = await order(request, NewAnnotation)
    made = await queries.add(database, device, (given.begins, given.ends), given.text, member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{request.url.path}/{made.id}"
    return answer


@router.get(
    "/devices/{device}/annotations/{number}",
    dependencies=READ,
    summary="One annotation, also one that was withdrawn",
    responses=description.THING | description.ok(shapes.Annotation, annotation=shapes.ANNOTATION),
)
async def one(database: Db, device: DeviceName, number: Number, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, device, number))


@router.delete(
    "/devices/{device}/annotations/{number}",
    dependencies=WRITE,
    summary="Withdraw an annotation",
    description="It is not shown any more; the audit trail keeps it.",
    responses=description.THING
    | description.ok(shapes.Annotation, annotation=shapes.ANNOTATION | {"withdrawn_at": "2026-11-20T08:45:00.000000Z"}),
)
async def withdraw(
    database: Db, member: Member, device: DeviceName, number: Number, asked: Annotated[ReasonParameter, Query()]
) -> Response:
    return answers.json(await queries.withdraw(database, device, number, member.who, asked.why))
