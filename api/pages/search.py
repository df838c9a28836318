"""Search by words, with one field, in what people and devices have written."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Response
from pydantic import Field

from api.access import guard
from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.pages.listing import PageSpan
from api.pages.page import OrganizationPage, PageRouter
from api.queries import search as queries
from api.shapes.search import SearchFilter, SearchHit, SearchKind

router = PageRouter(allow(Role.VIEWER, Scope.DEVICES_READ))
SHOWN = 100


class SearchPageParameters(PageSpan):
    q: str = Field("", max_length=200)
    kind: SearchKind | None = None
    device: str | None = Field(None, max_length=64)


@router.get("/search")
async def search(page: OrganizationPage, database: Db, asked: Annotated[SearchPageParameters, Query()]) -> Response:
    if asked.kind is not None:
        guard.require(page.member, *queries.NEEDS[asked.kind])
    kinds = queries.permitted(page.member)
    values: dict[str, Any] = {"asked": asked, "kinds": kinds, "found": None, "path": path}
    if asked.q.strip():
        given = asked.model_dump(include={"q", "kind", "device"}) | {"kind": [asked.kind] if asked.kind else []}
        spans = {name: value for name, value in asked.said().items() if name in page.request.query_params}
        filled = {name: value for name, value in spans.items() if page.request.query_params[name]}
        wanted = SearchFilter.model_validate(given | filled)
        values["found"] = await queries.search(database, wanted, wanted.kind or kinds, SHOWN)
    return page.show("pages/search.html", here="search", **values)


def path(hit: SearchHit) -> str:
    """Return the page of what was found, below the organization's address."""
    device = quote(hit.device or "", safe="")
    if hit.kind == "alarm":
        return f"alarms/{device}/{quote(hit.title.split(' ', 1)[1], safe='')}"
    return {
        "note": f"vessels/{device}",
        "event": f"activity?kind=event&device={device}",
        "deviation": f"deviations/{hit.id}",
        "comment": f"deviations/{hit.id}",
        "reason": f"audit?subject={quote(hit.title.rpartition(', ')[2])}",
        "shift": "shift-log",
    }[hit.kind]
