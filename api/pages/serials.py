"""Serials whose controllers may enroll by themselves: the list, additions, imports."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.bodies import DeviceText, Order, OrganizationName, body
from api.http.parameters import SerialNumber, Words
from api.pages.listing import PageParameters, address, part
from api.pages.page import OrganizationPage, PageRouter, form, is_partial, parsed
from api.queries import serials as queries
from api.shapes.serials import SerialParameters
from schema import serials
from schema.serials import SerialRow

router = PageRouter()

READ = [allow(Role.OPERATOR, Scope.ENROLLMENT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.ENROLLMENT_WRITE)]
BY_HAND = "by hand"
"""The import that single serials are added to."""
MOST_FORM_BYTES = 3 * serials.MOST_BYTES + 4096
"""A file as a field of a form, in which some signs take three bytes."""


class SerialPageParameters(PageParameters):
    q: str | None = Field(None, max_length=100)
    import_: str | None = Field(None, alias="import", max_length=1000)


class SerialForm(Order):
    serial: DeviceText
    device: DeviceText | None = None
    claim_key: str = Field("", max_length=100)
    organization: OrganizationName | None = None


class SerialImportForm(Order):
    name: Words
    rows: str
    quota: int | None = Field(None, ge=0, lt=2**31)
    organization: OrganizationName | None = None


@router.get("/enrollment/serials", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[SerialPageParameters, Query()]) -> Response:
    wanted = SerialParameters.model_validate({"import": asked.import_, "q": asked.q})
    found = await part(
        page.request,
        asked.cursor,
        {"serial": cursors.device},
        ("",),
        lambda after, limit: queries.serials(database, wanted, after[0], limit),
    )
    values: dict[str, Any] = {
        "serials": [queries.item(row) for row in found.rows],
        "following": found.following,
        "asked": asked,
        "most_bytes": serials.MOST_BYTES,
        "most_rows": serials.MOST_ROWS,
    }
    if is_partial(page.request):
        return page.show("partials/serials.html", **values)
    return page.show("pages/serials.html", here="enrollment", address=address(page.request), **values)


@router.post("/enrollment/serials/add", dependencies=DECIDE)
async def add(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, SerialForm)
    cells = {"serial": given.serial, "device": given.device or "", "claim_key": given.claim_key}
    with queries.refusals():
        rows = serials.checked([(1, cells)])
    batch = serials.SerialBatch(BY_HAND, organization=given.organization)
    stored = await queries.import_(database, rows, batch, page.member.who, given.why)
    said = f"{given.serial} may enroll." if stored.new else f"{given.serial} is known already, and stays as it is."
    return page.done(said, to="enrollment/serials")


@router.post("/enrollment/serials/import", dependencies=DECIDE)
async def import_(page: OrganizationPage, database: Db) -> Response:
    content = await body(page.request, MOST_FORM_BYTES)
    with queries.refusals():
        given, rows = await asyncio.to_thread(_import, content)
    batch = serials.SerialBatch(given.name, given.quota, given.organization)
    stored = await queries.import_(database, rows, batch, page.member.who, given.why)
    said = f"New serials: {stored.new}; known already: {stored.known}."
    if stored.keys_not_kept:
        said += f" {stored.keys_not_kept} claim keys follow from a master key: they were neither checked nor kept."
    return page.done(said, to="enrollment/serials")


def _import(content: bytes) -> tuple[SerialImportForm, list[SerialRow]]:
    """Return the form, and the rows in it. Raises ImportRefused, BadParameter."""
    given = parsed(content, SerialImportForm)
    return given, serials.from_csv(given.rows)


@router.post("/enrollment/serials/{serial}/block", dependencies=DECIDE)
async def block(page: OrganizationPage, database: Db, serial: SerialNumber) -> Response:
    given = await form(page.request, Order)
    await queries.block(database, serial, True, page.member.who, given.why)
    return page.done(f"Handshakes of {serial} are refused from now on.", to="enrollment/serials")


@router.post("/enrollment/serials/{serial}/unblock", dependencies=DECIDE)
async def unblock(page: OrganizationPage, database: Db, serial: SerialNumber) -> Response:
    given = await form(page.request, Order)
    await queries.block(database, serial, False, page.member.who, given.why)
    return page.done(f"{serial} may enroll again.", to="enrollment/serials")
