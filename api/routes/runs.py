"""Routes for runs: what is made in devices, its states and phases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.preconditions import IfMatch
from api.http.run_times import RUN_NAME
from api.queries import runs as queries
from api.routes import Router
from api.shapes import runs as shapes
from api.shapes.runs import (
    GivenPhases,
    NewRun,
    RunAnswer,
    RunChange,
    RunDetail,
    RunListParameters,
    RunPhases,
    RunProposalParameters,
    RunProposals,
    RunStep,
)
from schema import times

router = Router("runs")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
RunName = Annotated[str, Path(description="id of a run", examples=["B-2026-041"], pattern=RUN_NAME, max_length=100)]

RUNS = Table(
    name="runs",
    of=RunAnswer,
    item=queries.item,
    key={"sorted_at": cursors.instant, "run_id": cursors.number},
    first=(times.LAST, queries.LAST_ID),
)


@router.table(
    "/runs",
    dependencies=READ,
    summary="Runs, newest first",
    responses=description.DATABASE | RUNS.described(shapes.RUN),
)
async def page(request: Request, database: Db, asked: Annotated[RunListParameters, Query()]) -> Response:
    return await RUNS.page(request, asked, lambda before, limit: queries.page(database, asked, before, limit))


@router.get(
    "/run-proposals",
    dependencies=READ,
    summary="Runs that devices say have begun, and that nobody has made",
    description="By events of type `run`. Make what is right by POST /api/v1/runs; what is not right needs no answer.",
    responses=description.DATABASE | description.ok(RunProposals, proposed={"proposals": [shapes.PROPOSED]}),
)
async def proposals(request: Request, database: Db, asked: Annotated[RunProposalParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(RunProposals(await queries.proposed(database, asked.from_)))


@router.post(
    "/runs",
    dependencies=WRITE,
    status_code=201,
    summary="Make a run, planned or started",
    description="With `begins` it is running since then, else idle. A device is in one run at a time.",
    responses=description.CHANGE | description.located(RunDetail, run=shapes.DETAIL),
    openapi_extra=described(NewRun),
)
async def create(request: Request, database: Db, member: Member) -> Response:
    made = await queries.create(database, await order(request, NewRun), member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{request.url.path}/{made.run}"
    return answer


@router.get(
    "/runs/{run}",
    dependencies=READ,
    summary="One run with its phases, states and plan",
    responses=description.THING | description.versioned(RunDetail, run=shapes.DETAIL),
)
async def one(database: Db, run: RunName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, run))


@router.patch(
    "/runs/{run}",
    dependencies=WRITE,
    summary="Change what is said of a run, or correct its times",
    description="What is left out stays. With If-Match it is only done if nobody has changed it meanwhile.",
    responses=description.CHANGE | description.CHANGED | description.versioned(RunDetail, run=shapes.DETAIL),
    openapi_extra=described(RunChange),
)
async def change(request: Request, database: Db, member: Member, run: RunName, if_match: IfMatch = None) -> Response:
    given = await order(request, RunChange)
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.change(database, run, given, version, member.who))


@router.post(
    "/runs/{run}/states",
    dependencies=WRITE,
    summary="Start, hold, restart, stop, abort or complete a run",
    description="`next_states` of the run says what it can become; docs/runs.md has them all.",
    responses=description.CHANGE | description.CHANGED | description.versioned(RunDetail, run=shapes.DETAIL),
    openapi_extra=described(RunStep),
)
async def step(request: Request, database: Db, member: Member, run: RunName, if_match: IfMatch = None) -> Response:
    given = await order(request, RunStep)
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.step(database, run, given, version, member.who))


@router.get(
    "/runs/{run}/phases",
    dependencies=READ,
    summary="Phases of a run: confirmed ones, and proposals by events of its devices",
    responses=description.THING | description.versioned(RunPhases, phases=shapes.PHASES),
)
async def phases(database: Db, run: RunName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.phases(database, run))


@router.put(
    "/runs/{run}/phases",
    dependencies=WRITE,
    summary="Say the phases of a run: confirm proposals, edit, remove",
    description="The body has all phases; those that are not in it are no more. One without an end ends where the next "
    "one begins.",
    responses=description.CHANGE | description.CHANGED | description.versioned(RunPhases, phases=shapes.PHASES),
    openapi_extra=described(GivenPhases),
)
async def put_phases(
    request: Request, database: Db, member: Member, run: RunName, if_match: IfMatch = None
) -> Response:
    given = await order(request, GivenPhases)
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.put_phases(database, run, given, version, member.who))
