"""Serials that may enroll by themselves."""

from __future__ import annotations

from typing import Any

import asyncpg

from api.database import Database
from api.http import times
from api.problems import NotFound
from api.queries import load
from schema.enrollment import fingerprint

SQL = load("serials")


async def serials(database: Database, name: str | None, after: str, limit: int) -> list[asyncpg.Record]:
    """Serials after that one, perhaps only those of one import."""
    return await database.fetch(SQL["serials"], name, after, limit)


async def block(database: Database, serial: str, blocked: bool, who: str, why: str) -> dict[str, Any]:
    async with database.change() as connection:
        await connection.execute(SQL["block"], serial, blocked, who, why)
    row = await database.fetchrow(SQL["serial"], serial)
    if row is None:
        raise NotFound(f"there is no serial {serial}")
    return item(row)


def item(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "serial": row["serial"],
        "device": row["device"],
        "state": row["state"],
        "claim_version": row["claim_version"],
        "blocked": row["blocked"],
        "fingerprint": None if row["identity_key"] is None else fingerprint(row["identity_key"]),
        "import": row["import"],
        "created_at": times.text(row["created_at"]),
    }
