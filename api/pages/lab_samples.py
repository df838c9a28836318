"""Lab samples: the list, one sample with its versions, and what people do with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Connection
from api.files.material_import import take_material
from api.files.sample_import import Importer, take
from api.http import cursors
from api.http.bodies import DeviceText, Order, body
from api.http.parameters import Instant, Words
from api.http.run_times import RunAsked
from api.pages.analyte_rows import AnalyteRows, blank, changed
from api.pages.listing import PageSpan, address, part
from api.pages.page import OrganizationPage, PageRouter, Version, is_partial, parsed
from api.pages.signatures import signature_block
from api.problems import BadParameter
from api.queries import deviations, pending_acts, run_times
from api.queries import lab_samples as queries
from api.shapes.lab_samples import (
    SAMPLE_PATTERN,
    Approval,
    Location,
    NewSample,
    Note,
    SampleChange,
    SampleName,
    SampleParameters,
    SampleStatus,
)
from api.shapes.material_imports import MaterialImport
from api.shapes.sample_imports import MOST_BYTES, ImportOptions, SampleImport
from schema import times

router = PageRouter()
READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
APPROVE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
KEY = {"taken_at": cursors.instant, "lab_sample_id": cursors.number}
MOST_FORM_BYTES = 3 * MOST_BYTES + 4096
"""A form writes a semicolon or a line end of the file with three bytes."""
HERE = "samples"
Sample = Annotated[str, Path(pattern=SAMPLE_PATTERN)]


class SamplePageParameters(PageSpan):
    device: str | None = Field(None, max_length=64)
    run: RunAsked = None
    analyte: str | None = Field(None, max_length=64)
    status: SampleStatus | None = None
    withdrawn: bool = False


class SampleForm(AnalyteRows):
    sample: SampleName | None = None
    device: DeviceText
    taken_at: Instant
    location: Location | None = None
    note: Note | None = None


class SampleChangeForm(AnalyteRows):
    version: Version
    taken_at: Instant | None = None
    location: Location | None = None
    note: Note | None = None
    why: Words


class ApprovalForm(Order):
    version: Version


class ImportForm(Order):
    rows: str
    zone: str | None = Field(None, max_length=64)
    device: DeviceText | None = None
    corrections: bool = False
    dry_run: bool = False


@router.get("/samples", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[SamplePageParameters, Query()]) -> Response:
    said = asked.model_dump(include={"device", "run", "analyte", "status", "withdrawn"}) | asked.said()
    question = await run_times.placed(database, SampleParameters.model_validate(said), asked.device)
    found = await part(
        page.request,
        asked.cursor,
        KEY,
        (question.span.end, queries.LAST_ID),
        lambda before, limit: queries.page(database, question, before, limit),
    )
    values: dict[str, Any] = {"samples": [queries.item(row) for row in found.rows], "following": found.following}
    values |= {"asked": asked, "address": address(page.request)}
    if is_partial(page.request):
        return page.show("partials/lab_samples.html", **values)
    analytes = await queries.analytes(database)
    return page.show("pages/lab_samples.html", here=HERE, tab=HERE, analytes=analytes, blank=blank(0), **values)


@router.post("/samples", dependencies=WRITE)
async def add(page: OrganizationPage, database: Db) -> Response:
    given = await page.form(SampleForm)
    said = {name: getattr(given, name) for name in ("sample", "device", "location", "note")}
    new = NewSample(**said, taken_at=times.text(given.taken_at), analytes=given.analytes(), why="taken")
    made = await queries.add(database, new, page.member.who)
    return page.done(f"Sample {made.sample} is saved.", f"{HERE}/{made.sample}")


@router.get("/samples/{sample}", dependencies=READ)
async def one(page: OrganizationPage, database: Db, sample: Sample) -> Response:
    versions = [queries.item(row) for row in await queries.versions(database, sample)]
    values: dict[str, Any] = {"versions": versions, "one": versions[0], "blank": blank(len(versions[0].analytes))}
    readable = page.may("viewer", "devices:read")
    values["linked_deviations"] = await deviations.linked(database, "sample", sample) if readable else []
    values |= await signature_block(page, database, f"sample/{sample}")
    values["waiting"] = await pending_acts.waiting(database, f"sample/{sample}")
    return page.show("pages/lab_sample.html", here=HERE, **values)


@router.post("/samples/{sample}", dependencies=WRITE)
async def change(page: OrganizationPage, database: Db, sample: Sample) -> Response:
    given = await page.form(SampleChangeForm)
    was = await queries.one(database, sample)
    analytes = changed(given.analytes(), was.analytes)
    said = {name: getattr(given, name) for name in ("location", "note") if getattr(given, name) != getattr(was, name)}
    fields: dict[str, Any] = dict(said)
    if given.taken_at is not None and times.text(given.taken_at) != was.taken_at:
        fields["taken_at"] = times.text(given.taken_at)
    if analytes:
        fields["analytes"] = analytes
    if not fields:
        raise BadParameter("form", "says nothing else than what is stored")
    order = SampleChange(version=given.version, why=given.why, **fields)
    made = await queries.change(database, sample, order, page.member.who)
    return page.done(f"Version {made.version} of {sample} is saved.", f"{HERE}/{sample}")


@router.post("/samples/{sample}/approve", dependencies=APPROVE)
async def approve(page: OrganizationPage, database: Db, sample: Sample) -> Response:
    given = await page.form(ApprovalForm)
    await queries.approve(database, sample, Approval(version=given.version, why=given.why), page.member.who)
    return page.done(f"Sample {sample} is approved.", f"{HERE}/{sample}")


@router.post("/samples/{sample}/withdraw", dependencies=WRITE)
async def withdraw(page: OrganizationPage, database: Db, sample: Sample) -> Response:
    await queries.withdraw(database, sample, page.member.who, (await page.form(Order)).why)
    return page.done(f"Sample {sample} is withdrawn.", HERE)


@router.get("/sample-imports", dependencies=WRITE)
async def import_form(page: OrganizationPage) -> Response:
    return page.show("pages/sample_import.html", here=HERE, tab="sample-imports", done=None, given=None)


@router.get("/material-imports", dependencies=WRITE)
async def material_import_form(page: OrganizationPage) -> Response:
    return page.show("pages/sample_import.html", here=HERE, tab="material-imports", done=None, given=None)


@router.post("/sample-imports", dependencies=WRITE)
async def import_(page: OrganizationPage, database: Db) -> Response:
    return await _imported(page, database, "sample-imports", take)


@router.post("/material-imports", dependencies=WRITE)
async def import_material(page: OrganizationPage, database: Db) -> Response:
    return await _imported(page, database, "material-imports", take_material)


async def _imported(
    page: OrganizationPage,
    database: Db,
    tab: str,
    take_file: Callable[[Connection, Importer], Awaitable[SampleImport | MaterialImport]],
) -> Response:
    given = parsed(await body(page.request, MOST_FORM_BYTES), ImportForm)
    options = ImportOptions(zone=given.zone, device=given.device, corrections=given.corrections)
    what = Importer(given.rows.encode(), options, page.member.who, given.why, given.dry_run)
    async with database.connection() if given.dry_run else database.change() as connection:
        done = await take_file(connection, what)
    if not is_partial(page.request):
        return page.show("pages/sample_import.html", here=HERE, tab=tab, done=done, given=given)
    answer = page.show("partials/sample_import.html", done=done, tab=tab)
    if not given.dry_run:
        answer.headers["HX-Trigger"] = "changed"
    return answer
