"""SQL for accounts and sessions, which belong to no organization: `accounts` is `api.access.Accounts`."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from api.access.tokens import RefreshToken, hashed
from api.database import Database
from api.problems import Conflict, NotFound, Unauthorized
from api.queries import load
from api.shapes.accounts import SessionAnswer

SQL = load("accounts")


async def log_in_account(accounts: Database, email: str, network: str) -> asyncpg.Record:
    """Find who wants to log in, with what that takes; `user_id` is null if there is no such account."""
    row = await accounts.fetchrow(SQL["log_in_account"], email, network)
    assert row is not None
    return row


async def log_in_failed(accounts: Database, user_id: int | None, address: str) -> None:
    """Count a failure in the audit trail; a user of None is an account that there is not."""
    await accounts.execute(SQL["log_in_failed"], user_id, address)


async def has_admin(accounts: Database) -> bool:
    """Whether somebody runs the installation, who can invite others."""
    return bool((await accounts.fetch(SQL["has_admin"]))[0][0])


async def account_of(accounts: Database, user_id: int) -> asyncpg.Record:
    """Return the account of a user. Raises Unauthorized if it was deleted."""
    return await accounts.one(SQL["account_of"], user_id, absent=Unauthorized("this account does not exist any more"))


async def create(accounts: Database, email: str, name: str, password_hash: str, code: bytes | None) -> int:
    try:
        async with accounts.change() as connection:
            return int(await connection.fetchval(SQL["account_create"], email, name, password_hash, code))
    except Conflict as error:
        raise Conflict(f"there is an account of {email} already: log in, or ask an admin for a link") from error


async def key_of(accounts: Database, key_id: str) -> asyncpg.Record:
    """Return name and expiry of an API key. Raises Unauthorized if it has ended."""
    return await accounts.one(SQL["key"], key_id, absent=Unauthorized("this key has ended"))


async def log_in(
    accounts: Database,
    account: asyncpg.Record,
    token: RefreshToken | str,
    expires_at: datetime,
    *,
    password_hash: str,
    agent: str,
    address: str,
    network: str,
) -> int | None:
    """Open a session; `token` is a program's refresh token or a browser's cookie. Returns the session id, or None if
    the password hash was changed after it was compared."""
    kind, family, secret = "browser", None, token
    if isinstance(token, RefreshToken):
        kind, family, secret = "program", hashed(token.family), token.secret
    async with accounts.change() as connection:
        session_id: int | None = await connection.fetchval(
            SQL["log_in"],
            *(account["user_id"], password_hash, kind, family, hashed(str(secret)), expires_at, agent),
            *(address, network),
        )
    return session_id


async def log_in_by_link(
    accounts: Database, code: bytes, token: str, expires_at: datetime, *, agent: str, address: str, network: str
) -> tuple[int, asyncpg.Record]:
    """Use a link up and open a browser's session; returns its id and the account. Raises NotFound."""
    async with accounts.change() as connection:
        row = await connection.fetchrow(SQL["log_in_by_link"], code, hashed(token), expires_at, agent, address, network)
    if row is None:
        raise NotFound("this link is none, was used before, or has expired: ask for another, or log in")
    return row["session_id"], await account_of(accounts, row["user_id"])


async def session_renew(
    accounts: Database, token: RefreshToken, expires_at: datetime
) -> tuple[int, int, RefreshToken] | None:
    """Replace a refresh token by the next one of its chain. Returns session, user and the next token; None if the token
    is unknown, or was used before the one used last: its session then ends."""
    family, used = hashed(token.family), hashed(token.secret)
    async with accounts.change() as connection:
        chain_key = await connection.fetchval(SQL["session_chain"], family)
        if chain_key is None:
            return None
        following = token.following(chain_key)
        row = await connection.fetchrow(SQL["session_renew"], family, used, hashed(following.secret), expires_at)
    return None if row is None else (row["session_id"], row["user_id"], following)


async def session_end(accounts: Database, user_id: int, session_id: int | None) -> int:
    """End one session of a user, or all for None; returns how many have ended."""
    async with accounts.change() as connection:
        return int(await connection.fetchval(SQL["session_end"], user_id, session_id))


async def log_out(accounts: Database, user_id: int, session_id: int | None) -> None:
    """End the caller's session, or all of the caller's for None."""
    await accounts.execute(SQL["log_out"], user_id, session_id)


async def sessions(accounts: Database, user_id: int, current: int | None) -> list[SessionAnswer]:
    rows = await accounts.fetch(SQL["sessions"], user_id)
    return [SessionAnswer.of(row, current=row["session_id"] == current) for row in rows]


async def password_change(
    accounts: Database, account: asyncpg.Record, old_hash: str, new_hash: str, keep: int | None
) -> None:
    """Change a password and end all sessions but `keep`. Raises Conflict if the password was changed meanwhile."""
    await accounts.execute(SQL["password_change"], account["user_id"], old_hash, new_hash, keep)


async def password_first(accounts: Database, account: asyncpg.Record, new_hash: str, keep: int | None) -> None:
    """Set the password of an account that has none, and end all sessions but `keep`. Raises Conflict if it has one."""
    await accounts.execute(SQL["password_first"], account["user_id"], new_hash, keep)


async def passwords_taken(accounts: Database, user_id: int) -> list[str]:
    """Return the hashes of passwords that the person may not take again."""
    return [row[0] for row in await accounts.fetch(SQL["passwords_taken"], user_id)]


async def password_rehash(accounts: Database, account: asyncpg.Record, old_hash: str, new_hash: str) -> None:
    """Replace the hash of a password by one that takes the work of today's setting."""
    await accounts.execute(SQL["password_rehash"], account["user_id"], old_hash, new_hash)


async def password_reset_of(accounts: Database, code: bytes) -> asyncpg.Record:
    """Find whose password a link sets. Raises NotFound."""
    absent = NotFound("this link is none, was used, or has expired: ask for another one")
    return await accounts.one(SQL["password_reset_of"], code, absent=absent)


async def password_reset_use(accounts: Database, code: bytes, new_hash: str) -> None:
    """Set a password by a link, which is used up, and end all sessions. Raises NotFound."""
    await accounts.execute(SQL["password_reset_use"], code, new_hash)
