"""SQL for the serials whose controllers may enroll by themselves."""

from __future__ import annotations

import asyncpg

from api.database import Database
from api.problems import NotFound
from api.queries import load
from api.shapes.serials import Serial
from schema.enrollment import fingerprint

SQL = load("serials")


async def serials(database: Database, name: str | None, after: str, limit: int) -> list[asyncpg.Record]:
    """Return serials after that one, all or those of one import."""
    return await database.fetch(SQL["serials"], name, after, limit)


async def block(database: Database, serial: str, blocked: bool, who: str, why: str) -> Serial:
    await database.execute(SQL["block"], serial, blocked, who, why)
    return item(await database.one(SQL["serial"], serial, absent=NotFound(f"there is no serial {serial}")))


def item(row: asyncpg.Record) -> Serial:
    key = row["identity_key"]
    return Serial.of(row, import_=row["import"], fingerprint=None if key is None else fingerprint(key))
