"""Devices and their channels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from api import answers, cursors, models, problems
from api.access import Db
from api.parameters import Cursor, DeviceName, NoParameters, Parameters, once
from api.queries import devices
from api.routes import PREFIX

router = APIRouter(prefix=PREFIX, tags=["devices"], dependencies=[Depends(once)])

DEVICE_COLUMNS = (
    *("device", "state", "registered_at", "presence.online", "presence.since", "presence.boot", "presence.firmware"),
    "last_frame_at",
)
CHANNEL_COLUMNS = ("channel", "unit", "description")


class ListParameters(Parameters):
    limit: int = Field(100, ge=1, le=1000, description="most devices on a page")
    cursor: Cursor = None


@router.get("/devices.csv", include_in_schema=False)
@router.get(
    "/devices",
    summary="Devices with their presence, by name",
    responses=problems.DATABASE
    | models.ok(
        models.Devices,
        "device,state,registered_at,presence.online,…\r\nbr-1,active,2026-11-20T07:45:00.000000Z,true,…\r\n",
        devices={"devices": [models.DEVICE], **models.PAGE},
    ),
)
async def list_devices(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    [after] = [""] if asked.cursor is None else cursors.decode(request, asked.cursor, cursors.device)
    items = await devices.page(database, after, asked.limit + 1)
    page, following = items[: asked.limit], None
    if len(items) > asked.limit:
        following = cursors.encode(request, page[-1]["device"])
    return answers.listing(request, format_, "devices", page, DEVICE_COLUMNS, following=following)


@router.get(
    "/devices/{device}",
    summary="One device: presence, firmware, time of its newest frame",
    responses=problems.DEVICE | models.ok(models.Device, None, device=models.DEVICE),
)
async def one_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[NoParameters, Query()]
) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await devices.detail(database, device))


@router.get("/devices/{device}/channels.csv", include_in_schema=False)
@router.get(
    "/devices/{device}/channels",
    summary="Channels a device has sent, with their units",
    responses=problems.DEVICE
    | models.ok(
        models.Channels,
        'channel,unit,description\r\nph,pH,"pH, process value"\r\n',
        channels={"channels": [models.CHANNEL], **models.PAGE},
    ),
)
async def channels(
    request: Request, database: Db, device: DeviceName, asked: Annotated[NoParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    found = await devices.device(database, device)
    items = [{"channel": c.name, "unit": c.unit, "description": c.description} for c in found.channels]
    return answers.listing(request, format_, "channels", items, CHANNEL_COLUMNS)
