"""Reviews by exception: the list, and a page of each, where somebody looks at what stands out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.pages.listing import PageParameters, part
from api.pages.page import OrganizationPage, PageRouter, form, is_partial
from api.pages.signatures import signature_block
from api.queries import reviews as queries
from api.shapes.reviews import NewLook, NewReview, ReviewParameters

router = PageRouter(allow(Role.OPERATOR, Scope.AUDIT_READ))
KINDS = {
    "setpoint": "Setpoint",
    "command": "Command",
    "rule": "Alarm rule",
    "channel": "Channel",
    "correction": "Correction",
    "sample": "Sample or material",
    "run": "Run",
    "silenced": "Silenced",
    "route": "Notification",
    "gap": "Gap",
    "quarantine": "Quarantine",
    "clock": "Clock",
    "signature": "Signature",
    "data": "Data",
    "device": "Device",
    "access": "Access",
    "system": "Installation",
    "other": "Other",
}
"""What the page calls the kinds of exceptions."""
ReviewNumber = Annotated[int, Path(ge=1, le=queries.LAST_NUMBER)]


class ReviewPageParameters(PageParameters):
    run: str | None = Field(None, max_length=100)
    device: str | None = Field(None, max_length=64)


@router.get("/reviews")
async def listed(page: OrganizationPage, database: Db, asked: Annotated[ReviewPageParameters, Query()]) -> Response:
    wanted = ReviewParameters(run=asked.run, device=asked.device)
    found = await part(
        page.request,
        asked.cursor,
        {"review": cursors.number},
        (queries.LAST_NUMBER,),
        lambda before, limit: queries.page(database, wanted, before[0], limit),
    )
    values: dict[str, Any] = {"reviews": [queries.item(row) for row in found.rows], "following": found.following}
    return page.show("pages/reviews.html", here="reviews", asked=asked, **values)


@router.post("/reviews")
async def make(page: OrganizationPage, database: Db, member: Member) -> Response:
    made = await queries.make(database, await form(page.request, NewReview, device=","), member.who)
    return page.go(f"reviews/{made.review}")


@router.get("/reviews/{review}")
async def one(page: OrganizationPage, database: Db, review: ReviewNumber) -> Response:
    found = await queries.detail(database, review)
    looks = {key: [one for one in found.looks if one.key == key] for key in {one.key for one in found.looks}}
    values: dict[str, Any] = {"it": found, "looks": looks, "kinds": KINDS, "left": len(queries.open_keys(found))}
    values |= await signature_block(page, database, f"review/{review}")
    if is_partial(page.request):
        return page.show("partials/review.html", **values)
    return page.show("pages/review.html", here="reviews", **values)


@router.post("/reviews/{review}/again")
async def again(page: OrganizationPage, database: Db, review: ReviewNumber, member: Member) -> Response:
    await queries.again(database, review, member.who)
    return page.done("The review has what is in its scope now.", to=f"reviews/{review}")


@router.post("/reviews/{review}/looks")
async def look(page: OrganizationPage, database: Db, review: ReviewNumber, member: Member) -> Response:
    await queries.look(database, review, await form(page.request, NewLook), member.who)
    return page.done("It is noted.", to=f"reviews/{review}")
