"""HTTP routes for alarm routes: who is told of alarms by mail, chat or webhook."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.parameters import ListParameters
from api.http.preconditions import ExpectedByHeader, IfMatch
from api.queries import alarm_routes as queries
from api.routes import Router
from api.routes.alarm_rules import Changing
from api.services import App
from api.shapes import alarm_routes as shapes
from api.shapes.alarm_routes import RouteChange

router = Router("alarm routes")

READ = [allow(Role.ADMIN, Scope.ALARMS_READ)]
WRITE = [allow(Role.ADMIN, Scope.RULES_WRITE)]
ROUTES = Table(
    name="routes",
    title="AlarmRoutes",
    of=shapes.AlarmRoute,
    item=queries.item,
    without=frozenset({"test.asked_at", "test.state", "test.sent_at", "definition"}),
    key={"name": cursors.device},
    first=("",),
)

RouteName = Annotated[
    str, Path(description="name of an alarm route", examples=["shift"], pattern="^[a-z0-9][a-z0-9-]{0,63}$")
]


@router.table(
    "/alarm-routes",
    dependencies=READ,
    summary="Alarm routes by name, with how their messages go",
    responses=description.DATABASE | ROUTES.described(shapes.ROUTE),
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await ROUTES.page(request, asked, lambda after, limit: queries.page(database, after[0], limit))


@router.get(
    "/alarm-routes/{route}",
    dependencies=READ,
    summary="One alarm route",
    responses=description.THING | description.versioned(shapes.AlarmRoute, route=shapes.ROUTE),
)
async def one(database: Db, route: RouteName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, route))


@router.put(
    "/alarm-routes/{route}",
    dependencies=WRITE,
    summary="Make an alarm route, or change it",
    description="The body is the whole route; only the URL may be left out where there is one. With `If-Match` it is "
    "only changed if nobody has changed it meanwhile; with `If-None-Match: *` it is only made. Test it then.",
    responses=description.CHANGE | description.saved(shapes.AlarmRoute, route=shapes.ROUTE),
    openapi_extra=described(RouteChange),
)
async def put(
    request: Request,
    app: App,
    database: Db,
    member: Member,
    route: RouteName,
    *,
    expected: ExpectedByHeader,
    change: Changing,
) -> Response:
    assert member.organization_id is not None
    given = await order(request, RouteChange)
    place = (member.organization_id, route)
    url = queries.allowed_url(app.settings, given)
    item, is_new = await queries.put(database, place, given, url, expected=expected, change=change)
    return preconditions.tagged(item, 201 if is_new else 200)


@router.delete(
    "/alarm-routes/{route}",
    dependencies=WRITE,
    summary="Remove an alarm route",
    description="Messages that it has still to send are not sent.",
    responses=description.CHANGE | description.CHANGED | description.ok(shapes.AlarmRoute, route=shapes.ROUTE),
)
async def remove(database: Db, route: RouteName, change: Changing, if_match: IfMatch = None) -> Response:
    return answers.json(await queries.remove(database, route, preconditions.wanted(if_match), change))


@router.post(
    "/alarm-routes/{route}/test",
    dependencies=WRITE,
    status_code=202,
    summary="Send a test message",
    description="Sent at once, whatever the hours. `test` of the route has the result some seconds later.",
    responses=description.CHANGE
    | {
        202: description.ok(
            shapes.AlarmRoute,
            route=shapes.ROUTE | {"test": {"asked_at": description.T, "state": "waiting", "sent_at": None}},
        )[200]
        | {"description": "It will be sent"}
    },
)
async def test(database: Db, route: RouteName, change: Changing) -> Response:
    return answers.json(await queries.test(database, route, change), 202)
