"""Runs: the list, one run with its phases and curves, and what people do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field, Json, TypeAdapter, ValidationError

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import cursors
from api.http.bodies import DeviceText, Order
from api.http.parameters import Instant
from api.http.run_times import RUN_NAME
from api.pages.analyte_rows import blank
from api.pages.listing import PageParameters, address, part
from api.pages.page import OrganizationPage, Page, PageRouter, Version, is_partial
from api.pages.run_charts import run_chart
from api.problems import ApiError, BadParameter
from api.queries import activity, alarms, corrections, deviations, devices, lab_samples, run_statistics
from api.queries import annotations as notes
from api.queries import runs as queries
from api.queries.activity import WantedActivity
from api.queries.deadline import Deadline
from api.queries.run_times import PlacedQuestion
from api.queries.runs import StoredRun
from api.series.phases import RunPhase
from api.shapes.alarms import HistoryParameters
from api.shapes.lab_samples import SampleParameters
from api.shapes.materials import MATERIAL_KINDS, UNITS
from api.shapes.run_plans import Plan
from api.shapes.runs import (
    Fact,
    GivenPhases,
    GivenState,
    NewRun,
    Note,
    PhaseText,
    RunChange,
    RunListParameters,
    RunState,
    RunStep,
    RunText,
)
from schema import times

router = PageRouter()

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
SHOW = [allow(Role.VIEWER, scope) for scope in (Scope.DEVICES_READ, Scope.TELEMETRY_READ, Scope.ALARMS_READ)]
"""One run shows what several routes answer."""
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
RunName = Annotated[str, Path(pattern=RUN_NAME)]
NAMES, FEW = 500, 20
LAB = {"blank": blank(0), "kinds": MATERIAL_KINDS, "units": UNITS}
STATES = ("idle", "running", "holding", "held", "restarting", "stopping", "stopped", "aborting", "aborted", "complete")


class RunsPageParameters(PageParameters):
    q: str | None = Field(None, max_length=100)
    state: RunState | None = None
    device: str | None = Field(None, max_length=64)
    material: str | None = Field(None, max_length=200)
    strain: str | None = Field(None, max_length=200)


class _FactsForm(Order):
    material: Fact | None = None
    strain: Fact | None = None
    recipe: Fact | None = None
    recipe_version: Fact | None = None
    note: Note | None = None
    devices: list[DeviceText] = Field([], max_length=32)
    begins: Instant | None = None


class NewRunForm(_FactsForm):
    run: RunText


class RunForm(_FactsForm):
    ends: Instant | None = None
    version: Version


class PlanForm(Order):
    plan: Json[Any] = Field([])
    version: Version


class StepForm(Order):
    state: GivenState
    at: Instant | None = None


class PhaseForm(Order):
    """A phase that is added, confirmed or edited. `was`: the begin of the one in whose place it comes."""

    phase: PhaseText
    begins: Instant
    ends: Instant | None = None
    was: Instant | None = None
    version: Version


class PhaseRemoval(Order):
    was: Instant
    version: Version


class ConfirmForm(Order):
    version: Version


@router.get("/runs", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[RunsPageParameters, Query()]) -> Response:
    filters = asked.model_dump(include={"q", "device", "material", "strain"})
    wanted = RunListParameters.model_validate(filters | {"state": [asked.state] if asked.state else []})
    found = await part(
        page.request,
        asked.cursor,
        {"sorted_at": cursors.instant, "run_id": cursors.number},
        (times.LAST, queries.LAST_ID),
        lambda before, limit: queries.page(database, wanted, before, limit),
    )
    values: dict[str, Any] = {"runs": [queries.item(row) for row in found.rows], "following": found.following}
    if is_partial(page.request):
        return page.show("partials/runs.html", **values)
    names = [name for _, name in await devices.names(database, "", NAMES)]
    values |= {"proposed": await queries.proposed(database)}
    values |= {"asked": asked, "states": STATES, "names": names, "address": address(page.request)}
    return page.show("pages/runs.html", here="runs", **values)


@router.post("/runs", dependencies=WRITE)
async def create(page: OrganizationPage, database: Db) -> Response:
    given = await page.form(NewRunForm, devices=",")
    made = await queries.create(database, NewRun.model_validate(given.model_dump(mode="json")), page.member.who)
    return page.go(f"runs/{made.run}")


@router.get("/runs/{run}", dependencies=SHOW)
async def one(page: OrganizationPage, database: Db, run: RunName) -> Response:
    stored = await queries.stored(database, run)
    values = {"run": await queries.detail(database, run), "lab": LAB, **await _about(page, database, stored)}
    values["linked_deviations"] = await deviations.linked(database, "run", run)
    if is_partial(page.request):
        return page.show("partials/run.html", **values)
    names = [name for _, name in await devices.names(database, "", NAMES)]
    return page.show("pages/run.html", here="runs", names=names, **values)


async def _about(page: Page, database: Database, run: StoredRun) -> dict[str, Any]:
    """What a run's page shows beside what is said of it."""
    if run.begins is None:
        lists: dict[str, list[Any]] = {
            name: [] for name in ("alarms", "happened", "notes", "samples", "plan", "corrections")
        }
        return lists | {"chart": None, "trouble": None}
    span, trouble = run.span(), None
    kinds = activity.permitted(page.member) & {"event", "phase", "command"}
    history = HistoryParameters.model_validate({"run": run.name})
    raised, happened = await asyncio.gather(
        alarms.history(database, history, alarms.LAST_ID, FEW),
        activity.page(database, WantedActivity(kinds, run.devices, span), (span.end, ""), FEW),
    )
    chart, compared, corrected = None, [], []
    try:
        chart = await run_chart(database, run)
        compared = (await run_statistics.plan(database, run.name)).deviations if run.profiles else []
        corrected = await corrections.changed(database, run.devices, span, Deadline())
    except ApiError as error:  # what is stored of a run is shown even where its samples cannot be
        trouble = error.detail
    written = [
        row
        for number in run.row["device_ids"]
        for row in await notes.page(database, number, span, (span.end, notes.LAST_ID), FEW)
    ]
    taken = SampleParameters.model_validate({"run": run.name})
    question = PlacedQuestion(taken.model_copy(update={"from_": span.begin, "to": span.end}), run.devices)
    samples = await lab_samples.page(database, question, (span.end, lab_samples.LAST_ID), FEW)
    return {
        "chart": chart,
        "samples": [lab_samples.item(row) for row in samples],
        "alarms": [alarms.transition(row) for row in raised],
        "happened": [activity.item(row) for row in happened],
        "notes": [notes.item(row) for row in written],
        "plan": compared,
        "corrections": corrected,
        "trouble": trouble,
    }


