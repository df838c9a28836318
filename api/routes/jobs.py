"""Routes for jobs: how far they are, to cancel them, and to delete their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.http.parameters import ReasonParameter
from api.problems import Forbidden
from api.queries import jobs as queries
from api.routes import Router
from api.shapes import jobs as shapes
from schema import times

router = Router("jobs", allow(Role.VIEWER, Scope.TELEMETRY_READ))
JOBS = Table(
    name="jobs",
    of=shapes.JobAnswer,
    item=queries.item,
    key={"created_at": cursors.instant, "job_id": UUID},
    first=(times.LAST, queries.LAST_ID),
    title="JobList",
)
JobId = Annotated[UUID, Path(description="id of a job", examples=[shapes.JOB["id"]])]
CHANGER = Role.ENGINEER
"""Who may cancel an import or a replay; an export and a report are anybody's who may read."""


@router.table(
    "/jobs",
    summary="Jobs of the organization, newest first",
    description="Exports, imports, reports and replays of the quarantine are jobs: the worker does them, one after the "
    "other for each organization.",
    responses=description.DATABASE | JOBS.described(shapes.JOB),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.JobParameters, Query()]) -> Response:
    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, asked, before, limit)

    return await JOBS.page(request, asked, rows)


@router.get(
    "/jobs/{job}",
    summary="One job, with how far it is and what came out",
    responses=description.THING | description.ok(shapes.JobAnswer, job=shapes.JOB),
)
async def one(database: Db, job: JobId, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, job))


@router.post(
    "/jobs/{job}/cancel",
    summary="Cancel a job that has not ended",
    description="A job that waits is cancelled at once. One that runs ends within seconds: see its `state`. An import "
    "needs the role engineer.",
    responses=description.CHANGE
    | description.ok(shapes.JobAnswer, job=shapes.JOB | {"state": "cancelled", "finished_at": description.T}),
    openapi_extra=described(Order),
)
async def cancel(request: Request, database: Db, member: Member, job: JobId) -> Response:
    given = await order(request, Order)
    await _check_may(database, member, job)
    return answers.json(await queries.cancel(database, job, member.who, given.why))


@router.delete(
    "/jobs/{job}/files",
    summary="Delete the files of a job that has ended",
    description="They then count no more for the share that the organization has of the disk. The job stays in the "
    "list. The files of an import need the role engineer.",
    responses=description.CHANGE
    | description.ok(shapes.JobAnswer, job=shapes.JOB | {"state": "done", "files_expire_at": description.T}),
)
async def drop_files(database: Db, member: Member, job: JobId, asked: Annotated[ReasonParameter, Query()]) -> Response:
    await _check_may(database, member, job)
    return answers.json(await queries.drop_files(database, job, member.who, asked.why))


async def _check_may(database: Database, member: Principal, job: UUID) -> None:
    found = await queries.one(database, job)
    if found.kind not in {"export", "report"} and (member.role is None or not member.role.covers(CHANGER)):
        raise Forbidden(f"a job of the kind {found.kind} is for the role {CHANGER} or higher; you are {member.role}")
