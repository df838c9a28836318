"""Routes for cards of devices, and for places."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.parameters import DeviceName
from api.http.preconditions import IfMatch
from api.queries import device_cards as queries
from api.routes import Router
from api.shapes import device_cards as shapes
from api.shapes.device_cards import LocationRemoval, LocationsParameters, NewDeviceCard, NewLocation

router = Router("device cards")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
CARDED = description.versioned(shapes.DeviceCard, card=shapes.CARD)
LOCATIONS = Table(name="locations", of=shapes.LocationAnswer, key={"path": str}, first=("",))


@router.get(
    "/devices/{device}/card",
    dependencies=READ,
    summary="What a device is: model, working volume, probes and when their calibration is due",
    responses=description.DEVICE | CARDED,
)
async def card(database: Db, device: DeviceName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.card(database, device))


@router.put(
    "/devices/{device}/card",
    dependencies=CHANGE,
    summary="Write the card of a device",
    description="The body is the whole card, but for the working volume, which stays if it is left out. With If-Match "
    "it is only done if nobody has changed it meanwhile.",
    responses=description.CHANGE | description.CHANGED | CARDED,
    openapi_extra=described(NewDeviceCard),
)
async def put(request: Request, database: Db, member: Member, device: DeviceName, if_match: IfMatch = None) -> Response:
    given = await order(request, NewDeviceCard)
    return preconditions.tagged(await queries.put(database, device, given, preconditions.wanted(if_match), member.who))


@router.table(
    "/locations",
    dependencies=READ,
    summary="Places by path: sites, halls, benches",
    responses=description.DATABASE | LOCATIONS.described(shapes.LOCATION),
)
async def locations(request: Request, database: Db, asked: Annotated[LocationsParameters, Query()]) -> Response:
    return await LOCATIONS.page(request, asked, lambda after, limit: queries.locations(database, after[0], limit))


@router.put(
    "/locations",
    dependencies=CHANGE,
    summary="Make a place, or describe it anew",
    description="A device is there whose `location` is this path: see PATCH /devices/{device}.",
    responses=description.CHANGE | description.ok(shapes.LocationAnswer, location=shapes.LOCATION),
    openapi_extra=described(NewLocation),
)
async def put_location(request: Request, database: Db, member: Member) -> Response:
    return answers.json(await queries.put_location(database, await order(request, NewLocation), member.who))


@router.delete(
    "/locations",
    dependencies=CHANGE,
    status_code=204,
    summary="Remove a place in which no device and no other place is",
    responses=description.CHANGE | description.NOTHING,
)
async def remove(database: Db, member: Member, asked: Annotated[LocationRemoval, Query()]) -> Response:
    await queries.remove_location(database, asked.path, member.who, asked.why)
    return Response(status_code=204)