@router.post("/runs/{run}", dependencies=WRITE)
async def change(page: OrganizationPage, database: Db, run: RunName) -> Response:
    given = await page.form(RunForm, devices=",")
    fields = given.model_dump(mode="json", exclude={"version"})
    kept = {name: value for name, value in fields.items() if name not in ("begins", "ends") or value is not None}
    await queries.change(database, run, RunChange.model_validate(kept), given.version, page.member.who)
    return page.done(f"Run {run} is changed.", f"runs/{run}")


@router.post("/runs/{run}/plan", dependencies=WRITE)
async def plan(page: OrganizationPage, database: Db, run: RunName) -> Response:
    given = await page.form(PlanForm)
    try:
        profiles = TypeAdapter(Plan).validate_python(given.plan)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadParameter("plan", f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
    said = RunChange(plan=profiles, why=given.why)
    await queries.change(database, run, said, given.version, page.member.who)
    return page.done(f"The plan of run {run} is changed.", f"runs/{run}")


@router.post("/runs/{run}/state", dependencies=WRITE)
async def step(page: OrganizationPage, database: Db, run: RunName) -> Response:
    given = await page.form(StepForm)
    await queries.step(database, run, RunStep.model_validate(given.model_dump(mode="json")), None, page.member.who)
    return page.done(f"Run {run} is {given.state}.", f"runs/{run}")


@router.post("/runs/{run}/phases", dependencies=WRITE)
async def put_phase(page: OrganizationPage, database: Db, run: RunName) -> Response:
    given = await page.form(PhaseForm)
    stored = await queries.stored(database, run)
    new = RunPhase(given.phase, given.begins, given.ends, "person")
    proposed = [one for one in stored.phases if not one.is_confirmed]
    if (same := [one for one in proposed if (one.name, one.begins) == (new.name, new.begins)]) and given.was:
        new = replace(new, origin=same[0].origin)
    await _put(page, database, stored, [new], given)
    return page.done(f"Phase {given.phase} is confirmed.", f"runs/{run}")


@router.post("/runs/{run}/phases/all", dependencies=WRITE)
async def confirm_all(page: OrganizationPage, database: Db, run: RunName) -> Response:
    """Confirm what events propose, or else what setpoints and rates do."""
    given = await page.form(ConfirmForm)
    stored = await queries.stored(database, run)
    proposed = [one for one in stored.phases if not one.is_confirmed]
    await _put(page, database, stored, proposed or await run_statistics.by_data(database, stored), given)
    return page.done(f"The phases of run {run} are confirmed.", f"runs/{run}")


@router.post("/runs/{run}/phases/remove", dependencies=WRITE)
async def remove_phase(page: OrganizationPage, database: Db, run: RunName) -> Response:
    given = await page.form(PhaseRemoval)
    await _put(page, database, await queries.stored(database, run), [], given)
    return page.done("The phase is no more.", f"runs/{run}")


async def _put(
    page: Page,
    database: Database,
    run: StoredRun,
    new: Sequence[RunPhase],
    given: PhaseForm | PhaseRemoval | ConfirmForm,
) -> None:
    """Put phases in the place of the one that began when the form says. One that lasts ends where a new one begins."""
    was = None if isinstance(given, ConfirmForm) else given.was
    kept = [one for one in await queries.confirmed(database, run.run_id) if one.begins != was]
    phases = [
        {
            **{"phase": one.name, "begins": times.text(one.begins), "origin": one.origin},
            "ends": times.optional_text(one.ends),
        }
        for one in (*kept, *new)
    ]
    said = GivenPhases.model_validate({"phases": phases, "why": given.why})
    await queries.put_phases(database, run.name, said, given.version, page.member.who)
