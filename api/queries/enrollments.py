"""SQL for handshakes and for the kill switch of enrollment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from api.database import Database
from api.problems import Conflict, NotFound
from api.queries import load
from api.shapes.enrollments import Approval, Enrollment, EnrollmentParameters
from schema.enrollment import fingerprint

SQL = load("enrollments")
LAST_TXN = "f" * 32


async def page(
    database: Database, asked: EnrollmentParameters, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return handshakes that come after the key `before`, newest first."""
    return await database.fetch_planned(SQL["page"], asked.state or None, asked.serial, *before, limit)


async def one(database: Database, txn: str) -> Enrollment:
    absent = NotFound(f"there is no enrollment {txn}; /api/v1/enrollments lists them")
    return item(await database.one(SQL["one"], txn, absent=absent))


def item(row: asyncpg.Record) -> Enrollment:
    return Enrollment.of(row, fingerprint=fingerprint(row["identity_key"]))


async def approve(database: Database, txn: str, approval: Approval, who: str) -> Enrollment:
    """Approve a handshake and return it; if another organization gets the device, as far as it can be known."""
    found = await one(database, txn)
    theirs, seen = found.fingerprint, approval.fingerprint
    if seen is not None and "".join(sign for sign in seen.upper() if sign.isalnum()) != theirs:
        raise Conflict(f"the fingerprint is {theirs}, not {seen}: nothing was approved")
    async with database.change() as connection:
        await connection.execute(SQL["approve"], txn, approval.device, approval.organization, who, approval.why)
        row = await connection.fetchrow(SQL["one"], txn)
    if row is not None:
        return item(row)
    return msgspec.structs.replace(found, state="approved", device=approval.device or found.device)


async def deny(database: Database, txn: str, who: str, why: str) -> Enrollment:
    await database.execute(SQL["deny"], txn, who, why)
    return await one(database, txn)


async def free(database: Database) -> list[str]:
    """Return names of devices that have no controller with a serial."""
    return [row["name"] for row in await database.fetch(SQL["free"])]


async def switches(database: Database) -> list[asyncpg.Record]:
    return await database.fetch(SQL["cells"])


async def switch(database: Database, cell: str | None, is_open: bool, who: str, why: str) -> None:
    await database.execute(SQL["switch"], cell, is_open, who, why)
