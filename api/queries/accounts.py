"""Accounts and sessions; organizations, their members, invitations and keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from api import times
from api.access.roles import Principal
from api.access.tokens import ApiKey, RefreshToken, hashed
from api.database import Database, Server
from api.problems import CHALLENGE, Conflict, NotFound, Unauthorized
from api.queries import load

SQL = load("accounts")
LAST_KEY_ID = "z" * 13


# Of no organization: `accounts` is `api.access.Accounts`.


async def account(accounts: Database, email: str) -> asyncpg.Record | None:
    """With the password hash, and whether it is disabled."""
    return await accounts.fetchrow(SQL["account"], email)


async def account_of(accounts: Database, user_id: int) -> asyncpg.Record:
    row = await accounts.fetchrow(SQL["account_of"], user_id)
    if row is None:
        raise Unauthorized("this account is there no more")
    return row


async def create(accounts: Database, email: str, name: str, password_hash: str, code: bytes | None) -> int:
    try:
        async with accounts.change() as connection:
            return int(await connection.fetchval(SQL["account_create"], email, name, password_hash, code))
    except Conflict as error:
        raise Conflict(f"there is an account of {email} already: log in, or have its password reset") from error


async def memberships(accounts: Database, user_id: int) -> list[dict[str, Any]]:
    return [_plain(row) for row in await accounts.fetch(SQL["memberships"], user_id)]


async def whose(server: Server, principal: Principal) -> list[dict[str, Any]]:
    """The organizations somebody is a member of; a key's is the one it was made in."""
    if principal.user_id is not None:
        return await memberships(server.accounts, principal.user_id)
    if principal.organization_id is None or principal.role is None:
        return []
    its = await organization(server.of(principal.organization_id))
    return [{"organization": its["organization"], "title": its["title"], "role": principal.role, "since": None}]


async def key_of(accounts: Database, key_id: str) -> asyncpg.Record:
    row = await accounts.fetchrow(SQL["key"], key_id)
    if row is None:
        raise Unauthorized("this key has ended")
    return row


async def session_open(
    accounts: Database, account: asyncpg.Record, token: RefreshToken | str, expires_at: datetime, agent: str
) -> int:
    """`token`: a program's refresh token, or what a browser has as its cookie. Raises Unauthorized if the account has
    another password by now than was compared."""
    kind, family, secret = "browser", None, token
    if isinstance(token, RefreshToken):
        kind, family, secret = "program", hashed(token.family), token.secret
    async with accounts.change() as connection:
        session_id = await connection.fetchval(
            SQL["session_open"],
            *(account["user_id"], account["password_hash"], kind, family, hashed(str(secret)), expires_at, agent),
        )
    if session_id is None:
        raise Unauthorized("the account was changed meanwhile: log in again", headers=CHALLENGE)
    return int(session_id)


async def session_renew(
    accounts: Database, token: RefreshToken, following: RefreshToken, expires_at: datetime
) -> tuple[int, int] | None:
    """Session and user; None: the token is none, or was used up, which has ended its session."""
    hashes = hashed(token.family), hashed(token.secret), hashed(following.secret)
    async with accounts.change() as connection:
        row = await connection.fetchrow(SQL["session_renew"], *hashes, expires_at)
    return None if row is None else (row["session_id"], row["user_id"])


async def session_end(accounts: Database, user_id: int, session_id: int | None) -> int:
    """How many have ended: that one, or all."""
    async with accounts.change() as connection:
        return int(await connection.fetchval(SQL["session_end"], user_id, session_id))


async def sessions(accounts: Database, user_id: int, current: int | None) -> list[dict[str, Any]]:
    rows = await accounts.fetch(SQL["sessions"], user_id)
    return [_plain(row) | {"current": row["session_id"] == current} for row in rows]


async def password_change(accounts: Database, account: asyncpg.Record, new_hash: str, keep: int | None) -> None:
    """Raises Conflict if somebody else has changed it meanwhile."""
    async with accounts.change() as connection:
        await connection.execute(SQL["password_change"], account["user_id"], account["password_hash"], new_hash, keep)


async def join(accounts: Database, user_id: int, code: bytes) -> str:
    """The name of the organization. Raises NotFound and Conflict."""
    async with accounts.change() as connection:
        return str(await connection.fetchval(SQL["join"], user_id, code))


async def organization_create(accounts: Database, user_id: int, name: str, title: str) -> None:
    async with accounts.change() as connection:
        await connection.execute(SQL["organization_create"], user_id, name, title)


# Of the caller's organization.


async def organization(database: Database) -> dict[str, Any]:
    row = await database.fetchrow(SQL["organization"])
    if row is None:
        raise NotFound("there is no such organization")
    return _plain(row)


async def organization_change(database: Database, title: str, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["organization_change"], title, who, why)


async def members(database: Database, after: int, limit: int) -> list[dict[str, Any]]:
    return [_plain(row) for row in await database.fetch(SQL["members"], after, limit)]


async def member(database: Database, user_id: int) -> dict[str, Any]:
    row = await database.fetchrow(SQL["member"], user_id)
    if row is None:
        raise NotFound(f"there is no member {user_id}")
    return _plain(row)


async def member_change(database: Database, user_id: int, role: str | None, who: str, why: str) -> None:
    """`role` None: they are a member no more."""
    async with database.change() as connection:
        await connection.execute(SQL["member_change"], user_id, role, who, why)


async def invitations(database: Database, before: int, limit: int) -> list[dict[str, Any]]:
    return [_plain(row) for row in await database.fetch(SQL["invitations"], before, limit)]


async def invitation_create(
    database: Database, role: str, code: bytes, *, uses: int, expires_at: datetime, who: str
) -> dict[str, Any]:
    async with database.change() as connection:
        made = await connection.fetchval(SQL["invitation_create"], role, code, uses, expires_at, who)
        return _plain(await connection.fetchrow(SQL["invitation"], made))


async def invitation_end(database: Database, invitation_id: int, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["invitation_end"], invitation_id, who, why)


async def keys(database: Database, before: Sequence[Any], limit: int) -> list[asyncpg.Record]:
    return await database.fetch(SQL["keys"], *before, limit)


async def key(database: Database, key_id: str) -> asyncpg.Record | None:
    return await database.fetchrow(SQL["key_shown"], key_id)


async def key_create(
    database: Database, made: ApiKey, *, name: str, role: str, scopes: list[str], expires_at: datetime | None, who: str
) -> dict[str, Any]:
    async with database.change() as connection:
        await connection.execute(
            SQL["key_create"], made.key_id, hashed(made.secret), name, role, scopes, expires_at, who
        )
        return shown_key(await connection.fetchrow(SQL["key_shown"], made.key_id))


async def key_end(database: Database, key_id: str, who: str, why: str) -> None:
    async with database.change() as connection:
        await connection.execute(SQL["key_end"], key_id, who, why)


def shown_key(row: asyncpg.Record) -> dict[str, Any]:
    scopes = msgspec.Raw(msgspec.json.encode(row["scopes"]))  # the same text in a cell of CSV
    return _plain(row) | {"scopes": scopes}


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {name: times.text(value) if isinstance(value, datetime) else value for name, value in row.items()}
