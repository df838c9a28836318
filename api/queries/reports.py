"""SQL for reports: what stands in them, and the reports and templates that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from fastapi import Response

from api.database import Database
from api.http.preconditions import Expected
from api.problems import Conflict, NotFound
from api.queries import jobs, load, runs
from api.series.phases import RunPhase
from api.shapes import reports as shapes
from api.shapes.jobs import JobAnswer
from api.shapes.reports import USUAL, NewReport, NewTemplate, ReportFormat, ReportKind, TemplateAnswer
from schema import times
from schema.times import Span

SQL = load("reports")
MOST_ROWS = 20_000
"""Rows of a table of a document; HTML and PDF show fewer."""
LAST_ID = UUID(int=2**128 - 1)
MEDIA_TYPES: Mapping[ReportFormat, str] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
}


@dataclass(frozen=True, slots=True)
class RunState:
    state: str
    at: datetime
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """What a report says of a run."""

    run_id: int
    name: str
    facts: Mapping[str, str | None]
    plan: list[dict[str, Any]]
    state: str
    begins: datetime | None
    ends: datetime | None
    created_by: str
    devices: list[str]
    phases: Sequence[RunPhase]
    """Confirmed ones, and what events of its devices propose."""
    states: list[RunState]


async def run(database: Database, name: str) -> ReportedRun:
    """Return what a report says of a run. Raises NotFound."""
    row = await database.one(SQL["run"], name, absent=NotFound(f"there is no run {name}"))
    facts = {key: row[key] for key in ("material", "strain", "recipe", "recipe_version", "note")}
    stored = await runs.stored(database, name)
    states = [RunState(**one) for one in await database.fetch(SQL["run_states"], row["run_id"])]
    plan = msgspec.json.decode(row["plan"]) if stored.profiles else []
    kept = {key: row[key] for key in ("run_id", "name", "state", "begins", "ends", "created_by", "devices")}
    return ReportedRun(facts=facts, plan=plan, phases=stored.phases, states=states, **kept)


async def rows(
    database: Database, name: str, devices: Sequence[int], span: Span, *more: Any
) -> list[Mapping[str, Any]]:
    """Return the rows of one of the statements for sections, one more than MOST_ROWS at most."""
    found: list[Mapping[str, Any]] = await database.fetch(
        SQL[name], devices, span.begin, span.end, MOST_ROWS + 1, *more
    )
    return found


async def make(database: Database, asked: NewReport, who: str) -> JobAnswer:
    """Ask for a report as of now. Raises NotFound for a run or template that there is not, and Conflict
    for a run that has not started, or if too many jobs wait."""
    if asked.run is not None and (await run(database, asked.run)).begins is None:
        raise Conflict(f"run {asked.run} has not started: there is nothing to report yet")
    laid_out = await template(database, asked.template or asked.kind)
    if laid_out.kind != asked.kind:
        raise Conflict(f"template {laid_out.name} lays out {laid_out.kind} reports")
    return await jobs.make(database, "report", {**asked.said(), "at": times.text(datetime.now(UTC))}, who)


async def keep(
    database: Database,
    report: UUID,
    run_name: str | None,
    facts: Mapping[str, Any],
    files: Mapping[ReportFormat, bytes],
) -> None:
    """Keep a report that a job has made. Raises Conflict for more than the share of the organization."""
    content = msgspec.json.encode(facts).decode()
    async with database.change() as connection:
        await connection.execute(SQL["keep"], report, run_name, content, files["json"], files["html"], files.get("pdf"))


async def page(
    database: Database, asked: shapes.ReportParameters, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return reports before the key `before` (made_at, report_id), newest first."""
    return await database.fetch_planned(SQL["page"], asked.kind, asked.run, *before, limit)


async def one(database: Database, report: UUID) -> shapes.ReportAnswer:
    """Return what is known of a report. Raises NotFound."""
    return item(await database.one(SQL["one"], report, absent=_absent(report)))


async def report_html(database: Database, report: UUID) -> str:
    """Return the HTML of a report. Raises NotFound."""
    row = await database.one(SQL["file"], report, "html", absent=_absent(report))
    return bytes(row["content"]).decode()


async def report_file(database: Database, report: UUID, form: ReportFormat) -> Response:
    """Return a report in that form. Raises NotFound, and Conflict if it has no PDF."""
    row = await database.one(SQL["file"], report, form, absent=_absent(report))
    if row["content"] is None:
        raise Conflict(f"report {report} has no PDF: {row['no_pdf']}. Its HTML prints as well")
    headers = {"ETag": f'"{row["sha256"]}"'}
    if form == "pdf":
        headers["Content-Disposition"] = f'attachment; filename="report-{report}.pdf"'
    return Response(row["content"], media_type=MEDIA_TYPES[form], headers=headers)


def item(row: asyncpg.Record) -> shapes.ReportAnswer:
    return shapes.ReportAnswer.of(row, id=str(row["report_id"]))


def _absent(report: UUID) -> NotFound:
    return NotFound(f"there is no report {report}")


async def templates(database: Database) -> list[TemplateAnswer]:
    """Return the newest version of each template, and the usual ones that were not changed."""
    found = {row["name"]: _template(row) for row in await database.fetch(SQL["templates"])}
    usual: dict[str, TemplateAnswer] = {kind: _usual(kind) for kind in USUAL}
    return [one for _, one in sorted((usual | found).items())]


async def template(database: Database, name: str) -> TemplateAnswer:
    """Return the newest version of a template. Raises NotFound."""
    row = await database.fetchrow(SQL["template"], name)
    if row is not None:
        return _template(row)
    if name in USUAL:
        return _usual(name)
    raise NotFound(f"there is no template {name}; /api/v1/report-templates lists those that there are")


async def put_template(
    database: Database, name: str, given: NewTemplate, expected: Expected, who: str
) -> tuple[TemplateAnswer, bool]:
    """Change a template, or make one; return it, and whether it is new. Raises PreconditionFailed, Conflict."""
    if name in USUAL and given.kind != name:  # a report that names no template would be refused
        raise Conflict(f"template {name} lays out {name} reports, and stays so: give the other one another name")
    content = given.model_dump_json(exclude={"why", "kind"})
    async with database.change() as connection:
        stored = await connection.fetchrow(SQL["template"], name)
        version = expected.version_of(stored, f"template {name}")
        await connection.execute(SQL["put_template"], name, given.kind, content, version, who, given.why)
    return await template(database, name), stored is None


def _template(row: asyncpg.Record) -> TemplateAnswer:
    definition = NewTemplate.model_validate(
        {**msgspec.json.decode(row["definition"]), "kind": row["kind"], "why": "kept"}
    )
    return _told(row["name"], row["version"], definition, row["made_by"], times.text(row["made_at"]))


def _usual(kind: ReportKind) -> TemplateAnswer:
    return _told(kind, 0, USUAL[kind], None, None)


def _told(name: str, version: int, of: NewTemplate, made_by: str | None, made_at: str | None) -> TemplateAnswer:
    return TemplateAnswer(
        name=name,
        version=version,
        kind=of.kind,
        title=of.title,
        zone=of.zone,
        header=of.header,
        footer=of.footer,
        paper=of.paper,
        sections=[shapes.TemplateSectionAnswer(one.name, one.title, one.text, one.channels) for one in of.sections],
        made_by=made_by,
        made_at=made_at,
    )
