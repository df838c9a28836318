"""Routes for devices: names, places, tags, presence."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.parameters import DeviceName
from api.http.preconditions import IfMatch
from api.problems import BadParameter
from api.queries import devices as queries
from api.routes import Router
from api.shapes import devices as shapes
from api.shapes.devices import DeviceChange

router = Router("devices")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]

DEVICES = Table(name="devices", of=shapes.DeviceAnswer, item=queries.item, key={"name": cursors.device}, first=("",))


@router.table(
    "/devices",
    dependencies=READ,
    summary="Devices with their presence, by name",
    responses=description.DATABASE | DEVICES.described(shapes.DEVICE),
)
async def list_devices(request: Request, database: Db, asked: Annotated[shapes.DeviceParameters, Query()]) -> Response:
    return await DEVICES.page(request, asked, lambda after, limit: queries.page(database, asked, after[0], limit))


@router.get(
    "/devices/{device}",
    dependencies=READ,
    summary="One device: presence, firmware, title, location, tags, time of its newest frame",
    description="The ETag changes with title, location and tags: what people change, and give back in If-Match.",
    responses=description.DEVICE | description.ok(shapes.DeviceDetail, device=shapes.DETAIL),
)
async def one_device(database: Db, device: DeviceName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, device))


@router.patch(
    "/devices/{device}",
    dependencies=CHANGE,
    summary="Change title, location or tags of a device",
    description="What is left out stays. With If-Match it is only done if nobody has changed the device meanwhile. The "
    "name stays: it stands in the topics.",
    responses=description.CHANGE
    | description.CHANGED
    | description.ok(shapes.DeviceDetail, device=shapes.DETAIL | {"version": 4}),
    openapi_extra=described(DeviceChange),
)
async def change_device(
    request: Request, database: Db, member: Member, device: DeviceName, if_match: IfMatch = None
) -> Response:
    given = await order(request, DeviceChange)
    if (given.title, given.location, given.tags) == (None, None, None):
        raise BadParameter("body", "changes nothing: give title, location or tags")
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.change(database, device, given, version, member.who))
