"""Routes for what happened in an organization, and its live feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.access import guard
from api.access.guard import Db, allow, allow_socket
from api.access.roles import Principal, Role, Scope
from api.http import cursors, description
from api.http.answers import Table
from api.http.parameters import FeedParameters, ListParameters
from api.http.run_times import RunSpanParameters
from api.live import serving
from api.live.activity import ActivityFeed, ActivityMember, ActivityWishes
from api.live.serving import MEDIA_TYPE, EventStream
from api.queries import activity as queries
from api.queries import run_times
from api.queries.activity import WantedActivity
from api.routes import PREFIX, Router
from api.services import App
from api.shapes import activity as shapes
from api.shapes.activity import HappeningKind

READ = (Role.VIEWER, Scope.DEVICES_READ)
Listener = Annotated[Principal, allow_socket(*READ)]
router = Router("activity", prefix="")
KIND: Any = Field([], description="only these kinds; may be repeated. Without it all that you may read")
ACTIVITY = Table(
    name="activity",
    of=shapes.Happening,
    item=queries.item,
    without=frozenset({"facts"}),
    key={"time": cursors.instant, "id": str},
)


class ActivityParameters(RunSpanParameters, ListParameters):
    kind: list[HappeningKind] = KIND
    device: str | None = Field(None, max_length=64, description="only of this device")


class LiveActivityParameters(FeedParameters):
    kind: list[HappeningKind] = KIND


def _kinds(member: Principal, asked: Sequence[HappeningKind]) -> frozenset[HappeningKind]:
    """Those asked for. Raises Forbidden if the member may not read one of them."""
    for kind in asked:
        guard.require(member, *queries.NEEDS[kind])
    return frozenset(asked) or queries.permitted(member)


@router.table(
    f"{PREFIX}/activity",
    dependencies=[allow(*READ)],
    summary="What happened, of all kinds, newest first",
    responses=description.DATABASE | ACTIVITY.described(shapes.HAPPENING),
)
async def page(
    request: Request, database: Db, member: guard.Member, asked: Annotated[ActivityParameters, Query()]
) -> Response:
    kinds = _kinds(member, asked.kind)
    question = await run_times.placed(database, asked, asked.device)
    wanted = WantedActivity(kinds, question.devices, question.span)

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, wanted, before, limit)

    return await ACTIVITY.page(request, asked, rows, first=(question.span.end, ""))


@router.websocket("/ws/activity")
@router.websocket(f"{PREFIX}/ws/activity")
async def socket(
    websocket: WebSocket, app: App, listener: Listener, asked: Annotated[LiveActivityParameters, Query()]
) -> None:
    asked = await run_times.placed_feed(app.server, listener, asked)
    member = ActivityMember(ActivityWishes(_kinds(listener, asked.kind), asked.devices()))
    admission = app.hub.member(ActivityFeed, listener, member)
    await serving.socket(app.hub, websocket, listener, admission)


@router.get(
    f"{PREFIX}/activity/stream",
    dependencies=[allow(*READ)],
    summary="What happens, as server-sent events",
    description="First `snapshot`: what happened last, newest first, at most 50. Then `activity`: what is new, oldest "
    "first, or has changed, which has the `id` that it had. With `gap` more happened than is told: read the list. "
    "`heartbeat`, `trouble`, `recovered` and `end` are as for newest values. The same as messages of a WebSocket: "
    "`/api/v1/ws/activity`, with the same parameters.",
    responses=description.DATABASE
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": shapes.STREAM}}}},
)
async def stream(
    request: Request, app: App, listener: guard.Member, asked: Annotated[LiveActivityParameters, Query()]
) -> StreamingResponse:
    asked = await run_times.placed_feed(app.server, listener, asked)
    member = ActivityMember(ActivityWishes(_kinds(listener, asked.kind), asked.devices()))
    admission = app.hub.member(ActivityFeed, listener, member)
    return EventStream(app.hub, request, listener, admission)
