"""Routes for reports: to ask for one, to read those that were made, and the templates that lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.description import Responses
from api.http.preconditions import ExpectedByHeader
from api.queries import reports as queries
from api.reports.signed import signed_document, signed_page, signed_pdf
from api.routes import PREFIX, Endpoint, Router
from api.shapes import reports as shapes
from api.shapes.jobs import JOB, JobAnswer
from api.shapes.reports import NewReport, NewTemplate
from api.shapes.signatures import SIGNATURE
from schema import times

router = Router("reports")
READ = [allow(Role.OPERATOR, Scope.AUDIT_READ)]
"""A report has a part of the audit trail in it."""
CHANGE = [allow(Role.ADMIN, Scope.ORGANIZATION_WRITE)]
REPORTS = Table(
    name="reports",
    of=shapes.ReportAnswer,
    item=queries.item,
    key={"made_at": cursors.instant, "report_id": UUID},
    first=(times.LAST, queries.LAST_ID),
    title="ReportList",
)
ReportId = Annotated[UUID, Path(description="id of a report: that of its job", examples=[shapes.REPORT["id"]])]
TemplateName = Annotated[
    str, Path(description="name of a template", examples=["batch"], pattern="^[a-z0-9][a-z0-9-]{0,39}$")
]


@router.post(
    "/reports",
    dependencies=READ,
    status_code=202,
    summary="Make a report of a run, or of a time",
    description="The worker makes it: see `state` at the address in Location. The report has the id of its job, and "
    "what was known when it was asked for.",
    responses=description.CHANGE
    | {
        202: description.ok(JobAnswer, job=JOB | {"kind": "report", "state": "queued", "done": 0, "started_at": None})[
            200
        ]
        | {"headers": {"Location": {"description": "where the job is", "schema": {"type": "string"}}}}
    },
    openapi_extra=described(NewReport),
)
async def make(request: Request, database: Db, member: Member) -> Response:
    made = await queries.make(database, await order(request, NewReport), member.who)
    answer = answers.json(made, 202)
    answer.headers["Location"] = f"{PREFIX}/jobs/{made.id}"
    return answer


@router.table(
    "/reports",
    dependencies=READ,
    summary="Reports, newest first",
    responses=description.DATABASE | REPORTS.described(shapes.REPORT),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.ReportParameters, Query()]) -> Response:
    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        return await queries.page(database, asked, before, limit)

    return await REPORTS.page(request, asked, rows)


@router.get(
    "/reports/{report}",
    dependencies=READ,
    summary="One report: of what, by whom, and the SHA-256 of each of its files",
    responses=description.THING | description.ok(shapes.ReportAnswer, report=shapes.REPORT),
)
async def one(database: Db, report: ReportId, _: JsonOnly) -> Response:
    return answers.json(await queries.one(database, report))


def _in_each_form(endpoint: Endpoint) -> Endpoint:
    for form, media_type in queries.MEDIA_TYPES.items():
        content = {media_type.partition(";")[0]: {"schema": {"type": "string"}, "example": "the file"}}
        answer: Responses = {200: {"description": "The file", "content": content}}
        if form == "json":
            answer = description.ok(shapes.ReportDocument, report=shapes.DOCUMENT)
        router.get(
            f"/reports/{{report}}/report.{form}",
            dependencies=READ,
            summary=f"A report as {form.upper()}",
            description="Always the same bytes; the ETag is their SHA-256. JSON says all; HTML and PDF are for people.",
            responses=description.CHANGE | answer,
        )(endpoint)
    return endpoint


@_in_each_form
async def file(request: Request, database: Db, report: ReportId) -> Response:
    return await queries.report_file(database, report, request.url.path.rpartition(".")[2])  # type: ignore[arg-type]


@router.get(
    "/reports/{report}/signed.html",
    dependencies=READ,
    summary="A report as HTML that ends with its signatures, to be printed",
    description="The report itself stays as it was made; what stands below it is made anew, with what has become of "
    "each signature.",
    responses=description.THING
    | {200: {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}, "example": "a page"}}}},
)
async def signed_html(database: Db, report: ReportId) -> Response:
    return await signed_page(database, report)


@router.get(
    "/reports/{report}/signed.json",
    dependencies=READ,
    summary="A report as JSON, with its signatures",
    responses=description.THING
    | description.ok(shapes.SignedReport, signed={"report": shapes.DOCUMENT, "signatures": [SIGNATURE]}),
)
async def signed_json(database: Db, report: ReportId) -> Response:
    return await signed_document(database, report)


@router.get(
    "/reports/{report}/signed.pdf",
    dependencies=READ,
    summary="A report as PDF that ends with its signatures",
    description="The bytes of report.pdf, and behind them an update of the file that adds pages with name, time in "
    "UTC, meaning and SHA-256 of each signature. 409: the report has no PDF.",
    responses=description.CHANGE
    | {
        200: {
            "description": "The file",
            "content": {"application/pdf": {"schema": {"type": "string"}, "example": "the file"}},
        }
    },
)
async def signed_copy(database: Db, report: ReportId) -> Response:
    return await signed_pdf(database, report)


@router.get(
    "/report-templates",
    dependencies=READ,
    summary="Templates of reports, in their newest versions",
    responses=description.DATABASE | description.ok(shapes.TemplateList, templates={"templates": [shapes.TEMPLATE]}),
)
async def templates(database: Db, _: JsonOnly) -> Response:
    return answers.json(shapes.TemplateList(await queries.templates(database)))


@router.get(
    "/report-templates/{template}",
    dependencies=READ,
    summary="One template",
    responses=description.THING | description.versioned(shapes.TemplateAnswer, template=shapes.TEMPLATE),
)
async def template(database: Db, template: TemplateName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.template(database, template))


@router.put(
    "/report-templates/{template}",
    dependencies=CHANGE,
    summary="Make a template, or change it",
    description="Its earlier versions stay, and so do the reports made by them. `batch` and `shift` are those "
    "that reports are laid out by that name none.",
    responses=description.CHANGE | description.saved(shapes.TemplateAnswer, template=shapes.TEMPLATE),
    openapi_extra=described(NewTemplate),
)
async def put(
    request: Request, database: Db, template: TemplateName, expected: ExpectedByHeader, member: Member
) -> Response:
    given = await order(request, NewTemplate)
    changed, is_new = await queries.put_template(database, template, given, expected, member.who)
    return preconditions.tagged(changed, 201 if is_new else 200)
