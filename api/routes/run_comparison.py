"""Routes for figures of runs: statistics, plan and actual, comparison, and the envelope of reference runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.bodies import described, order
from api.queries import run_alignment, run_envelopes, run_statistics
from api.routes import Router
from api.routes.runs import RunName
from api.shapes import run_comparison as shapes
from api.shapes import run_plans, runs
from api.shapes.run_comparison import Comparison, EnvelopeQuestion, StatisticsParameters

router = Router("runs", allow(Role.VIEWER, Scope.TELEMETRY_READ))


@router.post(
    "/runs/compare",
    summary="Runs beside each other, on one clock that is 0 at their start or at the begin of a phase",
    description="Long runs are read by whole minutes or hours of the database; `shift_s` says how far that moves them.",
    responses=description.CHANGE | description.ok(shapes.AlignedRuns, compared=shapes.COMPARED),
    openapi_extra=described(Comparison),
)
async def compare(request: Request, database: Db) -> Response:
    return answers.json(await run_alignment.compare(database, await order(request, Comparison)))


@router.post(
    "/runs/envelope",
    summary="The envelope of reference runs, and how others compare with it: score, where and how long outside",
    responses=description.CHANGE | description.ok(shapes.EnvelopeAnswer, envelope=shapes.ENVELOPE),
    openapi_extra=described(EnvelopeQuestion),
)
async def envelope(request: Request, database: Db) -> Response:
    return answers.json(await run_envelopes.envelope(database, await order(request, EnvelopeQuestion)))


@router.get(
    "/runs/{run}/statistics",
    summary="Figures of channels over the run and over each of its phases",
    responses=description.CHANGE | description.ok(shapes.RunStatistics, statistics=shapes.STATISTICS),
)
async def statistics(database: Db, run: RunName, asked: Annotated[StatisticsParameters, Query()]) -> Response:
    return answers.json(await run_statistics.statistics(database, run, asked))


@router.get(
    "/runs/{run}/plan",
    summary="How the planned setpoints compare with what was, phase by phase",
    responses=description.CHANGE | description.ok(run_plans.RunPlanAnswer, plan=run_plans.RUN_PLAN),
)
async def plan(database: Db, run: RunName, _: JsonOnly) -> Response:
    return answers.json(await run_statistics.plan(database, run))


@router.get(
    "/runs/{run}/proposals",
    summary="Phases that events of the devices propose, or else changes of their setpoints and rates",
    description="Nothing is stored: PUT phases confirms what is right.",
    responses=description.CHANGE
    | description.ok(shapes.ProposedPhases, proposed={"run": "B-2026-041", "method": "event", "phases": [runs.PHASE]}),
)
async def proposals(database: Db, run: RunName, _: JsonOnly) -> Response:
    return answers.json(await run_statistics.proposals(database, run))
