"""SQL for signatures: what a record is now, who has signed it, and whether it is still what they signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.problems import NotFound, Unauthorized
from api.queries import load
from api.shapes.signatures import SignatureAnswer, SignedRecord

SQL = load("signatures")


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of record that can be signed; the database makes its canonical form by `record_form_<kind>`."""

    needs: tuple[Role, Scope]
    """Who may read it, and its signatures."""
    page: str
    """Where its page is, before its reference."""


KINDS: Mapping[str, RecordKind] = {
    "report": RecordKind((Role.OPERATOR, Scope.AUDIT_READ), "reports/"),
    "sample": RecordKind((Role.VIEWER, Scope.TELEMETRY_READ), "samples/"),
    "deviation": RecordKind((Role.VIEWER, Scope.DEVICES_READ), "deviations/"),
    "rule": RecordKind((Role.VIEWER, Scope.ALARMS_READ), "alarm-rules/"),
    "review": RecordKind((Role.OPERATOR, Scope.AUDIT_READ), "reviews/"),
    "act": RecordKind((Role.OPERATOR, Scope.AUDIT_READ), "pending-acts/"),
}


class Proof(NamedTuple):
    """What shows the database who signs: a session, and the hash that the person's password was compared with."""

    session_id: int
    password_hash: str
    email: str | None
    """As the person has typed it; None: not the first signature of the session."""


def kind_of(record: str) -> RecordKind:
    """Return the kind of a record. Raises NotFound."""
    kind = KINDS.get(record.partition("/")[0])
    if kind is None:
        raise unknown(record)
    return kind


def may_read(record: str, member: Principal) -> bool:
    return member.may(*kind_of(record).needs)


def unknown(record: str) -> NotFound:
    return NotFound(f"there is no record {record}; {', '.join(f'{kind}/…' for kind in KINDS)} are")


async def record(database: Database, name: str) -> SignedRecord:
    """Return what a record is, and its signatures. Raises NotFound if there is neither."""
    kind_of(name)
    async with database.connection() as connection:
        row = await connection.fetchrow(SQL["state"], name)
        signed = [item(one) for one in await connection.fetch(SQL["signatures"], [name])]
    if row["digest"] is None and not signed:
        raise unknown(name)
    return SignedRecord.of(row, record=name, signatures=signed)


async def exists(database: Database, name: str) -> None:
    """Raises NotFound for a record that is not there."""
    kind_of(name)
    row = await database.one(SQL["state"], name, absent=unknown(name))
    if row["digest"] is None:
        raise unknown(name)


async def of_records(database: Database, names: Sequence[str]) -> list[SignatureAnswer]:
    return [item(row) for row in await database.fetch(SQL["signatures"], names)]


async def signer(database: Database, session_id: int, network: str) -> asyncpg.Record:
    """Return the account of a session, and what a signature takes of it. Raises Unauthorized."""
    absent = Unauthorized("the session has ended: log in again")
    return await database.one(SQL["signer"], session_id, network, absent=absent)


async def failed(database: Database, session_id: int, name: str, address: str) -> None:
    """Count in the audit trail that somebody could not show who signs."""
    await database.execute(SQL["failed"], session_id, name, address)


async def sign(database: Database, proof: Proof, name: str, digest: str, meaning: str) -> SignatureAnswer:
    """Sign a record. Raises NotFound, Forbidden, Conflict, and PreconditionFailed if its digest is another one now."""
    async with database.change() as connection:
        number = await connection.fetchval(SQL["sign"], *proof, name, digest, meaning)
        rows = await connection.fetch(SQL["signatures"], [name])
        return next(item(row) for row in rows if row["signature_id"] == number)


def item(row: asyncpg.Record) -> SignatureAnswer:
    return SignatureAnswer.of(row, id=row["signature_id"])
