"""The route for the clock of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors, description
from api.http.answers import Table
from api.http.parameters import DeviceName
from api.queries import device_clocks as queries
from api.queries import devices
from api.routes import Router
from api.shapes import device_clocks as shapes
from schema import times

router = Router("device clocks", allow(Role.VIEWER, Scope.DEVICES_READ))

HOURS = Table(name="clock_hours", of=shapes.DeviceClockAnswer, item=queries.item, key={"hour": cursors.instant})


@router.table(
    "/devices/{device}/clock",
    summary="How far the clock of a device was off, by hour, newest first",
    description="Of the hours that are sealed, an hour after their end: the least and the greatest time from a frame "
    "to its receipt. Frames from files do not count.",
    responses=description.DEVICE | HOURS.described(shapes.HOUR),
)
async def clock(
    request: Request, database: Db, device: DeviceName, asked: Annotated[shapes.DeviceClockParameters, Query()]
) -> Response:
    number, span = await devices.device_id(database, device), asked.span()

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.hours(database, number, span, before, limit)

    return await HOURS.page(request, asked, rows, first=(times.LAST,))
