"""Handshakes that wait for a person, and the kill switch of enrollment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.bodies import Order
from api.http.parameters import Words
from api.pages.listing import PageParameters, address, part
from api.pages.page import OrganizationPage, PageRouter, form, is_partial
from api.queries import enrollments as queries
from api.shapes.enrollments import Approval, EnrollmentParameters, EnrollmentState
from schema import times

router = PageRouter()

READ = [allow(Role.OPERATOR, Scope.ENROLLMENT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.ENROLLMENT_WRITE)]
SWITCH = [allow(Role.ADMIN, Scope.ENROLLMENT_WRITE)]
KEY = {"created_at": cursors.instant, "txn": cursors.txn}
ENDED: list[EnrollmentState] = ["challenged", "approved", "provisioning", "granted", "active", "rejected", "expired"]
Txn = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class QueueParameters(PageParameters):
    show: Literal["waiting", "past"] = "waiting"
    serial: str | None = Field(None, max_length=64)


class SwitchForm(Order):
    state: Literal["open", "closed"]
    cell: Words | None = None


@router.get("/enrollment", dependencies=READ)
async def enrollment(page: OrganizationPage, database: Db, asked: Annotated[QueueParameters, Query()]) -> Response:
    states: list[EnrollmentState] = ["awaiting"] if asked.show == "waiting" else ENDED
    wanted = EnrollmentParameters(state=states, serial=asked.serial)
    found = await part(
        page.request,
        asked.cursor,
        KEY,
        (times.LAST, queries.LAST_TXN),
        lambda before, limit: queries.page(database, wanted, before, limit),
    )
    shakes = [(queries.item(row), row["known"], bool(row["blocked"])) for row in found.rows]
    values: dict[str, Any] = {
        "shakes": shakes,
        "following": found.following,
        "asked": asked,
        "free": await queries.free(database),
    }
    if is_partial(page.request):
        return page.show("partials/handshakes.html", **values)
    switches = await queries.switches(database)
    here = address(page.request)
    return page.show("pages/enrollment.html", switches=switches, here="enrollment", address=here, **values)


@router.post("/enrollment/{txn}/approve", dependencies=DECIDE)
async def approve(page: OrganizationPage, database: Db, txn: Txn) -> Response:
    given = await form(page.request, Approval)
    found = await queries.approve(database, txn, given, page.member.who)
    return page.done(f"{found.serial} may enroll, as the device {found.device}.", to="enrollment")


@router.post("/enrollment/{txn}/deny", dependencies=DECIDE)
async def deny(page: OrganizationPage, database: Db, txn: Txn) -> Response:
    given = await form(page.request, Order)
    found = await queries.deny(database, txn, page.member.who, given.why)
    return page.done(f"{found.serial} was denied. It may ask again.", to="enrollment")


@router.post("/enrollment/switch", dependencies=SWITCH)
async def switch(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, SwitchForm)
    await queries.switch(database, given.cell, given.state == "open", page.member.who, given.why)
    return page.done(f"Enrollment is {given.state} now.", to="enrollment")


@router.get("/enrollment/switch", dependencies=READ)
async def switches(page: OrganizationPage, database: Db) -> Response:
    """The switch alone, as it is after somebody has moved it."""
    return page.show("partials/switch.html", switches=await queries.switches(database))
