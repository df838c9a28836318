"""Evidence as files: these addresses name the organization, as a link cannot send a header."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.files import bundle as files
from api.pages.page import PageRouter
from api.shapes.evidence import EvidenceParameters

router = PageRouter(allow(Role.OPERATOR, Scope.AUDIT_READ))


@router.get("/evidence")
async def bundle(
    request: Request, database: Db, member: Member, asked: Annotated[EvidenceParameters, Query()]
) -> Response:
    return await files.bundle(request, database, member, asked)


@router.get("/evidence/verify.py")
async def program() -> Response:
    return await files.program()
