"""The route for the status of a device."""

from __future__ import annotations

from fastapi import Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.parameters import DeviceName
from api.queries import status as queries
from api.routes import Router
from api.shapes import status as shapes

router = Router("devices", allow(Role.VIEWER, Scope.DEVICES_READ))


@router.get(
    "/devices/{device}/status",
    summary="How a device is doing: presence, last seen, lag, and how much of the last hour has arrived",
    responses=description.DEVICE | description.ok(shapes.StatusAnswer, status=shapes.STATUS),
)
async def device_status(database: Db, device: DeviceName, _: JsonOnly) -> Response:
    return answers.json(await queries.status(database, device))
