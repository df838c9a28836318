"""Alarms as they are, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.parameters import (
    Cursor,
    DeviceName,
    ListParameters,
    RuleName,
    SpanParameters,
)
from api.queries import alarms as queries
from api.queries import devices
from api.queries.alarms import AlarmFilter, WantedTransitions
from api.routes import Router
from api.shapes import alarms as shapes
from api.shapes.devices import MOST_TAGS
from schema.alarms.rules import Priority

router = Router("alarms")

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
ALARMS = Table(
    name="alarms",
    of=shapes.AlarmAnswer,
    item=queries.item,
    key={"device": cursors.device, "rule": cursors.device},
    first=("", ""),
)
TRANSITIONS = Table(
    name="transitions",
    title="History",
    of=shapes.TransitionAnswer,
    item=queries.transition,
    key={"transition_id": cursors.number},
    first=(queries.LAST_ID,),
)


class DeviceAlarmParameters(ListParameters):
    state: list[shapes.AlarmState] = Field([], description="only in these states; may be repeated; without it all")
    standing: bool | None = Field(None, description="true: only those that are not normal; false: only those that are")
    unacknowledged: bool | None = Field(None, description="only those that somebody has to acknowledge, or the others")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    rule: str | None = Field(None, max_length=64, description="only of this rule")

    def filter(self, device: str | None = None, tags: list[str] | None = None) -> AlarmFilter:
        return AlarmFilter(
            self.state or None,
            self.standing,
            self.priority or None,
            device,
            tags,
            self.rule,
            self.unacknowledged,
        )


class AlarmParameters(DeviceAlarmParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        [], max_length=MOST_TAGS, description="only of devices that have this tag; repeated: all of these tags"
    )


class HistoryParameters(SpanParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    rule: str | None = Field(None, max_length=64, description="only of this rule, also if it was removed")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    cause: list[shapes.Cause] = Field([], description="only by these causes; may be repeated")
    limit: int | None = Field(
        None, ge=1, le=1000, description="most on a page, 100 if not given. CSV without it is not cut into pages"
    )
    cursor: Cursor = None

    def wanted(self) -> WantedTransitions:
        span = self.span()
        return WantedTransitions(
            span.begin, span.end, self.device, self.rule, self.priority or None, self.cause or None
        )


@router.table(
    "/alarms",
    dependencies=READ,
    summary="Alarms by device and rule",
    description="Every rule on every device of its scope, from its first transition on. `standing=true` has those that "
    "are not normal.",
    responses=description.DATABASE | ALARMS.described(shapes.ALARM),
)
async def page(request: Request, database: Db, asked: Annotated[AlarmParameters, Query()]) -> Response:
    wanted = asked.filter(asked.device, asked.tag or None)
    return await ALARMS.page(request, asked, lambda after, limit: queries.page(database, wanted, after, limit))


@router.table(
    "/devices/{device}/alarms",
    dependencies=READ,
    summary="Alarms of a device, by rule",
    responses=description.DEVICE | ALARMS.described(shapes.ALARM),
)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[DeviceAlarmParameters, Query()]
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
    responses=description.THING | description.ok(shapes.AlarmDetail, alarm=shapes.DETAIL),
)
async def one(database: Db, device: DeviceName, rule: RuleName, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, device, rule))
