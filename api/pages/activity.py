"""Activity: what happened, of all kinds, newest first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from api.access import guard
from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.run_times import RunAsked, RunSpanParameters
from api.pages.listing import PageSpan, address, part
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.queries import activity as queries
from api.queries import run_times
from api.queries.activity import WantedActivity
from api.shapes.activity import HappeningKind

router = PageRouter(allow(Role.VIEWER, Scope.DEVICES_READ))


class ActivityPageParameters(PageSpan):
    kind: HappeningKind | None = None
    device: str | None = Field(None, max_length=64)
    run: RunAsked = None


@router.get("/activity")
async def activity(page: OrganizationPage, database: Db, asked: Annotated[ActivityPageParameters, Query()]) -> Response:
    if asked.kind is not None:
        guard.require(page.member, *queries.NEEDS[asked.kind])
    kinds = queries.permitted(page.member)
    given = RunSpanParameters.model_validate({"run": asked.run, **asked.said()})
    question = await run_times.placed(database, given, asked.device)
    wanted = WantedActivity({asked.kind} if asked.kind else kinds, question.devices, question.span)
    found = await part(
        page.request,
        asked.cursor,
        {"time": cursors.instant, "id": str},
        (question.span.end, ""),
        lambda before, limit: queries.page(database, wanted, before, limit),
    )
    values: dict[str, Any] = {"happened": [queries.item(row) for row in found.rows], "following": found.following}
    if is_partial(page.request):
        return page.show("partials/activity.html", **values)
    values |= {
        "asked": asked,
        "kinds": [kind for kind in queries.NEEDS if kind in kinds],
        "address": address(page.request),
    }
    return page.show("pages/activity.html", here="activity", **values)
