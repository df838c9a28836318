"""Routes for the quarantine: rejected messages, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.queries import quarantine as queries
from api.queries import run_times
from api.routes import PREFIX, Router
from api.shapes import jobs as job_shapes
from api.shapes import quarantine as shapes
from api.shapes.quarantine import QuarantineOrder

router = Router("quarantine")
READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
SETTLE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
QUARANTINE = Table(
    name="quarantine",
    of=shapes.Quarantined,
    item=queries.item,
    key={"received_at": cursors.instant, "quarantine_id": cursors.number},
)


@router.table(
    "/quarantine",
    dependencies=READ,
    summary="Rejected messages with the reason, newest first",
    responses=description.DATABASE | QUARANTINE.described(shapes.QUARANTINED),
)
async def quarantine(
    request: Request, database: Db, asked: Annotated[shapes.QuarantineParameters, Query()]
) -> Response:
    question = await run_times.placed(database, asked, asked.device)
    return await QUARANTINE.page(
        request,
        asked,
        lambda before, limit: queries.quarantine(database, question, before, limit),
        first=(question.span.end, queries.LAST_ID),
    )


@router.get(
    "/quarantine/{number}",
    dependencies=READ,
    summary="One rejected message with all of its payload",
    responses=description.DATABASE
    | {404: description.DEVICE[404]}
    | description.ok(shapes.Quarantined, quarantined=shapes.QUARANTINED),
)
async def quarantined(
    database: Db,
    number: Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` in the list", examples=[4711])],
    _: JsonOnly,
) -> Response:
    return answers.json(await queries.quarantined(database, number))


@router.post(
    "/quarantine-replays",
    dependencies=SETTLE,
    status_code=202,
    summary="Take open messages in again",
    description="As if they came now, judged by the time at which they were received: say, after their device was "
    "registered. The worker does it: see `state` and `result` at the address in Location. A message that is rejected "
    "again stays open.",
    responses=description.CHANGE
    | {
        202: description.ok(job_shapes.JobAnswer, job=shapes.REPLAY)[200]
        | {"headers": {"Location": {"description": "where the job is", "schema": {"type": "string"}}}}
    },
    openapi_extra=described(QuarantineOrder),
)
async def replay(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, QuarantineOrder)
    made = await queries.replay(database, given.messages, member.who, given.why)
    answer = answers.json(made, 202)
    answer.headers["Location"] = f"{PREFIX}/jobs/{made.id}"
    return answer


@router.post(
    "/quarantine-discards",
    dependencies=SETTLE,
    summary="Throw open messages away: all that are named, or none",
    description="Their payloads are gone for good; their rows stay, with hash and reason.",
    responses=description.CHANGE | description.ok(shapes.Discarded, discarded={"discarded": 1}),
    openapi_extra=described(QuarantineOrder),
)
async def discard(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, QuarantineOrder)
    return answers.json(shapes.Discarded(await queries.discard(database, given.messages, member.who, given.why)))
