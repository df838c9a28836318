"""Routes for evidence: a bundle that anybody can check without the product, and the program that checks it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.files import bundle as files
from api.http import description
from api.routes import Router
from api.shapes.evidence import EvidenceParameters

router = Router("evidence", allow(Role.OPERATOR, Scope.AUDIT_READ))
ONE_LINE = {"schema": {"type": "string"}, "example": '{"kind": "head", "format": "biogate evidence 1"}\n'}
CODE = {"schema": {"type": "string"}, "example": "the program"}


@router.get(
    "/evidence",
    summary="Evidence that can be checked without Biogate: a bundle of JSON Lines",
    description="Rows of the audit trail, checkpoints and keys, seals, frames, signatures and hashes of files; "
    "docs/evidence.md has the format. Without parameters it is the whole trail. `frames=true` needs the scope "
    "telemetry:read, too.",
    responses=description.THING | {200: {"description": "The bundle", "content": {files.LINES: ONE_LINE}}},
)
async def bundle(
    request: Request, database: Db, member: Member, asked: Annotated[EvidenceParameters, Query()]
) -> Response:
    return await files.bundle(request, database, member, asked)


@router.get(
    "/evidence/verify.py",
    summary="The program that checks evidence: one file of standard Python",
    responses=description.DATABASE | {200: {"description": "The program", "content": {"text/x-python": CODE}}},
)
async def program() -> Response:
    return await files.program()
