"""SQL for the accounts of the installation, which the organization that runs it sees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from api.access.tokens import code_hash
from api.database import Database
from api.problems import NotFound
from api.queries import load
from api.shapes.installation import InstallationAccount, RoleIn

SQL = load("installation")


def item(row: Mapping[str, Any]) -> InstallationAccount:
    roles = msgspec.json.decode(row["organizations"], type=list[RoleIn])
    return InstallationAccount.of(row, organizations=roles)


async def accounts(database: Database, after: int, limit: int) -> list[asyncpg.Record]:
    """List accounts. Raises Forbidden if another organization asks than the one that runs the installation."""
    return await database.fetch(SQL["accounts"], after, limit)


async def account(database: Database, user_id: int) -> InstallationAccount:
    """Return one account. Raises NotFound, and Forbidden as above."""
    rows = await accounts(database, user_id - 1, 1)
    if not rows or rows[0]["user_id"] != user_id:
        raise NotFound(f"there is no account {user_id}")
    return item(rows[0])


async def account_change(
    database: Database, user_id: int, *, disabled: bool | None, verified: bool | None, who: str, why: str
) -> None:
    """Disable, enable, verify an account; None leaves it as it is. Raises NotFound, Conflict and Forbidden."""
    await database.execute(SQL["account_change"], user_id, disabled, verified, who, why)


async def password_reset_make(
    database: Database, user_id: int, code: str, expires_at: datetime, *, who: str, why: str
) -> None:
    """Make the one code that sets the password of an account. Raises NotFound, Conflict and Forbidden."""
    await database.execute(SQL["password_reset_make"], user_id, code_hash(code), expires_at, who, why)
