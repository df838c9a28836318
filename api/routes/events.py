"""The route for events of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors, description
from api.http.answers import Table
from api.http.parameters import DeviceName
from api.queries import devices, run_times
from api.queries import events as queries
from api.routes import Router
from api.shapes import events as shapes

router = Router("events", allow(Role.VIEWER, Scope.TELEMETRY_READ))

EVENTS = Table(
    name="events", of=shapes.EventAnswer, item=queries.item, key={"time": cursors.instant, "digest": cursors.digest}
)


@router.table(
    "/devices/{device}/events",
    summary="Events of a device, newest first",
    responses=description.DEVICE | EVENTS.described(shapes.EVENT),
)
async def events(
    request: Request, database: Db, device: DeviceName, asked: Annotated[shapes.EventParameters, Query()]
) -> Response:
    number = await devices.device_id(database, device)
    question = await run_times.placed(database, asked, device)

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.events(database, number, question.asked, before, limit)

    return await EVENTS.page(request, asked, rows, first=(question.span.end, queries.AFTER_ALL_DIGESTS))
