"""Routes for alarms and the history of their transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.parameters import DeviceName, RuleName
from api.queries import alarms as queries
from api.queries import devices
from api.routes import Router
from api.shapes import alarms as shapes

router = Router("alarms", allow(Role.VIEWER, Scope.ALARMS_READ))

ALARMS = Table(
    name="alarms",
    of=shapes.AlarmAnswer,
    item=queries.item,
    key={"device": cursors.device, "rule": cursors.device},
    first=("", ""),
)
SILENCED = Table(
    name="alarms",
    title="Silenced",
    of=shapes.SilencedAlarm,
    item=queries.silenced_item,
    key={"device": cursors.device, "rule": cursors.device},
    first=("", ""),
)


@router.table(
    "/alarms",
    summary="Alarms by device and rule",
    description="Every rule on every device of its scope. `standing=true` has those that are not normal, and those "
    "that are not evaluated: `not_evaluated` says why.",
    responses=description.DATABASE | ALARMS.described(shapes.ALARM),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.AlarmParameters, Query()]) -> Response:
    async def rows(after: list[str], limit: int) -> Sequence[Any]:
        return await queries.page(database, asked, after, limit, device=asked.device, tags=asked.tag)

    return await ALARMS.page(request, asked, rows)


@router.table(
    "/alarms/silenced",
    summary="Alarms that are held back: by whom, why, since when, until when",
    description="Shelved, suppressed (by a person or by the phase of the run) and out of service.",
    responses=description.DATABASE | SILENCED.described(shapes.SILENCED),
)
async def silenced(request: Request, database: Db, asked: Annotated[shapes.SilencedParameters, Query()]) -> Response:
    return await SILENCED.page(request, asked, lambda after, limit: queries.silenced(database, asked, after, limit))


@router.table(
    "/devices/{device}/alarms",
    summary="Alarms of a device, by rule",
    responses=description.DEVICE | ALARMS.described(shapes.ALARM),
)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[shapes.DeviceAlarmParameters, Query()]
) -> Response:
    await devices.device_id(database, device)
    return await ALARMS.page(
        request, asked, lambda after, limit: queries.page(database, asked, after, limit, device=device)
    )


@router.table(
    "/alarms/history",
    summary="The history of alarms: every transition, newest first",
    description="`from` and `to` are about when it was recorded, which is the order, too.",
    responses=description.DATABASE | queries.TRANSITIONS.described(shapes.TRANSITION),
)
async def history(request: Request, database: Db, asked: Annotated[shapes.HistoryParameters, Query()]) -> Response:
    return await queries.history_page(request, database, asked)


@router.get(
    "/alarms/{device}/{rule}",
    summary="One alarm, with its rule and its last transitions",
    responses=description.THING | description.ok(shapes.AlarmDetail, alarm=shapes.DETAIL),
)
async def one(database: Db, device: DeviceName, rule: RuleName, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, device, rule))
