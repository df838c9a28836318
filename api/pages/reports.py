"""Reports: to make one of a run or a shift, how far those are that are being made, and the ones that are kept."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.pages.listing import PageParameters, part
from api.pages.page import OrganizationPage, PageRouter, form, is_partial
from api.pages.signatures import signature_block
from api.queries import jobs
from api.queries import reports as queries
from api.reports.signed import signed_page, signed_pdf
from api.shapes.jobs import JobParameters
from api.shapes.reports import NewReport, ReportKind, ReportParameters
from schema import times

router = PageRouter(allow(Role.OPERATOR, Scope.AUDIT_READ))
FEW = 5
"""Reports that are being made, or could not be, of which the page tells."""


class ReportPageParameters(PageParameters):
    run: str | None = Field(None, max_length=100)
    kind: ReportKind | None = None


@router.get("/reports")
async def listed(page: OrganizationPage, database: Db, asked: Annotated[ReportPageParameters, Query()]) -> Response:
    wanted = ReportParameters(run=asked.run, kind=asked.kind)
    found = await part(
        page.request,
        asked.cursor,
        {"made_at": cursors.instant, "report_id": UUID},
        (times.LAST, queries.LAST_ID),
        lambda before, limit: queries.page(database, wanted, before, limit),
    )
    rows = await jobs.page(database, JobParameters(kind="report"), (times.LAST, jobs.LAST_ID), FEW)
    making = [job for row in rows if (job := jobs.item(row)).state != "done"]
    reports = [queries.item(row) for row in found.rows]
    values: dict[str, Any] = {"reports": reports, "following": found.following, "making": making}
    if is_partial(page.request):
        return page.show("partials/reports.html", **values)
    templates = await queries.templates(database)
    return page.show("pages/reports.html", here="reports", asked=asked, templates=templates, **values)


@router.post("/reports")
async def make(page: OrganizationPage, database: Db, member: Member) -> Response:
    await queries.make(database, await form(page.request, NewReport), member.who)
    return page.done("The report is being made: it appears here when it is done.", to="reports")


@router.get("/reports/{report}")
async def one(page: OrganizationPage, database: Db, report: UUID) -> Response:
    values = await signature_block(page, database, f"report/{report}")
    return page.show("pages/report.html", here="reports", report=await queries.one(database, report), **values)


@router.get("/reports/{report}/signed.html")
async def signed(database: Db, report: UUID) -> Response:
    """The report as a page that ends with its signatures, to be printed."""
    return await signed_page(database, report)


@router.get("/reports/{report}/signed.pdf")
async def signed_copy(database: Db, report: UUID) -> Response:
    return await signed_pdf(database, report)


@router.get("/reports/{report}/report.html")
@router.get("/reports/{report}/report.pdf")
@router.get("/reports/{report}/report.json")
async def file(request: Request, database: Db, report: UUID) -> Response:
    """The file; this address names the organization, as a link cannot send a header."""
    return await queries.report_file(database, report, request.url.path.rpartition(".")[2])  # type: ignore[arg-type]
