"""Alarms as they are, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, times
from api.http.answers import Table
from api.http.parameters import Cursor, DeviceName, Instant, NoParameters, Parameters, RuleName
from api.problems import BadParameter
from api.queries import alarms as queries
from api.queries import devices
from api.queries.alarms import Filter, Wanted
from api.routes import Router
from api.shapes import alarms as shapes
from api.shapes.devices import MOST_TAGS
from schema.alarms.rules import Priority

router = Router("alarms")

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
ALARMS = Table(
    name="alarms",
    of=shapes.Alarm,
    item=queries.item,
    key={"device": cursors.device, "rule": cursors.device},
    first=("", ""),
)
TRANSITIONS = Table(
    name="transitions",
    title="History",
    of=shapes.Transition,
    item=queries.transition,
    key={"transition_id": cursors.number},
    first=(queries.LAST_ID,),
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


@router.table(
    "/alarms",
    dependencies=READ,
    summary="Alarms by device and rule",
    description="Every rule on every device of its scope, from its first transition on. `standing=true` has those that "
    "are not normal.",
    responses=description.DATABASE | ALARMS.described(shapes.ALARM),
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    wanted = asked.filter(asked.device, asked.tag or None)
    return await ALARMS.page(request, asked, lambda after, limit: queries.page(database, wanted, after, limit))


@router.table(
    "/devices/{device}/alarms",
    dependencies=READ,
    summary="Alarms of a device, by rule",
    responses=description.DEVICE | ALARMS.described(shapes.ALARM),
)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[DeviceParameters, Query()]
) -> Response:
    await devices.device_id(database, device)
    wanted = asked.filter(device)
    return await ALARMS.page(request, asked, lambda after, limit: queries.page(database, wanted, after, limit))


@router.table(
    "/alarms/history",
    dependencies=READ,
    summary="What became of alarms: every transition, newest first",
    description="`from` and `to` are about when it was recorded, which is the order, too.",
    responses=description.DATABASE | TRANSITIONS.described(shapes.TRANSITION),
)
async def history(request: Request, database: Db, asked: Annotated[HistoryParameters, Query()]) -> Response:
    wanted = asked.wanted()

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.history(database, replace(wanted, before=before[0]), limit)

    return await TRANSITIONS.page(request, asked, rows, everything=lambda: queries.all_history(database, wanted))


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
