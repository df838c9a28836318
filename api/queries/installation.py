"""SQL for the accounts of the installation, which the organization that runs it sees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from api.access.roles import ALL_SCOPES, Principal
from api.access.tokens import code_hash, new_code
from api.database import Database
from api.problems import Conflict, Forbidden, NotFound
from api.queries import load
from api.shapes.installation import AccountChange, InstallationAccount, NewPasswordLink, PasswordLink, RoleIn
from schema import times

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


async def change(database: Database, user_id: int, given: AccountChange, member: Principal) -> None:
    """Disable, enable or verify an account. Raises NotFound, Conflict and Forbidden."""
    if given.disabled and user_id == member.user_id:
        raise Conflict("you cannot disable your own account: another admin can")
    await database.execute(SQL["account_change"], user_id, given.disabled, given.verified, member.who, given.why)


async def password_link(
    database: Database, user_id: int, given: NewPasswordLink, member: Principal, origin: str
) -> PasswordLink:
    """Make the one link, below `origin`, that sets the password of an account. Raises NotFound, Conflict, Forbidden."""
    if not member.scopes >= ALL_SCOPES:
        raise Forbidden("people have all scopes: a key without all of them cannot let anybody log in")
    code, until = new_code(), datetime.now(UTC) + given.expires_in
    await database.execute(SQL["password_reset_make"], user_id, code_hash(code), until, member.who, given.why)
    return PasswordLink(link=f"{origin}/reset#{code}", code=code, expires_at=times.text(until))
