"""Cards of devices, on their pages, and the places that devices can be at."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.bodies import Order
from api.http.parameters import DeviceName
from api.pages.listing import PageParameters
from api.pages.page import OrganizationPage, PageRouter, Version, form, is_partial, validated
from api.queries import device_cards as queries
from api.shapes.device_cards import LocationAnswer, LocationKind, NewDeviceCard, NewLocation

router = PageRouter()
READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
MOST = 1000


class CardForm(Order):
    description: str = ""
    model: str = ""
    working_volume: float | None = None
    probes: list[str] = Field([], max_length=50)
    version: Version


class LocationRemovalForm(Order):
    path: str = Field(max_length=200)


@router.post("/devices/{device}/card", dependencies=CHANGE)
async def write(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    given = await form(page.request, CardForm, probes="\n")
    said = given.model_dump(exclude={"version", "probes"}) | {"probes": [_probe(line) for line in given.probes]}
    await queries.put(database, device, validated(said, NewDeviceCard), given.version, page.member.who)
    return page.done(f"The card of {device} is written.", to=f"devices/{device}")


def _probe(line: str) -> dict[str, Any]:
    """Return a line of the form as a probe; what is wrong with it, the model says."""
    serial, kind, due_on = ([part.strip() for part in line.split(";")] + ["", ""])[:3]
    return {"serial": serial, "kind": kind, "due_on": due_on or None}


@router.get("/devices-places", dependencies=READ)
async def places(page: OrganizationPage, database: Db, _: Annotated[PageParameters, Query()]) -> Response:
    found = [LocationAnswer.of(row) for row in await queries.locations(database, "", MOST)]
    values: dict[str, Any] = {"places": found, "kinds": get_args(LocationKind)}
    if is_partial(page.request):
        return page.show("partials/places.html", **values)
    return page.show("pages/places.html", here="devices", **values)


@router.post("/devices-places", dependencies=CHANGE)
async def put(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, NewLocation)
    await queries.put_location(database, given, page.member.who)
    return page.done(f"{given.path} is a place.", to="devices-places")


@router.post("/devices-places/remove", dependencies=CHANGE)
async def remove(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, LocationRemovalForm)
    await queries.remove_location(database, given.path, page.member.who, given.why)
    return page.done(f"{given.path} is removed.", to="devices-places")
