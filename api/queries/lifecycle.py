"""What becomes of a device, and its logins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api.database import Database
from api.http import times
from api.queries import load

SQL = load("lifecycle")


async def logins(database: Database, device_id: int) -> list[dict[str, Any]]:
    """Newest first, without their secrets."""
    return [
        {name: times.text(value) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in await database.fetch(SQL["logins"], device_id)
    ]


async def command(database: Database, device: str, action: str, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["command"], device, action, who, why)


async def give(database: Database, name: str, organization: str, *, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["give"], name, organization, who, why)
