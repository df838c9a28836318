"""Devices: the list, and a card of each with what people change, its logins and what has arrived of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import cursors
from api.http.bodies import Order
from api.http.parameters import DeviceName
from api.pages.listing import PageParameters, address, part
from api.pages.page import OrganizationPage, Page, PageRouter, Version, form, is_partial
from api.queries import (
    activity,
    commands,
    delivery,
    deviations,
    device_cards,
    device_clocks,
    device_status,
    lifecycle,
    plant,
    quarantine,
    status,
)
from api.queries import devices as queries
from api.queries.activity import WantedActivity
from api.queries.run_times import PlacedQuestion
from api.shapes.devices import DeviceChange, DeviceParameters, DeviceState, Location, Tag, Title
from api.shapes.quarantine import QuarantineParameters
from schema import times

router = PageRouter()

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
CANCEL = [allow(Role.ENGINEER, Scope.COMMANDS_WRITE)]
FEW = 20
STATES: dict[str, tuple[str, ...]] = {
    "suspend": ("active", "pending"),
    "resume": ("suspended",),
    "rotate": ("active",),
    "revoke": ("active", "pending", "suspended"),
    "retire": ("active", "pending", "suspended"),
    "reset": ("active", "pending", "suspended"),
}
"""The states of a device in which a page offers an action; whether it is possible, the database says."""
WORDS = {
    "suspend": ("Suspend", "Its logins work no more, until somebody resumes it."),
    "resume": ("Resume", "Its logins work again."),
    "rotate": ("Renew login", "It enrolls again; its login works until the new one was used."),
    "revoke": ("Revoke", "As after a theft: its logins are deleted, and its serial is blocked."),
    "retire": ("Retire", "For good: its logins are deleted, and its serial is blocked. Its data stay."),
    "reset": ("Forget its key", "The next identity key that proves the claim key is taken."),
}
DONE = {
    "suspend": "is suspended",
    "resume": "is active again",
    "rotate": "is asked to enroll again",
    "revoke": "is revoked",
    "retire": "is retired",
    "reset": "may come with a new identity key",
}


class DevicesPageParameters(PageParameters):
    q: str | None = Field(None, max_length=100)
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field([], max_length=32)
    location: str | None = Field(None, max_length=200)
    state: DeviceState | None = None
    online: Literal["true", "false"] | None = None


class DeviceForm(Order):
    title: Title = ""
    location: Location = ""
    tags: list[Tag] = Field([], max_length=32)
    version: Version


@router.get("/devices", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[DevicesPageParameters, Query()]) -> Response:
    wanted = DeviceParameters.model_validate(
        asked.model_dump(include={"q", "tag", "location", "online"}) | {"state": [asked.state] if asked.state else []}
    )
    found = await part(
        page.request,
        asked.cursor,
        {"name": cursors.device},
        ("",),
        lambda after, limit: queries.page(database, wanted, after[0], limit),
    )
    items = [queries.item(row) for row in found.rows]
    names = [one.device for one in items]
    heard, arrived = await asyncio.gather(device_status.presence(database, names), delivery.newest(database, names))
    by_name = {one.device: one for one in heard}
    values: dict[str, Any] = {"devices": items, "heard": by_name, "arrived": arrived, "following": found.following}
    if is_partial(page.request):
        return page.show("partials/devices.html", **values)
    tags, locations = await plant.choices(database)
    values |= {"tags": tags, "locations": locations, "asked": asked, "address": address(page.request)}
    return page.show("pages/devices.html", here="devices", **values)


@router.get("/devices/{device}", dependencies=READ)
async def card(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    one = await queries.detail(database, device)
    values = await _about(page, database, device) | {"device": one}
    if is_partial(page.request):
        return page.show("partials/device.html", **values)
    return page.show("pages/device.html", here="devices", **values)


async def _about(page: Page, database: Database, device: str) -> dict[str, Any]:
    """What a card shows beside what people change; None is what the member may not read."""
    number = await queries.device_id(database, device)
    logins = commanded = None
    if page.may("operator", "enrollment:read"):
        logins = await lifecycle.logins(database, number)
    if page.may("viewer", "commands:read"):
        rows = await commands.page(database, number, None, (times.LAST, commands.LAST_ID), FEW)
        commanded = [commands.item(row) for row in rows]
    wanted = WantedActivity({"presence"}, [device], activity.EVER)
    rejected = PlacedQuestion(QuarantineParameters(), [device])
    return {
        "doing": await status.status(database, device),
        "linked_deviations": await deviations.of_device(database, device),
        "card": await device_cards.card(database, device),
        "history": [activity.item(row) for row in await activity.page(database, wanted, (times.LAST, ""), FEW)],
        "logins": logins,
        "commands": commanded,
        "open": commands.OPEN,
        "clock_hours": await device_clocks.newest(database, number),
        "boots": await delivery.boots(database, device),
        "holes": await delivery.holes(database, device),
        "rejected": [
            quarantine.item(row)
            for row in await quarantine.quarantine(database, rejected, (times.LAST, quarantine.LAST_ID), FEW)
        ],
        "actions": [
            (name, *WORDS[name], states)
            for name, states in STATES.items()
            if page.may(lifecycle.LEAST[name], "devices:write")
        ],
    }


@router.post("/devices/{device}", dependencies=CHANGE)
async def change(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    given = await form(page.request, DeviceForm, tags=",")
    changed = DeviceChange(title=given.title, location=given.location, tags=given.tags, why=given.why)
    await queries.change(database, device, changed, given.version, page.member.who)
    return page.done(f"{device} was changed.", to=f"devices/{device}")


def _action(action: str) -> Any:
    async def act(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
        given = await form(page.request, Order)
        await lifecycle.command(database, device, action, page.member.who, given.why)
        return page.done(f"{device} {DONE[action]}.", to=f"devices/{device}")

    return act


for _name, _role in lifecycle.LEAST.items():
    router.add_api_route(
        f"/devices/{{device}}/{_name}",
        _action(_name),
        methods=["POST"],
        name=f"page {_name}",
        dependencies=[allow(_role, Scope.DEVICES_WRITE)],
    )


@router.post("/devices/{device}/commands/{command}/cancel", dependencies=CANCEL)
async def cancel(page: OrganizationPage, database: Db, device: DeviceName, command: UUID) -> Response:
    given = await form(page.request, Order)
    await commands.cancel(database, command, page.member.who, given.why)
    return page.done("The command is cancelled.", to=f"devices/{device}")
