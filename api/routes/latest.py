"""Routes for the newest values of one device or of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.edge.shortcuts import ShortRoute, shortcut
from api.http import answers, cursors, description
from api.http.parameters import DeviceName, Duration, ListParameters, Parameters, Quality, listed
from api.queries import devices, latest_computed
from api.queries import latest as queries
from api.queries.deadline import Deadline
from api.queries.latest import WantedLatest
from api.routes import Router
from api.shapes import latest as shapes
from api.shapes.latest import DeviceLatest
from schema import times
from schema.topics import is_device_name

READ = allow(Role.VIEWER, Scope.TELEMETRY_READ)
router = Router("latest", READ, route_class=ShortRoute)

HEADER = ("device", "channel", "unit", "time", "value", "quality")
CSV_EXAMPLE = "device,channel,unit,time,value,quality\r\nbr-1,ph,pH,2026-11-20T07:45:00.000000Z,7.02,0\r\n"


class LatestParameters(Parameters):
    channel: list[str] = Field(
        [], description="channel name, as it is, also of a computed one; may be repeated. None: all that are sent"
    )
    channels: list[str] = Field([], description="channel names with commas between (none with a comma in it)")
    quality: Quality = "all"
    within: Duration = Field(
        timedelta(hours=1),
        description="how long before the device's newest frame a channel is looked for; one that was not sent in that "
        "time has value and time null",
    )


PLAIN = WantedLatest(LatestParameters().within, None, everything=True)
"""What a request without parameters asks for."""
PLAIN_WITHIN = times.duration_text(PLAIN.within)


class AllParameters(LatestParameters, ListParameters):
    """The parameters of the newest values of all devices."""


async def _plainly(request: Request, database: Database) -> Response | None:
    device = request.path_params["device"]
    if not is_device_name(device):
        return None
    return answers.json(_one(await queries.of_device(database, device, PLAIN), PLAIN_WITHIN, "all"))


@router.table(
    "/devices/{device}/latest",
    summary="The newest value of every channel of a device",
    responses=description.DEVICE
    | description.ok(
        shapes.OneLatest,
        csv=CSV_EXAMPLE,
        latest={"device": "br-1", "time": description.T, "within": "1h", "quality": "all", "values": [shapes.LATEST]},
    ),
)
@shortcut(_plainly)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[LatestParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    wanted = _wanted(asked)
    item = await queries.of_device(database, device, wanted)
    await latest_computed.add_named(database, [item], wanted, Deadline())
    if format_ == "csv":
        return answers.csv_page(request, HEADER, _rows([item]))
    return answers.json(_one(item, times.duration_text(asked.within), asked.quality))


@router.table(
    "/latest",
    summary="The newest values of all devices, by device name",
    responses=description.DATABASE
    | description.ok(
        shapes.AllLatest,
        csv=CSV_EXAMPLE,
        latest={
            "within": "1h",
            "quality": "all",
            "devices": [{"device": "br-1", "time": description.T, "values": [shapes.LATEST]}],
            **description.PAGE,
        },
    ),
)
async def of_all(request: Request, database: Db, asked: Annotated[AllParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    [after] = [""] if asked.cursor is None else cursors.decode(request, asked.cursor, cursors.device)
    found = await devices.names(database, after, asked.limit + 1)
    page, following = found[: asked.limit], None
    if len(found) > asked.limit:
        following = cursors.encode(request, page[-1][1])
    wanted = _wanted(asked)
    items = await queries.of_devices(database, page, wanted)
    await latest_computed.add_named(database, items, wanted, Deadline())
    if format_ == "csv":
        return answers.csv_page(request, HEADER, _rows(items), following)
    return answers.json(
        shapes.AllLatest(
            within=times.duration_text(asked.within),
            quality=asked.quality,
            devices=items,
            truncated=following is not None,
            next=following,
        )
    )


def _wanted(asked: LatestParameters) -> WantedLatest:
    names = frozenset(listed(asked.channel, asked.channels))
    return WantedLatest(asked.within, names or None, asked.quality == "all")


def _one(item: DeviceLatest, within: str, quality: Literal["good", "all"]) -> shapes.OneLatest:
    return shapes.OneLatest(device=item.device, time=item.time, values=item.values, within=within, quality=quality)


def _rows(items: Sequence[DeviceLatest]) -> Iterator[list[Any]]:
    for item in items:
        for it in item.values:
            yield [item.device, it.channel, it.unit, it.time, it.value, it.quality]
