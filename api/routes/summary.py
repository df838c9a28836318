"""The route for the numbers that a dashboard shows."""

from __future__ import annotations

from fastapi import Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.answers import JsonOnly
from api.queries import summary as queries
from api.routes import Router
from api.shapes import summary as shapes

router = Router("activity", allow(Role.VIEWER, Scope.DEVICES_READ))


@router.get(
    "/summary",
    summary="The numbers that a dashboard shows: devices, alarms, frames, delivery, what waits",
    responses=description.DATABASE | description.ok(shapes.SummaryAnswer, summary=shapes.SUMMARY),
)
async def summary(database: Db, member: Member, _: JsonOnly) -> Response:
    return answers.json(await queries.summary(database, member))
