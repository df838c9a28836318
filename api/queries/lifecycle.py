"""SQL for the lifecycle of devices and for their logins."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from api.access.roles import Role
from api.database import Database
from api.queries import load

SQL = load("lifecycle")
LEAST: Mapping[str, Role] = {
    "suspend": Role.ENGINEER,
    "resume": Role.ENGINEER,
    "rotate": Role.ENGINEER,
    "revoke": Role.ADMIN,
    "retire": Role.ADMIN,
    "reset": Role.ADMIN,
}
"""The least role for each action on a device."""


async def logins(database: Database, device_id: int) -> list[asyncpg.Record]:
    """Return the logins of a device, newest first, without their secrets."""
    return await database.fetch(SQL["logins"], device_id)


async def command(database: Database, device: str, action: str, who: str, why: str) -> None:
    await database.execute(SQL["command"], device, action, who, why)


async def give(database: Database, name: str, organization: str, *, who: str, why: str) -> None:
    await database.execute(SQL["give"], name, organization, who, why)
