"""What operators do with devices, and the logins that these have."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api import answers, models, problems
from api.access import Db
from api.operators import Order, described, order
from api.parameters import DeviceName, NoParameters, once
from api.queries import devices, enrollments
from api.routes import PREFIX

router = APIRouter(prefix=PREFIX, tags=["enrollment"], dependencies=[Depends(once)])

COLUMNS = tuple(models.LOGIN)
ACTIONS = {
    "suspend": ("Disable the logins of a device, until resume", "suspended"),
    "resume": ("End a suspension", "active"),
    "revoke": ("Delete the logins of a device and block its serial, as after a theft", "revoked"),
    "retire": ("Delete the logins of a device and block its serial: it is out of use; its data stay", "retired"),
    "rotate": ("Ask a device to enroll again; its login works until the new one was used", "active"),
    "reset": ("Forget the identity key of a device: the next one that proves the claim key is taken", "active"),
}
"""What it means, and the state of the device afterwards, for the example."""


@router.get("/devices/{device}/logins.csv", include_in_schema=False)
@router.get(
    "/devices/{device}/logins",
    summary="Logins of a device at the broker, newest first, without their secrets",
    responses=problems.OPERATOR
    | {404: problems.CHANGE[404]}
    | models.ok(
        models.Logins,
        "username,generation,kind,by_hand,…\r\nBR-2044.1,1,password,false,…\r\n",
        logins={"logins": [models.LOGIN], **models.PAGE},
    ),
)
async def logins(
    request: Request, database: Db, device: DeviceName, asked: Annotated[NoParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    items = await enrollments.logins(database, await devices.device_id(database, device))
    return answers.listing(request, format_, "logins", items, COLUMNS)


def _command(action: str) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def command(request: Request, database: Db, device: DeviceName) -> Response:
        given = await order(request, Order)
        await enrollments.command(database, device, action, given.who, given.why)
        return answers.json(await devices.detail(database, device))

    return command


for _action, (_summary, _state) in ACTIONS.items():
    router.add_api_route(
        f"/devices/{{device}}/{_action}",
        _command(_action),
        methods=["POST"],
        name=_action,
        summary=_summary,
        responses=problems.CHANGE | models.ok(models.Device, None, device=models.DEVICE | {"state": _state}),
        openapi_extra=described(Order),
    )
