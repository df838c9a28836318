"""Routes for the log of the shifts: entries, and handovers from one person to another."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, Person, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.queries import shift_log as queries
from api.routes import PREFIX, Router
from api.shapes import shift_log as shapes
from api.shapes.shift_log import NewShiftEntry, ShiftLogParameters

router = Router("shift log")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
ENTRIES = Table(
    name="entries",
    title="ShiftEntries",
    of=shapes.ShiftEntry,
    item=queries.item,
    key={"at": cursors.instant, "entry_id": cursors.number},
)
EntryNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` of an entry", examples=[8])]


@router.table(
    "/shift-log",
    dependencies=READ,
    summary="Entries of the shift log, newest first",
    responses=description.DATABASE | ENTRIES.described(shapes.ENTRY),
)
async def page(request: Request, database: Db, asked: Annotated[ShiftLogParameters, Query()]) -> Response:
    return await ENTRIES.page(
        request,
        asked,
        lambda before, limit: queries.page(database, asked, before, limit),
        first=(asked.to, queries.LAST_ID),
    )


@router.post(
    "/shift-log",
    dependencies=WRITE,
    status_code=201,
    summary="Write into the shift log; with `handed_to`, hand the shift over to somebody",
    responses=description.CHANGE | description.located(shapes.ShiftEntry, entry=shapes.ENTRY),
    openapi_extra=described(NewShiftEntry),
)
async def add(request: Request, database: Db, member: Member) -> Response:
    made = await queries.add(database, await order(request, NewShiftEntry), member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{PREFIX}/shift-log/{made.id}"
    return answer


@router.get(
    "/shift-log/{entry}",
    dependencies=READ,
    summary="One entry of the shift log",
    responses=description.THING | description.ok(shapes.ShiftEntry, entry=shapes.ENTRY),
)
async def one(database: Db, entry: EntryNumber, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, entry))


@router.post(
    "/shift-log/{entry}/accept",
    dependencies=WRITE,
    summary="Accept a shift that was handed over to you",
    responses=description.CHANGE
    | description.ok(shapes.ShiftEntry, entry=shapes.ENTRY | {"accepted_at": "2026-11-20T22:05:00.000000Z"}),
)
async def accept(database: Db, person: Person, entry: EntryNumber) -> Response:
    return answers.json(await queries.accept(database, entry, person.who))
