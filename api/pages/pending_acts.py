"""Acts that wait for a second person: the list, and a page of each with the signature that confirms it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Response

from api.access.guard import Db, Person, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.bodies import Order
from api.pages.act_words import act_rows
from api.pages.listing import PageParameters, part
from api.pages.organization import PENDING_KINDS
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.pages.signatures import signature_block
from api.queries import pending_acts as queries
from api.shapes.pending_acts import Confirmation
from api.signing import Signer

router = PageRouter()
READ = [allow(Role.OPERATOR, Scope.AUDIT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
HERE = "pending-acts"
KINDS = PENDING_KINDS | {"policy": "acts that no longer take a second person"}
ActNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID)]


@router.get("/pending-acts", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[PageParameters, Query()]) -> Response:
    found = await part(
        page.request,
        asked.cursor,
        {"act_id": cursors.number},
        (queries.LAST_ID,),
        lambda before, limit: queries.page(database, None, before[0], limit),
    )
    acts = [queries.item(row) for row in found.rows]
    values: dict[str, Any] = {"kinds": KINDS, "acts": acts, "following": found.following}
    if is_partial(page.request):
        return page.show("partials/pending_acts.html", **values)
    return page.show("pages/pending_acts.html", here=HERE, **values)


@router.get("/pending-acts/{number}", dependencies=READ)
async def one(page: OrganizationPage, database: Db, number: ActNumber) -> Response:
    act = await queries.one(database, number)
    values = await signature_block(page, database, f"act/{number}")
    asked = msgspec.json.decode(msgspec.json.encode(act.request))
    rows = await act_rows(database, act, asked)
    return page.show("pages/pending_act.html", here=HERE, act=act, rows=rows, asked=asked, kinds=KINDS, **values)


@router.post("/pending-acts/{number}/confirm", dependencies=DECIDE)
async def confirm(page: OrganizationPage, database: Db, person: Person, number: ActNumber) -> Response:
    given = await page.form(Confirmation)
    await Signer(page.request, page.app, database, person).confirm(number, given)
    return page.go(f"{HERE}/{number}")


@router.post("/pending-acts/{number}/refuse", dependencies=DECIDE)
async def refuse(page: OrganizationPage, database: Db, number: ActNumber) -> Response:
    await queries.refuse(database, number, page.member.who, (await page.form(Order)).why)
    return page.go(f"{HERE}/{number}")
