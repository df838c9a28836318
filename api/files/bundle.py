"""A bundle of evidence as an answer: what stands in it, and its lines while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

import schema.evidence
from api.access.guard import require, still_authorized
from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.http import exports
from api.problems import BadParameter, Conflict, NotFound
from api.queries import evidence as queries
from api.queries import jobs, reports
from api.queries.evidence import Line, Rows, SealedSpan
from api.shapes.evidence import MOST_DAYS, EvidenceParameters
from schema import times
from schema.times import Span

LINES = "application/jsonl"
PROGRAM = Path(schema.evidence.__file__).parent / "verify.py"


@dataclass
class Wanted:
    """What a bundle has: rows of the trail, sealed hours, files."""

    name: str
    whole: bool = False
    rows: list[Rows] = field(default_factory=list)
    sealed: list[SealedSpan] = field(default_factory=list)
    files: list[Line] = field(default_factory=list)


async def bundle(request: Request, database: Database, member: Principal, asked: EvidenceParameters) -> Response:
    """Answer with a bundle, streamed. Raises NotFound, BadParameter, Conflict, Forbidden, TooMany, Busy."""
    if asked.frames:
        require(member, Role.VIEWER, Scope.TELEMETRY_READ)
    opened = await queries.opening(database)
    wanted = await _wanted(database, asked, opened["n"] or 0)
    exports.hold(request)
    head = {
        "kind": "head",
        "format": queries.FORMAT,
        "installation": request.url.netloc,
        "software": f"biogate {version('biogate')}",
        "organization": opened["organization_id"],
        "name": opened["name"],
        "made_at": times.text(datetime.now(UTC)),
        "of": asked.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "whole": wanted.whole,
        "events": wanted.rows,
        "frames": [_hours(one) for one in wanted.sealed] if asked.frames else [],
    }
    first = queries.lines([head, *await queries.keys(database)])
    await exports.note(request)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for part in _lines(database, wanted, asked.frames):
            await still_authorized(request)
            yield queries.lines(part)

    name = f'attachment; filename="{wanted.name}.evidence.jsonl"'
    return StreamingResponse(body(), headers={"Content-Disposition": name}, media_type=LINES)


async def program() -> Response:
    """Answer with verify.py."""
    content = await asyncio.to_thread(PROGRAM.read_bytes)
    headers = {"Content-Disposition": 'attachment; filename="verify.py"'}
    return Response(content, headers=headers, media_type="text/x-python")


async def _wanted(database: Database, asked: EvidenceParameters, newest: int) -> Wanted:
    """Return what was asked for. Raises NotFound, BadParameter, Conflict."""
    if asked.report is not None:
        files = await queries.files_of_report(database, asked.report)
        subject = f"report/{asked.report}"
        return await _of(database, Wanted(f"report-{asked.report}", files=files), await _about(database, subject))
    if asked.export is not None:
        return await _of_export(database, asked)
    if asked.run is not None:
        return await _of_run(database, asked.run)
    if asked.device:
        span = _span(asked)
        sealed = [await queries.sealed_span(database, name, span) for name in asked.devices()]
        return await _of(database, Wanted("-".join(asked.devices()[:3]), sealed=sealed), [])
    if asked.from_ is not None or asked.to is not None:
        span = Span(asked.from_ or times.FIRST, asked.to or times.LAST)
        return await _of(database, Wanted("audit"), await queries.rows_of_time(database, span))
    return Wanted("audit", whole=True, rows=[(1, newest)] if newest else [])


async def _of(database: Database, wanted: Wanted, rows: list[Rows]) -> Wanted:
    """Add rows, those that vouch for seals, and those after them up to the next checkpoint."""
    rows += [one for sealed in wanted.sealed for one in await queries.rows_of_seals(database, sealed)]
    wanted.rows = await queries.signed(database, rows)
    return wanted


async def _about(database: Database, subject: str) -> list[Rows]:
    return await queries.rows_about(database, [subject])


async def _of_export(database: Database, asked: EvidenceParameters) -> Wanted:
    assert asked.export is not None
    found = await jobs.one(database, asked.export)
    if found.kind != "export":
        raise NotFound(f"job {asked.export} is no export")
    if found.result is None:
        raise Conflict(f"export {asked.export} is {found.state}: there is a file once it is done")
    facts = msgspec.json.decode(found.result)
    form = facts["file"].rpartition(".")[2]
    file = {"kind": "file", "name": f"{asked.export}.{form}", "bytes": facts["bytes"], "sha256": facts["sha256"]}
    return await _of(
        database, Wanted(f"export-{asked.export}", files=[file]), await _about(database, f"job/{asked.export}")
    )


async def _of_run(database: Database, name: str) -> Wanted:
    run = await reports.run(database, name)
    if run.begins is None:
        raise Conflict(f"run {name} has not started: there is nothing to prove yet")
    span = Span(run.begins, run.ends or datetime.now(UTC))
    sealed = [await queries.sealed_span(database, device, span) for device in run.devices]
    rows = await queries.rows_of_time(database, span) + await _about(database, f"run/{name}")
    return await _of(database, Wanted(name, sealed=sealed), rows)


def _span(asked: EvidenceParameters) -> Span:
    assert asked.from_ is not None
    end = asked.to or datetime.now(UTC)
    if asked.from_ >= end:
        raise BadParameter("from", f"must be before `to`, which is {times.text(end)}")
    if end - asked.from_ > timedelta(days=MOST_DAYS):
        raise BadParameter("from", f"must be at most {MOST_DAYS} days before `to`: take it in parts")
    return Span(asked.from_, end)


def _hours(of: SealedSpan) -> dict[str, str]:
    return {"device": of.device, "from": times.text(of.span.begin), "to": times.text(of.span.end)}


async def _lines(database: Database, wanted: Wanted, with_frames: bool) -> AsyncIterator[list[Line]]:
    """Yield what stands after the keys, a page at a time; nothing of the database is held in between."""
    for rows in wanted.rows:
        async for part in queries.events(database, rows):
            yield part
        async for part in queries.checkpoints(database, rows):
            yield part
    for sealed in wanted.sealed:
        async for part in queries.seals(database, sealed):
            yield part
        if with_frames:
            async for part in queries.frames(database, sealed):
                yield part
    for rows in wanted.rows:
        yield await queries.signatures(database, rows)
    yield wanted.files
