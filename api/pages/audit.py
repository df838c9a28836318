"""The audit trail: who did what to what, when and why; and whether it is as it was written."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.run_times import RunAsked
from api.pages.listing import PageSpan, part
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.queries import audit as queries
from api.queries import run_times
from api.shapes.audit import AuditParameters

router = PageRouter(allow(Role.OPERATOR, Scope.AUDIT_READ))


class AuditPageParameters(PageSpan):
    subject: str | None = Field(None, max_length=1000)
    action: str | None = Field(None, max_length=100)
    who: str | None = Field(None, max_length=1000)
    run: RunAsked = None

    def filter(self) -> AuditParameters:
        return AuditParameters.model_validate(
            {"subject": self.subject, "action": self.action, "who": self.who, "run": self.run} | self.said()
        )


@router.get("/audit")
async def audit(page: OrganizationPage, database: Db, asked: Annotated[AuditPageParameters, Query()]) -> Response:
    wanted = (await run_times.placed(database, asked.filter())).asked
    found = await part(
        page.request,
        asked.cursor,
        {"n": cursors.number},
        (None,),
        lambda after, limit: queries.page(database, wanted, after[0], limit),
    )
    values: dict[str, Any] = {"events": [queries.event(row) for row in found.rows], "following": found.following}
    given = [(name, value) for name, value in page.request.query_params.multi_items() if value and name != "cursor"]
    values["copied"] = urlencode(given)
    return page.show("pages/audit.html", here="audit", asked=asked, **values)


@router.get("/audit.csv")
async def copy(request: Request, database: Db, asked: Annotated[AuditPageParameters, Query()]) -> Response:
    """All of it as CSV; the address names the organization, as a link cannot send a header."""
    wanted = (await run_times.placed(database, asked.filter())).asked
    return await queries.EVENTS.page(
        request,
        wanted,
        lambda after, limit: queries.page(database, wanted, after[0], limit),
        everything=lambda: queries.pages(database, wanted),
    )


@router.get("/audit/verify")
async def verify(page: OrganizationPage, database: Db) -> Response:
    found = await queries.verify(database)
    if is_partial(page.request):
        return page.show("partials/verified.html", found=found)
    return page.show("pages/verified.html", found=found, here="audit")
