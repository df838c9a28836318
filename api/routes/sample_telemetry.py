"""The route that joins lab samples to the telemetry of their time."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.queries import lab_samples, run_times, sample_telemetry
from api.routes import Router
from api.routes.lab_samples import SAMPLES
from api.shapes.sample_telemetry import SAMPLE_TELEMETRY, SampleTelemetry, SampleTelemetryParameters

router = Router("samples")
READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
CSV = "sample,device,run,taken_at,location,status,glucose [g/L],ph [pH]\r\n"
CSV += "br-1-s7,br-1,B-2026-041,2026-11-20T07:45:00.000000Z,port 2,measured,4.2,7.02\r\n"


@router.table(
    "/sample-telemetry",
    dependencies=READ,
    summary="Samples with the values of channels at their times",
    description="As CSV a row has a column for each analyte and for each channel.",
    responses=description.DEVICE | description.ok(SampleTelemetry, csv=CSV, samples=SAMPLE_TELEMETRY),
)
async def joined(request: Request, database: Db, asked: Annotated[SampleTelemetryParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    question = await run_times.placed(database, asked, asked.device)
    before = [question.span.end, lab_samples.LAST_ID]
    if asked.cursor is not None:
        before = cursors.decode(request, asked.cursor, *SAMPLES.key.values())
    rows = await lab_samples.page(database, question, before, asked.limit + 1)
    following = None
    if len(rows) > asked.limit:
        rows = rows[: asked.limit]
        following = cursors.encode(request, *(rows[-1][column] for column in SAMPLES.key))
    found = await sample_telemetry.joined(database, rows, asked)
    if format_ == "csv":
        header, cells = sample_telemetry.cells(found)
        return answers.csv_page(request, header, cells, following)
    answer = SampleTelemetry(found.columns, found.samples, found.warnings, following is not None, following)
    return answers.json(answer)
