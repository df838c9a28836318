"""Does the jobs of the kind report: gathers a document, draws it, and keeps all of it in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import Any

import msgspec

from api.database import Database, Server
from api.problems import ApiError
from api.queries import evidence, organizations, reports
from api.queries.devices import DeviceChannels
from api.queries.selection import resolve
from api.reports import render
from api.reports.gathering import Gathering
from api.reports.render import NoPdf
from api.reports.sections import SECTIONS
from api.settings import ApiSettings
from api.shapes.reports import FORMAT, NewReport, ReportDocument, ReportFormat, TemplateAnswer
from api.shapes.selection import SelectionParameters
from schema import times
from schema.jobs import JobFailed, RunningJob
from schema.times import Span

TITLES = {"batch": "Batch report", "shift": "Shift report"}


async def run(running: RunningJob) -> Mapping[str, Any]:
    """Make the report that was asked for; return what the job says of it."""
    job, told = running.job, running.progress
    asked = NewReport.model_validate({name: value for name, value in job.request.items() if name != "at"})
    now = times.parse_instant(job.request["at"])
    async with Server(ApiSettings(api_pool_size=2)) as server:
        database = server.of(job.organization_id, f"job {job.job_id}")
        try:
            template = await reports.template(database, asked.template or asked.kind)
            gathering = await _gathering(database, asked, now)
            told.unit, told.total = "sections", len(template.sections)
            document = await _document(gathering, template, running, now)
        except ApiError as error:
            raise JobFailed(error.detail) from error
        files, no_pdf = await _files(document)
        told.check()
        facts = {
            **{name: getattr(document, name) for name in ("kind", "title", "subtitle", "template", "template_version")},
            **{"begins": document.begin, "ends": document.end, "no_pdf": no_pdf},
        }
        try:
            await reports.keep(database, job.job_id, asked.run, facts, files)
        except ApiError as error:
            raise JobFailed(error.detail) from error
    return {"report": str(job.job_id), "bytes": sum(len(content) for content in files.values()), "no_pdf": no_pdf}


async def _gathering(database: Database, asked: NewReport, now: datetime) -> Gathering:
    """Return what the report is about. Raises NotFound."""
    if asked.run is not None:
        found = await reports.run(database, asked.run)
        if found.begins is None:
            raise JobFailed(f"run {found.name} has not started: there is nothing to report")
        span = Span(found.begins, found.ends or now)
        return Gathering(database, span, await _devices(database, found.devices, span), found)
    assert asked.from_ is not None
    span = Span(asked.from_, asked.to or now)
    return Gathering(database, span, await _devices(database, asked.device, span), None)


async def _devices(database: Database, names: Sequence[str], span: Span) -> list[DeviceChannels]:
    """Return devices by names or patterns, each channel in one unit for all of that time. Raises NotFound, TooMuch."""
    if not names:
        return []
    wanted = {"device": names, "from": times.text(span.begin), "to": times.text(span.end)}
    selected = await resolve(database, SelectionParameters.model_validate(wanted))
    return [replace(one.device, channels=one.channels) for one in selected.selections]


async def _document(
    gathering: Gathering, template: TemplateAnswer, running: RunningJob, now: datetime
) -> ReportDocument:
    told = running.progress
    sections = []
    for wanted in template.sections:
        _, gather = SECTIONS[wanted.name]  # type: ignore[index]
        sections.append(await gather(gathering, wanted, told.check))
        told.done += 1
        told.check()
    of = gathering.run
    return ReportDocument(
        format=FORMAT,
        software=f"biogate {version('biogate')}",
        kind=template.kind,
        title=template.title or TITLES[template.kind],
        subtitle=of.name if of is not None else f"{len(gathering.devices)} devices",
        organization=(await organizations.organization(gathering.database, None)).organization,
        zone=template.zone,
        begin=times.text(gathering.span.begin),
        end=times.text(gathering.span.end),
        made_at=times.text(now),
        made_by=running.job.who,
        template=template.name,
        template_version=template.version,
        header=template.header,
        footer=template.footer,
        paper=template.paper,
        sections=sections,
        evidence=await evidence.head(gathering.database, f"report={running.job.job_id}"),
    )


async def _files(document: ReportDocument) -> tuple[dict[ReportFormat, bytes], str | None]:
    """Return the report in all its forms, and why there is no PDF, if there is none."""
    page = await asyncio.to_thread(render.html, document)
    files: dict[ReportFormat, bytes] = {"json": msgspec.json.encode(document), "html": page.encode()}
    try:
        files["pdf"] = await asyncio.to_thread(render.pdf, page, times.parse_instant(document.made_at))
    except NoPdf as error:
        return files, str(error)
    return files, None
