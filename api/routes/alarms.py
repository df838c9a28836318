"""Alarms as they are, and what became of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import answers, cursors, description, times
from api.http.parameters import Cursor, DeviceName, Instant, NoParameters, Parameters, RuleName, once
from api.problems import BadParameter
from api.queries import alarms as queries
from api.queries import devices
from api.queries.alarms import Filter, Wanted
from api.routes import PREFIX
from api.shapes import alarms as shapes
from api.shapes.devices import MOST_TAGS
from schema.alarms.rules import Priority

router = APIRouter(prefix=PREFIX, tags=["alarms"], dependencies=[Depends(once)])

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
COLUMNS = tuple(shapes.ALARM)
TRANSITION_COLUMNS = tuple(shapes.TRANSITION)
ALARMS = description.ok(
    shapes.Alarms,
    "device,rule,title,state,…\r\nbr-1,temperature-high,Temperature high,unacknowledged,…\r\n",
    alarms={"alarms": [shapes.ALARM], **description.PAGE},
)


class DeviceParameters(Parameters):
    state: list[shapes.AlarmState] = Field([], description="only in these states; may be repeated; without it all")
    standing: bool | None = Field(None, description="true: only those that are not normal; false: only those that are")
    unacknowledged: bool | None = Field(None, description="only those that somebody has to acknowledge, or the others")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    rule: str | None = Field(None, max_length=64, description="only of this rule")
    limit: int = Field(100, ge=1, le=1000, description="most alarms on a page")
    cursor: Cursor = None

    def filter(self, device: str | None = None, tags: list[str] | None = None) -> Filter:
        return Filter(
            self.state or None,
            self.standing,
            self.priority or None,
            device,
            tags,
            self.rule,
            self.unacknowledged,
        )


class ListParameters(DeviceParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        [], max_length=MOST_TAGS, description="only of devices that have this tag; repeated: all of these tags"
    )


class HistoryParameters(Parameters):
    from_: Instant = Field(
        times.FIRST, alias="from", description="first instant of recording; without it from the beginning"
    )
    to: Instant = Field(times.LAST, description="end, not part of it; without it to the newest")
    device: str | None = Field(None, max_length=64, description="only of this device")
    rule: str | None = Field(None, max_length=64, description="only of this rule, also if it was removed")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    cause: list[shapes.Cause] = Field([], description="only by these causes; may be repeated")
    limit: int | None = Field(
        None, ge=1, le=1000, description="most on a page, 100 if not given. CSV without it is not cut into pages"
    )
    cursor: Cursor = None

    def wanted(self) -> Wanted:
        if self.from_ >= self.to:
            raise BadParameter("from", "must be before `to`")
        return Wanted(self.from_, self.to, self.device, self.rule, self.priority or None, self.cause or None)


@router.get("/alarms.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/alarms",
    dependencies=READ,
    summary="Alarms by device and rule",
    description="Every rule on every device of its scope, from its first transition on. `standing=true` has those that "
    "are not normal.",
    responses=description.DATABASE | ALARMS,
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await _page(request, database, asked, asked.filter(asked.device, asked.tag or None))


@router.get("/devices/{device}/alarms.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/devices/{device}/alarms",
    dependencies=READ,
    summary="Alarms of a device, by rule",
    responses=description.DEVICE | ALARMS,
)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[DeviceParameters, Query()]
) -> Response:
    await devices.device_id(database, device)
    return await _page(request, database, asked, asked.filter(device))


async def _page(request: Request, database: Database, asked: DeviceParameters, wanted: Filter) -> Response:
    format_ = answers.chosen(request, asked.format)
    after: list[Any] = ["", ""]
    if asked.cursor is not None:
        after = cursors.decode(request, asked.cursor, cursors.device, cursors.device)
    items = await queries.page(database, wanted, after, asked.limit + 1)
    shown, following = items[: asked.limit], None
    if len(items) > asked.limit:
        following = cursors.encode(request, shown[-1]["device"], shown[-1]["rule"])
    return answers.listing(request, format_, "alarms", shown, COLUMNS, following=following)


@router.get("/alarms/history.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/alarms/history",
    dependencies=READ,
    summary="What became of alarms: every transition, newest first",
    description="`from` and `to` are about when it was recorded, which is the order, too.",
    responses=description.DATABASE
    | description.ok(
        shapes.History,
        "id,device,rule,title,n,…\r\n4711,br-1,temperature-high,Temperature high,7,…\r\n",
        transitions={"transitions": [shapes.TRANSITION], **description.PAGE},
    ),
)
async def history(request: Request, database: Db, asked: Annotated[HistoryParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    wanted = asked.wanted()
    if format_ == "csv" and asked.limit is None and asked.cursor is None:
        pages = ([list(item.values()) for item in items] async for items in queries.all_history(database, wanted))
        return await answers.csv_stream(request, TRANSITION_COLUMNS, pages)
    if asked.cursor is not None:
        [before] = cursors.decode(request, asked.cursor, cursors.number)
        wanted = replace(wanted, before=before)
    limit = asked.limit or 100
    items = await queries.history(database, wanted, limit + 1)
    shown, following = items[:limit], None
    if len(items) > limit:
        following = cursors.encode(request, shown[-1]["id"])
    return answers.listing(request, format_, "transitions", shown, TRANSITION_COLUMNS, following=following)


@router.get(
    "/alarms/{device}/{rule}",
    dependencies=READ,
    summary="One alarm, with its rule and its last transitions",
    responses=description.THING | description.ok(shapes.AlarmDetail, None, alarm=shapes.DETAIL),
)
async def one(
    request: Request, database: Db, device: DeviceName, rule: RuleName, asked: Annotated[NoParameters, Query()]
) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await queries.one(database, device, rule))
