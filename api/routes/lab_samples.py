"""Routes for lab samples: what people take out of a device and measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import Order, described, order
from api.http.parameters import KnownParameters, NoParameters
from api.queries import lab_samples as queries
from api.queries import run_times
from api.routes import Router
from api.shapes.lab_samples import (
    SAMPLE,
    SAMPLE_PATTERN,
    Approval,
    LabSample,
    NewSample,
    SampleChange,
    SampleParameters,
)
from api.shapes.pending_acts import WAITS

router = Router("samples")

READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
APPROVE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
SAMPLES = Table(
    name="samples",
    title="LabSamples",
    of=LabSample,
    item=queries.item,
    key={"taken_at": cursors.instant, "lab_sample_id": cursors.number},
)
VERSIONS = Table(name="versions", title="LabSampleVersions", of=LabSample, item=queries.item)
Sample = Annotated[str, Path(description="name of a sample", examples=["br-1-s7"], pattern=SAMPLE_PATTERN)]


@router.table(
    "/samples",
    dependencies=READ,
    summary="Samples with their analytes, those taken last first",
    description="The newest version of each; docs/samples.md says what a version is.",
    responses=description.DATABASE | SAMPLES.described(SAMPLE),
)
async def page(request: Request, database: Db, asked: Annotated[SampleParameters, Query()]) -> Response:
    question = await run_times.placed(database, asked, asked.device)

    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, question, before, limit)

    return await SAMPLES.page(request, asked, rows, first=(question.span.end, queries.LAST_ID))


@router.post(
    "/samples",
    dependencies=WRITE,
    status_code=201,
    summary="Add a sample",
    responses=description.CHANGE | description.located(LabSample, sample=SAMPLE),
    openapi_extra=described(NewSample),
)
async def add(request: Request, database: Db, member: Member) -> Response:
    made = await queries.add(database, await order(request, NewSample), member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{request.url.path}/{made.sample}"
    return answer


@router.get(
    "/samples/{sample}",
    dependencies=READ,
    summary="The newest version of a sample, or that of a time",
    responses=description.THING | description.ok(LabSample, sample=SAMPLE),
)
async def one(request: Request, database: Db, sample: Sample, asked: Annotated[KnownParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await queries.one(database, sample, asked.as_of))


@router.table(
    "/samples/{sample}/versions",
    dependencies=READ,
    summary="All versions of a sample, the newest first",
    responses=description.THING | VERSIONS.described(SAMPLE),
)
async def versions(request: Request, database: Db, sample: Sample, asked: Annotated[NoParameters, Query()]) -> Response:
    found = await queries.versions(database, sample)
    return VERSIONS.answer(request, answers.chosen(request, asked.format), found)


@router.patch(
    "/samples/{sample}",
    dependencies=WRITE,
    summary="Say what was measured of a sample, or correct it: a new version",
    responses=description.CHANGE | description.ok(LabSample, sample=SAMPLE) | description.CHANGED,
    openapi_extra=described(SampleChange),
)
async def change(request: Request, database: Db, member: Member, sample: Sample) -> Response:
    return answers.json(await queries.change(database, sample, await order(request, SampleChange), member.who))


@router.post(
    "/samples/{sample}/approve",
    dependencies=APPROVE,
    summary="Approve what was measured of a sample",
    responses=description.CHANGE | description.ok(LabSample, sample=SAMPLE) | description.CHANGED | WAITS,
    openapi_extra=described(Approval),
)
async def approve(request: Request, database: Db, member: Member, sample: Sample) -> Response:
    return answers.json(await queries.approve(database, sample, await order(request, Approval), member.who))


@router.post(
    "/samples/{sample}/withdraw",
    dependencies=WRITE,
    summary="Withdraw a sample",
    description="Lists leave it out; its versions and the audit trail keep it.",
    responses=description.CHANGE | description.ok(LabSample, sample=SAMPLE | {"withdrawn": True, "act": "withdraw"}),
    openapi_extra=described(Order),
)
async def withdraw(request: Request, database: Db, member: Member, sample: Sample) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.withdraw(database, sample, member.who, given.why))
