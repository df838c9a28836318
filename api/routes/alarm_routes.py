"""Who is told of alarms: routes to mail, chat and webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from api import answers, cursors, problems, versions
from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.bodies.alarm_routes import RouteChange
from api.bodies.orders import described, order
from api.models import alarm_routes as shapes
from api.models import common as models
from api.parameters import Cursor, NoParameters, Parameters, once
from api.problems import BadParameter
from api.queries import alarm_routes as routes
from api.routes import PREFIX
from api.routes.alarm_rules import ETAG, Before, Changing, IfMatch
from schema.alarms.notification_routes import SCHEMES, scheme

router = APIRouter(prefix=PREFIX, tags=["alarm routes"], dependencies=[Depends(once)])

READ = [allow(Role.ADMIN, Scope.ALARMS_READ)]
WRITE = [allow(Role.ADMIN, Scope.RULES_WRITE)]
COLUMNS = tuple(name for name in shapes.ROUTE if name not in {"test", "definition"})
SAVED = models.ok(shapes.AlarmRoute, None, route=shapes.ROUTE)[200]

RouteName = Annotated[
    str, Path(description="name of an alarm route", examples=["shift"], pattern="^[a-z0-9][a-z0-9-]{0,63}$")
]


class ListParameters(Parameters):
    limit: int = Field(100, ge=1, le=1000, description="most routes on a page")
    cursor: Cursor = None


@router.get("/alarm-routes.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/alarm-routes",
    dependencies=READ,
    summary="Who is told of alarms, and how it goes",
    responses=problems.DATABASE
    | models.ok(
        shapes.AlarmRoutes,
        "route,version,address,created_at,…\r\nshift,1,mailtos://smtp.example.org,2026-11-20T07:45:00.000000Z,…\r\n",
        routes={"routes": [shapes.ROUTE], **models.PAGE},
    ),
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    [after] = [""] if asked.cursor is None else cursors.decode(request, asked.cursor, cursors.device)
    items = await routes.page(database, after, asked.limit + 1)
    shown, following = items[: asked.limit], None
    if len(items) > asked.limit:
        following = cursors.encode(request, shown[-1]["route"])
    return answers.listing(request, format_, "routes", shown, COLUMNS, following=following)


@router.get(
    "/alarm-routes/{route}",
    dependencies=READ,
    summary="One alarm route",
    responses=problems.THING | {200: SAVED | {"headers": ETAG}},
)
async def one(request: Request, database: Db, route: RouteName, asked: Annotated[NoParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    return versions.tagged(await routes.detail(database, route))


@router.put(
    "/alarm-routes/{route}",
    dependencies=WRITE,
    summary="Make an alarm route, or change it",
    description="The body is the whole route; only the URL may be left out where there is one. With `If-Match` it is "
    "only changed if nobody has changed it meanwhile; with `If-None-Match: *` it is only made. Test it then.",
    responses=problems.CHANGE
    | {
        200: SAVED | {"description": "Changed, or as it was", "headers": ETAG},
        201: SAVED | {"description": "Made", "headers": ETAG},
        412: problems.CHANGED,
    },
    openapi_extra=described(RouteChange),
)
async def put(
    request: Request, database: Db, member: Member, route: RouteName, *, before: Before, change: Changing
) -> Response:
    assert member.organization_id is not None
    given = await order(request, RouteChange)
    url = None if given.url is None else given.url.get_secret_value()
    if url is not None:
        _check(request, url)
    place = (member.organization_id, route)
    item, is_new = await routes.put(database, place, given, url, before=before, change=change)
    return versions.tagged(item, 201 if is_new else 200)


def _check(request: Request, url: str) -> None:
    said: str | None = request.app.state.settings.notify_schemes
    allowed = SCHEMES if said is None else tuple(said.replace(" ", "").lower().split(","))
    if scheme(url) not in allowed:
        raise BadParameter("url", f"is of a kind that is not allowed here; there are {', '.join(allowed)}")


@router.delete(
    "/alarm-routes/{route}",
    dependencies=WRITE,
    summary="Remove an alarm route",
    description="What it has still to tell is told to nobody.",
    responses=problems.CHANGE | {412: problems.CHANGED} | models.ok(shapes.AlarmRoute, None, route=shapes.ROUTE),
)
async def remove(database: Db, route: RouteName, change: Changing, if_match: IfMatch = None) -> Response:
    version = None if if_match is None else versions.wanted(if_match)
    return answers.json(await routes.remove(database, route, version, change))


@router.post(
    "/alarm-routes/{route}/test",
    dependencies=WRITE,
    status_code=202,
    summary="Send a test message",
    description="At once, whatever the hours. What became of it is in `test` of the route, some seconds later.",
    responses=problems.CHANGE
    | {
        202: models.ok(
            shapes.AlarmRoute,
            None,
            route=shapes.ROUTE | {"test": {"asked_at": models.T, "state": "waiting", "sent_at": None}},
        )[200]
        | {"description": "It will be sent"}
    },
)
async def test(database: Db, route: RouteName, change: Changing) -> Response:
    return answers.json(await routes.test(database, route, change), 202)
