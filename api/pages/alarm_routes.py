"""Who is told of alarms by mail, chat or webhook: the list, a form for each, and the test message."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http.parameters import Words
from api.http.preconditions import ABSENT, Expected
from api.pages import alarm_words as words
from api.pages import rule_form
from api.pages.alarm_rules import STALE
from api.pages.page import OrganizationPage, Page, PageRouter, form, is_partial
from api.problems import BadParameter, PreconditionFailed
from api.queries import alarm_routes as queries
from api.queries import plant
from api.queries.alarm_rules import RuleOrder
from api.shapes.alarm_routes import AlarmRoute, RouteChange
from schema.alarms.notification_routes import DAYS, RouteName
from schema.alarms.rules import PRIORITIES

READ = [allow(Role.ADMIN, Scope.ALARMS_READ)]
WRITE = [allow(Role.ADMIN, Scope.RULES_WRITE)]
router = PageRouter()

MOST = 500
"""Routes on the page."""
BLANK = 2
"""Hours that the form has room for, beside those that there are."""
LISTS = {"devices": "\n", "tags": "\n", "priorities": ","}
NEW: dict[str, Any] = {
    "enabled": True,
    "priorities": ["high", "critical"],
    "devices": [],
    "tags": [],
    "hours": [],
    "time_zone": "UTC",
    "group_wait_s": 10.0,
    "repeat_after_s": None,
    "escalate_after_s": None,
    "escalate_to": None,
    "send_returns": False,
}
Name = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]


class RouteForm(BaseModel):
    """What the form sends. Hours are in `model_extra`: `0.days`, `0.begins`, `0.ends` and so on."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    name: RouteName | None = None
    version: int | None = Field(None, ge=1, lt=2**31)
    why: Words
    url: str | None = None
    enabled: bool = False
    send_returns: bool = False
    priorities: list[str] = []
    devices: list[str] = []
    tags: list[str] = []
    time_zone: str = "UTC"
    group_wait_s: float | None = None
    repeat_after_s: float | None = None
    escalate_after_s: float | None = None
    escalate_to: str | None = None

    def change(self) -> RouteChange:
        """Raises BadParameter."""
        extra = self.model_extra or {}
        given = {name: getattr(self, name) for name in NEW if name != "hours" and getattr(self, name) is not None}
        given["hours"] = [
            {"days": days} | {end: extra[f"{n}.{end}"] for end in ("begins", "ends") if f"{n}.{end}" in extra}
            for n in range(21)
            if (days := [day for day in DAYS if f"{n}.{day}" in extra])
        ]
        if self.url is not None:
            given["url"] = self.url
        try:
            return RouteChange.model_validate_json(json.dumps(given))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "route"
            raise BadParameter(field, first["msg"].removeprefix("Value error, ")) from error


class Asked(BaseModel):
    """What an act on a route sends."""

    model_config = ConfigDict(extra="forbid")

    why: Words
    version: int | None = Field(None, ge=1, lt=2**31)


@router.get("/alarms/notifications", dependencies=READ)
async def routes(page: OrganizationPage, database: Db) -> Response:
    found = [queries.item(row) for row in await queries.page(database, "", MOST)]
    rows = [{"route": one, "definition": msgspec.json.decode(one.definition)} for one in found]
    template = "partials/alarm_routes.html" if is_partial(page.request) else "pages/alarm_routes.html"
    return page.show(template, here="alarms", tab="alarms/notifications", rows=rows, words=words)


@router.get("/alarm-routes", dependencies=READ)
async def new(page: OrganizationPage, database: Db) -> Response:
    return await _form(page, database, None)


@router.get("/alarm-routes/{route}", dependencies=READ)
async def route(page: OrganizationPage, database: Db, route: Name) -> Response:
    found = await queries.detail(database, route)
    if is_partial(page.request):
        return page.show("partials/alarm_route.html", route=found)
    return await _form(page, database, found)


@router.post("/alarm-routes", dependencies=WRITE)
async def make(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, RouteForm, **LISTS)
    if given.name is None:
        raise BadParameter("name", "is missing: small letters, digits and hyphens")
    return await _put(page, database, given.name, given, Expected(ABSENT))


@router.post("/alarm-routes/{route}", dependencies=WRITE)
async def save(page: OrganizationPage, database: Db, route: Name) -> Response:
    """Save a route, if nobody has changed it since the form was shown."""
    given = await form(page.request, RouteForm, **LISTS)
    if given.version is None:
        raise BadParameter("version", "is missing: load the page again")
    return await _put(page, database, route, given, Expected(given.version))


@router.post("/alarm-routes/{route}/test", dependencies=WRITE)
async def test(page: OrganizationPage, database: Db, route: Name) -> Response:
    given = await form(page.request, Asked)
    await queries.test(database, route, RuleOrder(page.member.who, given.why))
    said = "A test message is being sent: what became of it stands beside the route in some seconds."
    return page.done(said, to=f"alarm-routes/{route}")


@router.post("/alarm-routes/{route}/remove", dependencies=WRITE)
async def remove(page: OrganizationPage, database: Db, route: Name) -> Response:
    given = await form(page.request, Asked)
    await queries.remove(database, route, given.version, RuleOrder(page.member.who, given.why))
    return page.go("alarms/notifications")


async def _put(page: Page, database: Database, name: str, given: RouteForm, expected: Expected) -> Response:
    assert page.member.organization_id is not None
    change, place = given.change(), (page.member.organization_id, name)
    url = queries.allowed_url(page.app.settings, change)
    order = RuleOrder(page.member.who, given.why)
    try:
        await queries.put(database, place, change, url, expected=expected, change=order)
    except PreconditionFailed as error:
        raise PreconditionFailed(f"{error.detail}. {STALE}") from error
    return page.go(f"alarm-routes/{name}")


async def _form(page: Page, database: Database, found: AlarmRoute | None) -> Response:
    definition = NEW | (msgspec.json.decode(found.definition) if found else {})
    others = [row["name"] for row in await queries.page(database, "", MOST)]
    tags, _ = await plant.choices(database)
    return page.show(
        "pages/alarm_route.html",
        here="alarms",
        tab="alarms/notifications",
        route=found,
        definition=definition,
        hours=[*definition["hours"], *[{"days": [], "begins": "", "ends": ""}] * BLANK][:21],
        others=[one for one in others if found is None or one != found.route],
        days=DAYS,
        priorities=PRIORITIES[::-1],
        tags=tags,
        words=words,
        said=rule_form.said,
    )
