"""A report together with its signatures, which people make after the report."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
from fastapi import Response
from fastapi.responses import HTMLResponse

from api.database import Database
from api.problems import Conflict
from api.queries import reports, signatures
from api.reports import render
from api.shapes.signatures import SignatureAnswer


async def signed_page(database: Database, report: UUID) -> Response:
    """Return the HTML of a report with its signatures at the end, to be read or printed. Raises NotFound."""
    page = await reports.report_html(database, report)
    return HTMLResponse(render.with_signatures(page, str(report), await _signatures(database, report)))


async def signed_document(database: Database, report: UUID) -> Response:
    """Return the JSON of a report with its signatures. Raises NotFound."""
    document = await reports.report_file(database, report, "json")
    content = {"report": msgspec.Raw(document.body), "signatures": await _signatures(database, report)}
    return Response(msgspec.json.encode(content), media_type="application/json")


async def signed_pdf(database: Database, report: UUID) -> Response:
    """Return the PDF of a report with its signatures as pages behind it. Raises NotFound, and Conflict for no PDF."""
    about, original = await reports.one(database, report), await reports.report_file(database, report, "pdf")
    signed = await _signatures(database, report)
    try:
        copy = await asyncio.to_thread(render.signed_copy, about, bytes(original.body), signed)
    except render.NoPdf as error:
        raise Conflict(str(error)) from error
    name = f'attachment; filename="report-{report}-signed.pdf"'
    return Response(copy, media_type="application/pdf", headers={"Content-Disposition": name})


async def _signatures(database: Database, report: UUID) -> list[SignatureAnswer]:
    return (await signatures.record(database, f"report/{report}")).signatures
