"""Routes for exports: telemetry as a file that the worker makes, or streamed while it is read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.files import columns as table_columns
from api.files import manifest as manifests
from api.files.columns import TableColumns
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.bodies import described, order
from api.http.description import Responses
from api.http.parameters import DeviceName
from api.problems import Conflict, NotFound, NotSatisfiable
from api.queries import exports as queries
from api.queries import jobs, run_times
from api.queries.selection import USUAL_TIME, Selected, resolve
from api.routes import PREFIX, Endpoint, Router
from api.routes.jobs import JobId
from api.services import App
from api.shapes import exports as shapes
from api.shapes.exports import MEDIA_TYPES, FileFormat, NewExport
from api.shapes.jobs import JOB, JobAnswer

router = Router("exports", allow(Role.VIEWER, Scope.TELEMETRY_READ))
BYTES_A_VALUE: dict[FileFormat, float] = {"arrow": 8.1, "parquet": 3, "csv": 8}
"""Roughly, of a value as sensors give it."""
RANGE = re.compile(r"bytes=(\d{1,18}-(\d{1,18})?|-\d{1,18})")
STREAMED: dict[FileFormat, str] = {"arrow": "Arrow's stream format", "parquet": "Parquet"}
BY_BODY = "The parameters are the fields of the body."
BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "the bytes of the file"}


@router.post(
    "/exports",
    status_code=202,
    summary="Export telemetry as a file",
    description="The worker makes the file: see `state` at the address in Location, and download it from "
    "`/api/v1/exports/{job}/file` once the job is done. Times before now are those of the request.",
    responses=description.CHANGE
    | {
        202: description.ok(JobAnswer, job=JOB | {"state": "queued", "done": 0, "total": None, "started_at": None})[200]
        | {"headers": {"Location": {"description": "where the job is", "schema": {"type": "string"}}}}
    },
    openapi_extra=described(NewExport),
)
async def export(request: Request, app: App, database: Db, member: Member) -> Response:
    asked = await order(request, NewExport)
    await resolve(database, asked.selection())
    _directory(app)
    made = await jobs.make(database, "export", (await _at_fixed_times(database, asked)).said(), member.who)
    answer = answers.json(made, 202)
    answer.headers["Location"] = f"{PREFIX}/jobs/{made.id}"
    return answer


async def _at_fixed_times(database: Database, asked: NewExport) -> NewExport:
    """The same request with the times that it means now, as the worker comes to it later."""
    placed, _ = await run_times.placed_selection(database, asked.selection())
    end = placed.to or datetime.now(UTC)
    begin = placed.from_
    if begin is None and asked.phase is None and isinstance(end, datetime):
        begin = end - USUAL_TIME
    return asked.model_copy(update={"from_": begin, "to": end})


@router.post(
    "/exports/estimate",
    summary="How large an export would be",
    description="Nothing is exported.",
    responses=description.CHANGE | description.ok(shapes.EstimateAnswer, estimate=shapes.ESTIMATE),
    openapi_extra=described(NewExport),
)
async def estimate(request: Request, database: Db, member: Member) -> Response:
    asked = await order(request, NewExport)
    selected = await resolve(database, asked.selection())
    of = table_columns.columns(selected.selections, asked.shape, with_device=True)
    frames, rows, counted = 0, 0, True
    for one in selected.selections:
        found, exact = await queries.counted(database, one)
        frames, counted = frames + found, counted and exact
        rows += found * (len(one.channels) if asked.shape == "long" else 1)
    size = round(rows * len(of.columns) * BYTES_A_VALUE[asked.format])
    warnings = list(selected.warnings)
    return answers.json(
        shapes.EstimateAnswer(len(selected.selections), len(of.columns), frames, counted, rows, size, warnings)
    )


@router.get(
    "/exports/{job}/file",
    summary="The file of an export",
    description="An interrupted download goes on with `Range`, and `If-Range` with the ETag, which is the SHA-256 of "
    "the file.",
    responses=description.CHANGE
    | description.NO_SUCH_PART
    | {
        200: {"description": "The file", "content": {kind.partition(";")[0]: BINARY for kind in MEDIA_TYPES.values()}},
        206: {"description": "The part that `Range` asks for"},
    },
)
async def file(request: Request, app: App, database: Db, job: JobId) -> Response:
    path, facts = await _file(app, database, job)
    _check_range(request, facts["bytes"])
    format_: FileFormat = path.suffix.removeprefix(".")  # type: ignore[assignment]  # as the worker has named it
    headers = {"ETag": f'"{facts["sha256"]}"'}
    return FileResponse(path, headers=headers, media_type=MEDIA_TYPES[format_], filename=f"{job}.{format_}")


def _check_range(request: Request, size: int) -> None:
    """Ignore a range that cannot be read, as RFC 9110 has it; raise NotSatisfiable for one beyond the end."""
    given = request.headers.get("range")
    if given is None:
        return
    match = RANGE.fullmatch(given)
    if match is None:
        request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    elif int(match[1].partition("-")[0] or 0) >= size:
        raise NotSatisfiable(f"the file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})


@router.get(
    "/exports/{job}/manifest",
    summary="What the file of an export holds: filters, columns, units, zone, rows, version, hash",
    description="`biogate exports verify FILE MANIFEST` holds the file against it.",
    responses=description.CHANGE | description.ok(shapes.Manifest, manifest=shapes.MANIFEST),
)
async def manifest(app: App, database: Db, job: JobId, _: JsonOnly) -> Response:
    path, _facts = await _file(app, database, job)
    content = await asyncio.to_thread((path.parent / manifests.NAME).read_bytes)
    return answers.json(msgspec.json.decode(content, type=shapes.Manifest))


async def _file(app: App, database: Database, job: UUID) -> tuple[Path, dict[str, Any]]:
    """The file of an export that is done, and its facts. Raises NotFound, and Conflict if there is none."""
    found = await jobs.one(database, job)
    if found.kind != "export":
        raise NotFound(f"job {job} is no export")
    if found.state != "done" or found.result is None:
        raise Conflict(f"export {job} is {found.state}: a file is there once it is done")
    facts: dict[str, Any] = msgspec.json.decode(found.result)
    path = _directory(app) / str(job) / facts["file"]
    if not await asyncio.to_thread(path.is_file):
        raise Conflict(f"the file of export {job} was deleted: export it again")
    return path, facts


def _directory(app: App) -> Path:
    if app.settings.jobs_dir is None:
        raise Conflict("no files are made here: whoever runs the installation has to set BIOGATE_JOBS_DIR")
    return app.settings.jobs_dir


def _streams(path: str, summary: str, body: type[BaseModel] | None = None) -> Callable[[Endpoint], Endpoint]:
    """Register a route twice, by the end of its address: `.arrow` and `.parquet`. With `body`, for POST."""

    def register(endpoint: Endpoint) -> Endpoint:
        for format_, title in STREAMED.items():
            answer: Responses = {
                200: {"description": "The whole table, as it is read", "content": {MEDIA_TYPES[format_]: BINARY}}
            }
            said: dict[str, Any] = {"summary": f"{summary} as {title}", "responses": description.DEVICE | answer}
            if body is None:
                router.get(f"{path}.{format_}", **said)(endpoint)
            else:
                said |= {"summary": f"{said['summary']}; for long lists", "openapi_extra": described(body)}
                said["responses"] |= description.TOO_LARGE
                router.post(f"{path}.{format_}", description=BY_BODY, **said)(endpoint)
        return endpoint

    return register


@_streams("/devices/{device}/telemetry", "Samples of a device")
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[shapes.TableParameters, Query()]
) -> Response:
    selected = await resolve(database, asked.selection(device))
    of = table_columns.columns(selected.selections, asked.shape, with_device=False)
    return await _streamed(request, database, selected, of, (_given(request), None))


@_streams("/telemetry", "Samples of one or many devices")
async def of_many(request: Request, database: Db, asked: Annotated[shapes.ManyTableParameters, Query()]) -> Response:
    return await _many(request, database, asked, _given(request))


@_streams("/telemetry", "Samples of one or many devices", shapes.ManyTableParameters)
async def of_many_by_body(request: Request, database: Db) -> Response:
    asked = await order(request, shapes.ManyTableParameters)
    return await _many(
        request, database, asked, asked.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    )


async def _many(
    request: Request, database: Database, asked: shapes.ManyTableParameters, given: dict[str, Any]
) -> Response:
    selected = await resolve(database, asked.as_sent())
    of = table_columns.columns(selected.selections, asked.shape, with_device=True)
    return await _streamed(request, database, selected, of, (given, asked.within))


def _given(request: Request) -> dict[str, Any]:
    """The parameters as they were given."""
    given = request.query_params
    return {name: said if len(said := given.getlist(name)) > 1 else said[0] for name in given} | request.path_params


async def _streamed(
    request: Request,
    database: Database,
    selected: Selected,
    of: TableColumns,
    asked: tuple[dict[str, Any], timedelta | None],
) -> Response:
    """The table; `asked`: the request as the manifest says it, and how far from the time samples are wanted."""
    format_: FileFormat = "parquet" if request.url.path.endswith(".parquet") else "arrow"
    facts = msgspec.json.encode(manifests.manifest(asked[0], selected, of, format_, datetime.now(UTC)))
    files = await asyncio.to_thread(import_module, "api.files.stream")  # at the first file: see api/files/arrow.py
    answer: Response = await files.table_stream(
        request, database, selected.selections, of, (format_, facts), within=asked[1]
    )
    return answer
