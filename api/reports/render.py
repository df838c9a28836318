"""Draws a report as HTML that prints well, and as PDF. The same document gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pypdf
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.http.plain_words import NONE, number, signature_state, utc
from api.reports.drawing import COLOURS, svg
from api.shapes.reports import CellKind, ReportAnswer, ReportDocument
from api.shapes.signatures import SignatureAnswer
from schema import times

MOST_ROWS = 1000
"""Rows of a table that HTML and PDF show."""
TEMPLATES = Path(__file__).parent / "templates"


class NoPdf(Exception):
    """Raised where PDF cannot be made: the text tells who runs the installation what to install."""


def html(document: ReportDocument) -> str:
    """Return the report as one file of HTML that needs no other."""
    zone = ZoneInfo(document.zone)

    def cell(value: str | float | None, kind: CellKind, decimals: int | None = None) -> str:
        if value is None:
            return NONE
        if kind == "time":
            return _local(str(value), zone)
        return number(float(value), decimals) if kind == "number" and not isinstance(value, str) else str(value)

    return _environment().get_template("report.html").render(report=document, cell=cell, most=MOST_ROWS)


def with_signatures(page: str, report: str, signed: Sequence[SignatureAnswer]) -> str:
    """Return the HTML of a report, which stays as it was made, with its signatures at the end."""
    block = _environment().get_template("signatures.html").render(report=report, signatures=signed)
    before, end, after = page.rpartition("</body>")
    return f"{before}{block}{end}{after}"


def signed_copy(report: ReportAnswer, original: bytes, signed: Sequence[SignatureAnswer]) -> bytes:
    """Return the PDF of a report, byte for byte, with an update behind it that adds its signatures as pages. The same
    signatures in the same states give the same bytes. Raises NoPdf."""
    words = {"report": report, "signatures": signed, "size": len(original)}
    sheet = _environment().get_template("signature_sheet.html").render(words)
    newest = max((one.at for one in signed), default=report.made_at)
    try:
        writer = pypdf.PdfWriter(io.BytesIO(original), incremental=True)
    except pypdf.errors.PyPdfError as error:
        raise NoPdf(f"the PDF of the report cannot be read: {error}") from error
    for page in pypdf.PdfReader(io.BytesIO(pdf(sheet, times.parse_instant(newest)))).pages:
        writer.add_page(page)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def pdf(page: str, made_at: datetime) -> bytes:
    """Return the HTML of a report as PDF/A; `made_at` stands in it as the time of its making. Raises NoPdf."""
    try:
        import weasyprint  # noqa: PLC0415 - loads Pango, which a process that makes no report does not need
    except OSError as error:
        raise NoPdf("PDF needs Pango: install the Debian packages libpango-1.0-0 and libpangoft2-1.0-0") from error
    stamp = times.text(made_at)[:19] + "Z"
    page = page.replace("<head>", f'<head><meta name="dcterms.created" content="{stamp}">', 1)
    made: bytes = weasyprint.HTML(string=page, url_fetcher=_nothing).write_pdf(
        pdf_variant="pdf/a-3u", pdf_identifier=stamp.encode()
    )
    return made


def _nothing(url: str) -> dict[str, str]:
    raise ValueError(f"a report loads nothing from elsewhere: {url}")


def _local(instant: str, zone: ZoneInfo) -> str:
    when = times.parse_instant(instant).astimezone(zone)
    return f"{when:%Y-%m-%d %H:%M:%S}"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"svg": svg, "utc": utc, "signature_state": signature_state}
    found.globals["colours"] = COLOURS
    return found
