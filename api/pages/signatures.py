"""The block of signatures that pages of records have, and the act of signing."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from api.access.attempts import network
from api.access.guard import Db, Person, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.pages.page import OrganizationPage, Page, PageRouter
from api.queries import policies
from api.queries import signatures as queries
from api.shapes.signatures import NewSignature, SignedRecord
from api.signing import DECIDES, Signer

router = PageRouter()
NEEDS = (Role.OPERATOR, Scope.DEVICES_WRITE)


async def signing_values(page: Page, database: Database) -> dict[str, Any]:
    """Return what the form to sign takes: the meanings, whether this is the first signature of the session,
    and whether there is a password to sign with."""
    if page.member.session_id is None or not page.member.may(*NEEDS):
        return {"meanings": [], "is_first": True, "has_password": True}
    meanings = await policies.meanings(database)
    if not page.may("engineer", "devices:write"):
        meanings = [one for one in meanings if one not in DECIDES]
    account = await queries.signer(database, page.member.session_id, network(page.request))
    return {"meanings": meanings, "is_first": not account["has_signed"], "has_password": account["has_password"]}


async def signature_block(page: Page, database: Database, record: str) -> dict[str, Any]:
    """Return what `components/signatures.html` shows of a record that there is."""
    signed: SignedRecord = await queries.record(database, record)
    return {"signed": signed, **await signing_values(page, database)}


@router.post("/signatures", dependencies=[allow(*NEEDS)])
async def sign(page: OrganizationPage, database: Db, person: Person) -> Response:
    given = await page.form(NewSignature)
    await Signer(page.request, page.app, database, person).sign(given)
    return page.go(queries.kind_of(given.record).page + given.record.partition("/")[2])
