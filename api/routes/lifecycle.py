"""Routes for the lifecycle of a device (suspend, retire, give away and so on) and for its logins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.answers import Table
from api.http.bodies import Order, described, order
from api.http.parameters import DeviceName, NoParameters
from api.queries import devices
from api.queries import lifecycle as queries
from api.routes import Router
from api.shapes import devices as devices_shapes
from api.shapes import lifecycle as shapes
from api.shapes.lifecycle import Gift

router = Router("enrollment")

LOGINS = Table(name="logins", of=shapes.LoginAnswer)
READ = [allow(Role.OPERATOR, Scope.ENROLLMENT_READ)]
GIVE = [allow(Role.ADMIN, Scope.DEVICES_WRITE)]
ACTIONS = {
    "suspend": ("suspended", "Disable the logins of a device, until resume"),
    "resume": ("active", "End a suspension"),
    "rotate": ("active", "Ask a device to enroll again; its login works until the new one was used"),
    "revoke": ("revoked", "Delete the logins of a device and block its serial, as after a theft"),
    "retire": ("retired", "Decommission a device: delete its logins and block its serial; its data stay"),
    "reset": (
        "active",
        "Forget the identity key of a device: the next one that proves the claim key is taken",
    ),
}
"""For each action the device's state afterwards in the example, and the summary."""
DESCRIPTIONS = {
    "retire": "A retired device stays in the list with all that it has sent; nothing "
    "more is taken from it. Unblock its serial, and it can enroll again."
}


@router.table(
    "/devices/{device}/logins",
    dependencies=READ,
    summary="Logins of a device at the broker, newest first, without their secrets",
    responses=description.DEVICE | LOGINS.described(shapes.LOGIN),
)
async def logins(
    request: Request, database: Db, device: DeviceName, asked: Annotated[NoParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    rows = await queries.logins(database, await devices.device_id(database, device))
    return LOGINS.answer(request, format_, rows)


@router.post(
    "/devices/{device}/give",
    dependencies=GIVE,
    summary="Give a device to another organization, with all that it has sent",
    description="Only the one that runs the installation gives to any; others give back to it. Both have it in their "
    "audit trails. Afterwards the giver does not see the device any more.",
    responses=description.CHANGE | description.ok(shapes.Given, given={"device": "br-1", "organization": "north"}),
    openapi_extra=described(Gift),
)
async def give(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
    given = await order(request, Gift)
    await queries.give(database, device, given.organization, who=member.who, why=given.why)
    return answers.json(shapes.Given(device=device, organization=given.organization))


def _command(action: str) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def command(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
        given = await order(request, Order)
        await queries.command(database, device, action, member.who, given.why)
        return answers.json(await devices.detail(database, device))

    return command


for _action, (_state, _summary) in ACTIONS.items():
    router.add_api_route(
        f"/devices/{{device}}/{_action}",
        _command(_action),
        methods=["POST"],
        name=_action,
        dependencies=[allow(queries.LEAST[_action], Scope.DEVICES_WRITE)],
        summary=_summary,
        description=DESCRIPTIONS.get(_action),
        responses=description.CHANGE
        | description.ok(devices_shapes.DeviceDetail, None, device=devices_shapes.DETAIL | {"state": _state}),
        openapi_extra=described(Order),
    )
