"""SQL for accounts and sessions, which belong to no organization: `accounts` is `api.access.Accounts`."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from api.access.tokens import RefreshToken, hashed
from api.database import Database
from api.problems import CHALLENGE, Conflict, Unauthorized
from api.queries import load
from api.shapes.accounts import SessionAnswer

SQL = load("accounts")


async def account(accounts: Database, email: str) -> asyncpg.Record | None:
    """Find the account of an address, with its password hash and whether it is disabled."""
    return await accounts.fetchrow(SQL["account"], email)


async def account_of(accounts: Database, user_id: int) -> asyncpg.Record:
    """Return the account of a user. Raises Unauthorized if it was deleted."""
    return await accounts.one(SQL["account_of"], user_id, absent=Unauthorized("this account does not exist any more"))


async def create(accounts: Database, email: str, name: str, password_hash: str, code: bytes | None) -> int:
    try:
        async with accounts.change() as connection:
            return int(await connection.fetchval(SQL["account_create"], email, name, password_hash, code))
    except Conflict as error:
        raise Conflict(f"there is an account of {email} already: log in, or have its password reset") from error


async def key_of(accounts: Database, key_id: str) -> asyncpg.Record:
    """Return name and expiry of an API key. Raises Unauthorized if it has ended."""
    return await accounts.one(SQL["key"], key_id, absent=Unauthorized("this key has ended"))


async def session_open(
    accounts: Database, account: asyncpg.Record, token: RefreshToken | str, expires_at: datetime, agent: str
) -> int:
    """Open a session; `token` is a program's refresh token or a browser's cookie. Returns the session id.

    Raises Unauthorized if the password was changed after it was compared."""
    kind, family, secret = "browser", None, token
    if isinstance(token, RefreshToken):
        kind, family, secret = "program", hashed(token.family), token.secret
    async with accounts.change() as connection:
        session_id = await connection.fetchval(
            SQL["session_open"],
            *(account["user_id"], account["password_hash"], kind, family, hashed(str(secret)), expires_at, agent),
        )
    if session_id is None:
        raise Unauthorized("the account has changed meanwhile: log in again", headers=CHALLENGE)
    return int(session_id)


async def session_renew(
    accounts: Database, token: RefreshToken, following: RefreshToken, expires_at: datetime
) -> tuple[int, int] | None:
    """Replace a refresh token. Returns session and user; None if it is unknown, or was used: its session then ends."""
    hashes = hashed(token.family), hashed(token.secret), hashed(following.secret)
    async with accounts.change() as connection:
        row = await connection.fetchrow(SQL["session_renew"], *hashes, expires_at)
    return None if row is None else (row["session_id"], row["user_id"])


async def session_end(accounts: Database, user_id: int, session_id: int | None) -> int:
    """End one session of a user, or all for None; returns how many have ended."""
    async with accounts.change() as connection:
        return int(await connection.fetchval(SQL["session_end"], user_id, session_id))


async def sessions(accounts: Database, user_id: int, current: int | None) -> list[SessionAnswer]:
    rows = await accounts.fetch(SQL["sessions"], user_id)
    return [SessionAnswer.of(row, current=row["session_id"] == current) for row in rows]


async def password_change(accounts: Database, account: asyncpg.Record, new_hash: str, keep: int | None) -> None:
    """Change a password and end all sessions but `keep`. Raises Conflict if the password was changed meanwhile."""
    old_hash = account["password_hash"]
    await accounts.execute(SQL["password_change"], account["user_id"], old_hash, new_hash, keep)
