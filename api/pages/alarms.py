"""Alarms: the list that people work with, one alarm, what people do about alarms, and their history."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import cursors
from api.http.answers import USUAL
from api.http.bodies import DeviceText
from api.http.parameters import DeviceName, RuleName, Words
from api.pages import alarm_words as words
from api.pages.filters import Filters, query
from api.pages.page import OrganizationPage, PageRouter, form, is_partial
from api.problems import BadParameter, Conflict
from api.queries import alarm_acts, deviations, device_cards, devices, plant
from api.queries import alarms as queries
from api.queries.alarm_acts import Asker
from api.queries.alarms import Urgent
from api.shapes.alarm_acts import MOST_ALARMS, Acts, Outcomes
from api.shapes.alarms import AlarmAnswer, HistoryParameters, SilencedAlarm, SilencedParameters
from api.shapes.devices import Tag
from schema.alarms.machine import Action, AlarmState
from schema.alarms.rules import PRIORITIES, Priority

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
router = PageRouter()

NAMES = 500
"""Devices that a filter offers."""
SEEN_TO = [state for state in AlarmState if state not in words.HELD]


class AlarmFilters(Filters):
    device: DeviceText | None = None
    priority: list[Priority] = Field([], max_length=4)
    state: AlarmState | Literal["not-evaluated"] | None = None
    tag: list[Tag] = Field([], max_length=32)


class HistoryFilters(Filters, HistoryParameters):
    pass


class ActForm(BaseModel):
    """An act on the alarms that were marked, each with the number that it had when it was seen."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    alarm: list[str] = Field(min_length=1, max_length=MOST_ALARMS)
    why: Words
    seconds: int | None = None
    once: bool = False
    back: str = Field("alarms", max_length=200, pattern="^alarms(/[A-Za-z0-9._-]+/[a-z0-9-]+)?$")

    @field_validator("alarm")
    @classmethod
    def _are_names(cls, alarms: list[str]) -> list[str]:
        if not all(len(one.split("/")) == 3 for one in alarms):
            raise ValueError("an alarm is device/rule/n")
        return alarms

    def acts(self) -> Acts:
        """Raises BadParameter."""
        names = [dict(zip(("device", "rule", "n"), one.split("/"), strict=True)) for one in self.alarm]
        try:
            return Acts.model_validate(
                {"action": self.action, "alarms": names, "why": self.why, "duration_s": self.seconds, "once": self.once}
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise BadParameter("alarm", first["msg"].removeprefix("Value error, ")) from error


@router.get("/alarms", dependencies=READ)
async def alarms(page: OrganizationPage, database: Db, asked: Annotated[AlarmFilters, Query()]) -> Response:
    seen_to, held, due = await asyncio.gather(
        _seen_to(database, asked), _held(database, asked), device_cards.due(database)
    )
    values: dict[str, Any] = {
        "standing": [one for one in seen_to[:MOST_ALARMS] if asked.state is not None or one.state != "normal"],
        "blind": [one for one in seen_to[:MOST_ALARMS] if asked.state is None and one.state == "normal"],
        "held": held[:MOST_ALARMS],
        "due": due if page.may("viewer", "devices:read") else {},
        "more": max(len(seen_to), len(held)) > MOST_ALARMS,
        "asked": asked,
        "words": words,
    }
    if is_partial(page.request):
        return page.show("partials/alarms.html", **values)
    tags, _ = await plant.choices(database)
    names = [name for _, name in await devices.names(database, "", NAMES)]
    return page.show(
        "pages/alarms.html", here="alarms", tab="alarms", tags=tags, names=names, priorities=PRIORITIES[::-1], **values
    )


async def _seen_to(database: Database, asked: AlarmFilters) -> list[AlarmAnswer]:
    """The alarms that are not held back, one more than are shown."""
    if asked.state in words.HELD:
        return []
    states = [AlarmState(asked.state)] if asked.state in SEEN_TO else []
    wanted = Urgent(
        states=states or (SEEN_TO if asked.state is None else ()),
        standing=True if asked.state is None else None,
        not_evaluated=True if asked.state == "not-evaluated" else None,
        priorities=asked.priority,
        device=asked.device,
        tags=asked.tag,
    )
    return await queries.urgent(database, wanted, MOST_ALARMS + 1)


async def _held(database: Database, asked: AlarmFilters) -> list[SilencedAlarm]:
    if asked.state is not None and asked.state not in words.HELD:
        return []
    states: Any = [] if asked.state is None else [asked.state]
    wanted = SilencedParameters(state=states, priority=asked.priority, device=asked.device)
    rows = await queries.silenced(database, wanted, ("", ""), MOST_ALARMS + 1, asked.tag)
    return [queries.silenced_item(row) for row in rows]


@router.post("/alarms/acts", dependencies=[allow(Role.CONTROL_ROOM, Scope.ALARMS_WRITE)])
async def act(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, ActForm, alarm=",")
    asker = Asker(page.member, page.app.settings, page.app.waiting, page.request.is_disconnected)
    found = await alarm_acts.many(database, asker, given.acts())
    return page.done(_told(found, words.ACTS[given.action]), to=given.back)


def _told(found: Outcomes, act: str) -> str:
    """What became of the acts, in words. Raises Conflict if nothing was done."""
    refused = [one for one in found.acts if one.outcome in {"refused", "unknown"}]
    details = [f"{one.rule} of {one.device}: {one.detail or 'there is no such alarm'}" for one in refused[:5]]
    if not found.done and not found.waiting:
        raise Conflict("; ".join(details))
    parts = []
    if found.done:
        one = found.acts[0]
        parts.append(
            f"{act}: done for {f'{one.rule} of {one.device}' if len(found.acts) == 1 else f'{found.done} alarms'}."
        )
    if found.waiting:
        parts.append(f"{act}: {found.waiting} asked for; the process that evaluates alarms has still to do it.")
    if refused:
        parts.append(f"{len(refused)} refused: {'; '.join(details)}.")
    return " ".join(parts)


@router.get("/alarms/history", dependencies=READ)
async def history(page: OrganizationPage, database: Db, asked: Annotated[HistoryFilters, Query()]) -> Response:
    before: list[Any] = [queries.LAST_ID]
    if asked.cursor is not None:
        before = cursors.decode(page.request, asked.cursor, cursors.number)
    limit = asked.limit or USUAL
    found = await queries.history(database, asked, before[0], limit + 1)
    following = None
    if len(found) > limit:
        following = query(page.request, cursor=cursors.encode(page.request, found[limit - 1]["transition_id"]))
    names = [name for _, name in await devices.names(database, "", NAMES)]
    return page.show(
        "pages/alarm_history.html",
        here="alarms",
        tab="alarms/history",
        transitions=[queries.transition(row) for row in found[:limit]],
        following=following,
        csv=query(page.request, cursor=None, limit=None),
        asked=asked,
        given=page.request.query_params,
        names=names,
        priorities=PRIORITIES[::-1],
        words=words,
    )


@router.get("/alarms/history.csv", dependencies=READ)
async def history_as_file(page: OrganizationPage, database: Db, asked: Annotated[HistoryFilters, Query()]) -> Response:
    return await queries.history_page(page.request, database, asked)


@router.get("/alarms/{device}/{rule}", dependencies=READ)
async def alarm(page: OrganizationPage, database: Db, device: DeviceName, rule: RuleName) -> Response:
    found = await queries.one(database, device, rule)
    template = "partials/alarm.html" if is_partial(page.request) else "pages/alarm.html"
    definition = msgspec.json.decode(found.definition)
    linked = await deviations.of_alarm(database, device, rule) if page.may("viewer", "devices:read") else []
    values: dict[str, Any] = {"alarm": found, "definition": definition, "words": words, "linked_deviations": linked}
    return page.show(template, here="alarms", tab="alarms", **values)
