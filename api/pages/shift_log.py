"""The shift log: what a shift tells the next one, and handovers that somebody accepts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, Person, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.pages.listing import PageSpan, address, part
from api.pages.page import OrganizationPage, PageRouter, form, is_partial
from api.queries import plant
from api.queries import shift_log as queries
from api.shapes.shift_log import NewShiftEntry, ShiftLogParameters

router = PageRouter()
READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
EntryNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID)]


class ShiftLogPageParameters(PageSpan):
    location: str | None = Field(None, max_length=200)
    device: str | None = Field(None, max_length=64)


@router.get("/shift-log", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[ShiftLogPageParameters, Query()]) -> Response:
    given = asked.model_dump(include={"location", "device"}, exclude_none=True) | asked.said()
    wanted = ShiftLogParameters.model_validate(given)
    found = await part(
        page.request,
        asked.cursor,
        {"at": cursors.instant, "entry_id": cursors.number},
        (asked.to, queries.LAST_ID),
        lambda before, limit: queries.page(database, wanted, before, limit),
    )
    me = page.member.who.split(" ")[0]
    values: dict[str, Any] = {
        "entries": [queries.item(row) for row in found.rows],
        "following": found.following,
        "me": me,
    }
    if is_partial(page.request):
        return page.show("partials/shift_log.html", **values)
    _, locations = await plant.choices(database)
    values |= {"asked": asked, "locations": locations, "address": address(page.request)}
    return page.show("pages/shift_log.html", here="shift-log", **values)


@router.post("/shift-log", dependencies=WRITE)
async def add(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, NewShiftEntry, devices=",")
    await queries.add(database, given, page.member.who)
    said = f"The shift is handed to {given.handed_to}." if given.handed_to else "The entry is written."
    return page.done(said, to="shift-log")


@router.post("/shift-log/{entry}/accept", dependencies=WRITE)
async def accept(page: OrganizationPage, database: Db, person: Person, entry: EntryNumber) -> Response:
    await queries.accept(database, entry, person.who)
    return page.done("You have accepted the shift.", to="shift-log")
