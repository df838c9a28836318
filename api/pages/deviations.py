"""Deviations: the list, a page of each, and their files."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.pages import deviation_words as words
from api.pages.listing import PageParameters, address, part
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.pages.signatures import signature_block
from api.queries import attachments, pending_acts
from api.queries import deviations as queries
from api.shapes.deviations import DeviationFilter, DeviationState, LinkType, MemberRole, Severity
from api.shapes.devices import Tag

router = PageRouter(allow(Role.VIEWER, Scope.DEVICES_READ))

MOST_COMMENTS = 1000
DeviationNumber = Annotated[str, Path(max_length=20)]
Number = Annotated[int, Path(ge=1, le=queries.LAST_ID)]


class DeviationsPageParameters(PageParameters):
    state: DeviationState | None = None
    severity: Severity | None = None
    tag: Tag | None = None
    device: str | None = Field(None, max_length=64)
    mine: Literal["true"] | None = None


@router.get("/deviations")
async def listed(page: OrganizationPage, database: Db, asked: Annotated[DeviationsPageParameters, Query()]) -> Response:
    wanted = DeviationFilter(
        state=[asked.state] if asked.state else [],
        severity=asked.severity,
        tag=[asked.tag] if asked.tag else [],
        device=asked.device,
        mine=asked.mine is not None,
    )
    found = await part(
        page.request,
        asked.cursor,
        {"deviation_id": cursors.number},
        (queries.LAST_ID,),
        lambda before, limit: queries.page(database, wanted, page.member, before[0], limit),
    )
    values: dict[str, Any] = {"deviations": [queries.item(row) for row in found.rows], "following": found.following}
    if is_partial(page.request):
        return page.show("partials/deviations.html", **values)
    values |= {"asked": asked, "tags": await queries.tags(database), "address": address(page.request)}
    values |= {"states": get_args(DeviationState), "severities": get_args(Severity)}
    return page.show("pages/deviations.html", here="deviations", **values)


@router.get("/deviations/{deviation}")
async def one(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    found = await queries.detail(database, deviation, page.member)
    rows = await queries.comments(database, deviation, 0, MOST_COMMENTS)
    values: dict[str, Any] = {
        "it": found,
        "comments": [queries.comment(row) for row in rows],
        "words": words,
        "severities": get_args(Severity),
        "roles": get_args(MemberRole),
        "types": get_args(LinkType),
        "waiting": await pending_acts.waiting(database, f"deviation/{deviation}"),
        **await signature_block(page, database, f"deviation/{deviation}"),
    }
    if is_partial(page.request):
        return page.show("partials/deviation.html", **values)
    return page.show("pages/deviation.html", here="deviations", **values)


@router.get("/deviations/{deviation}/attachments/{attachment}")
async def file(database: Db, deviation: DeviationNumber, attachment: Number) -> Response:
    return await attachments.file(database, deviation, attachment)
