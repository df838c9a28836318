"""The routes that take lab samples, and records of material, from a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.files.material_import import take_material
from api.files.sample_import import Importer, take
from api.http import answers, description
from api.http.bodies import body
from api.routes import Router
from api.shapes.material_imports import MATERIAL_IMPORT, MaterialImport
from api.shapes.sample_imports import IMPORT, MOST_BYTES, ImportParameters, SampleImport

router = Router("samples")
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
SAMPLES = "sample;device;time;glucose [g/L]\r\nS-7;br-1;2026-11-20 08:45;4,2\r\n"
MATERIAL = "device;time;kind;material;quantity [mL]\r\nbr-1;2026-11-20 08:45;feed;glucose 500 g/L;120\r\n"


def file_like(example: str) -> dict[str, Any]:
    content = {"text/csv": {"schema": {"type": "string"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/sample-imports",
    dependencies=WRITE,
    summary="Take samples from a CSV file, or say what would become of it",
    description="All that is not refused is stored, in one transaction; docs/samples.md says which columns there are.",
    responses=description.CHANGE | description.ok(SampleImport, dry_run=IMPORT),
    openapi_extra=file_like(SAMPLES),
)
async def import_(
    request: Request, database: Db, member: Member, asked: Annotated[ImportParameters, Query()]
) -> Response:
    what = await _importer(request, member, asked)
    async with database.connection() if asked.dry_run else database.change() as connection:
        return answers.json(await take(connection, what))


@router.post(
    "/material-imports",
    dependencies=WRITE,
    summary="Take records of material from a CSV file, or say what would become of it",
    description="All that is not refused is stored, in one transaction; docs/samples.md says which columns there are.",
    responses=description.CHANGE | description.ok(MaterialImport, dry_run=MATERIAL_IMPORT),
    openapi_extra=file_like(MATERIAL),
)
async def import_material(
    request: Request, database: Db, member: Member, asked: Annotated[ImportParameters, Query()]
) -> Response:
    what = await _importer(request, member, asked)
    async with database.connection() if asked.dry_run else database.change() as connection:
        return answers.json(await take_material(connection, what))


async def _importer(request: Request, member: Member, asked: ImportParameters) -> Importer:
    why = asked.why if asked.file is None else f"{asked.why} ({asked.file})"
    return Importer(await body(request, MOST_BYTES), asked.options(), member.who, why, asked.dry_run)
