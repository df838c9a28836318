"""The route for search by words."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api.access import guard
from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.queries import search as queries
from api.routes import Router
from api.shapes import search as shapes
from api.shapes.search import SearchParameters

router = Router("search")


@router.get(
    "/search",
    dependencies=[allow(Role.VIEWER, Scope.DEVICES_READ)],
    summary="Search by words in notes, deviations, comments, events, reasons, acts on alarms and the shift log",
    description="All words must be there; upper and lower case are the same, and the last word may be the begin of "
    "one. Without `kind` it searches in all that you may read.",
    responses=description.DATABASE | description.ok(shapes.Found, found=shapes.FOUND),
)
async def search(database: Db, member: Member, asked: Annotated[SearchParameters, Query()]) -> Response:
    for kind in asked.kind:
        guard.require(member, *queries.NEEDS[kind])
    return answers.json(await queries.search(database, asked, asked.kind or queries.permitted(member), asked.limit))
