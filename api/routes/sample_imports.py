"""The route that takes lab samples from a file."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.files.sample_import import Importer, take
from api.http import answers, description
from api.http.bodies import body
from api.routes import Router
from api.shapes.sample_imports import IMPORT, MOST_BYTES, SampleImport, SampleImportParameters

router = Router("samples")
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "sample;device;time;glucose [g/L]\r\nS-7;br-1;2026-11-20 08:45;4,2\r\n",
            }
        },
    }
}


@router.post(
    "/sample-imports",
    dependencies=WRITE,
    summary="Take samples from a CSV file, or say what would become of it",
    description="All that is not refused is stored, in one transaction; docs/samples.md says which columns there are.",
    responses=description.CHANGE | description.ok(SampleImport, dry_run=IMPORT),
    openapi_extra=FILE,
)
async def import_(
    request: Request, database: Db, member: Member, asked: Annotated[SampleImportParameters, Query()]
) -> Response:
    content = await body(request, MOST_BYTES)
    why = asked.why if asked.file is None else f"{asked.why} ({asked.file})"
    what = Importer(content, asked.options(), member.who, why, asked.dry_run)
    async with database.connection() if asked.dry_run else database.change() as connection:
        return answers.json(await take(connection, what))
