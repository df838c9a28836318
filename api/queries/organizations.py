"""SQL for organizations, their members, invitations and keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from api.access.roles import ALL_SCOPES, Principal, Role
from api.access.tokens import ApiKey, code_hash, hashed, new_code
from api.database import Database, Server
from api.problems import Forbidden, NotFound
from api.queries import load
from api.shapes.organizations import (
    MadeInvitation,
    MadeKey,
    Member,
    Membership,
    NewInvitation,
    NewKey,
    NewOrganization,
    Organization,
    OrganizationChange,
)
from schema import times

SQL = load("organizations")
LAST_KEY_ID = "z" * 13


async def memberships(accounts: Database, user_id: int) -> list[Membership]:
    return [Membership.of(row) for row in await accounts.fetch(SQL["memberships"], user_id)]


async def whose(server: Server, principal: Principal) -> list[Membership]:
    """Return the organizations of the caller; a key has the one in which it was made."""
    if principal.user_id is not None:
        return await memberships(server.accounts, principal.user_id)
    if principal.organization_id is None or principal.role is None:
        return []
    row = await _organization(server.of(principal.organization_id))
    return [Membership.of(row, role=principal.role, since=None)]


async def membership(accounts: Database, user_id: int, name: str) -> Membership:
    """Return what a user, who is a member, is in an organization."""
    return next(one for one in await memberships(accounts, user_id) if one.organization == name)


async def join(accounts: Database, user_id: int, code: bytes) -> str:
    """Make a user a member by an invitation; returns the organization's name. Raises NotFound and Conflict."""
    async with accounts.change() as connection:
        return str(await connection.fetchval(SQL["join"], user_id, code))


async def organization_create(accounts: Database, user_id: int, made: NewOrganization) -> None:
    texts = made.title, made.description, made.contact
    await accounts.execute(SQL["organization_create"], user_id, made.organization, *texts)


async def organization(database: Database, role: Role | None) -> Organization:
    """Return the caller's organization, with the caller's role in it."""
    return Organization.of(await _organization(database), role=role)


async def _organization(database: Database) -> asyncpg.Record:
    return await database.one(SQL["organization"], absent=NotFound("there is no such organization"))


async def organization_change(database: Database, change: OrganizationChange, who: str) -> None:
    texts = change.title, change.description, change.contact
    async with database.change() as connection:
        if change.describes:
            await connection.execute(SQL["organization_change"], *texts, who, change.why)
        if change.runs_automatic is not None:
            await connection.execute(SQL["run_automation"], change.runs_automatic, who, change.why)


async def members(database: Database, after: int, limit: int) -> list[asyncpg.Record]:
    return await database.fetch(SQL["members"], after, limit)


async def member(database: Database, user_id: int) -> Member:
    return Member.of(await database.one(SQL["member"], user_id, absent=NotFound(f"there is no member {user_id}")))


async def member_change(database: Database, user_id: int, role: str | None, who: str, why: str) -> None:
    """Change the role of a member; None removes the member."""
    await database.execute(SQL["member_change"], user_id, role, who, why)


async def member_remove(database: Database, user_id: int, by: Principal, why: str) -> None:
    """Remove a member. Raises Forbidden where one who is no admin would remove another."""
    if user_id != by.user_id and by.role is not Role.ADMIN:
        raise Forbidden(f"only an admin removes others; you are {by.role} in {by.organization}")
    await member_change(database, user_id, None, by.who, why)


def may_grant(member: Principal, role: Role) -> None:
    """Raise Forbidden unless the caller has at least this role and, as people do, all scopes."""
    if member.role is None or not member.role.covers(role):
        raise Forbidden(f"you cannot give more than your own role, {member.role}")
    if not member.scopes >= ALL_SCOPES:
        raise Forbidden("people have all scopes: a key without all of them cannot add members or change roles")


async def invitations(database: Database, before: int, limit: int) -> list[asyncpg.Record]:
    return await database.fetch(SQL["invitations"], before, limit)


async def invite(database: Database, member: Principal, given: NewInvitation) -> MadeInvitation:
    """Make an invitation. Raises Forbidden for a role beyond the member's own."""
    may_grant(member, given.role)
    code, until = new_code(), datetime.now(UTC) + given.expires_in
    async with database.change() as connection:
        made = await connection.fetchval(
            SQL["invitation_create"], given.role, code_hash(code), given.uses, until, given.email, member.who
        )
        return MadeInvitation.of(await connection.fetchrow(SQL["invitation"], made), code=code)


async def invitation_end(database: Database, invitation_id: int, who: str, why: str) -> None:
    await database.execute(SQL["invitation_end"], invitation_id, who, why)


async def keys(database: Database, before: Sequence[Any], limit: int) -> list[asyncpg.Record]:
    return await database.fetch(SQL["keys"], *before, limit)


async def key(database: Database, key_id: str) -> asyncpg.Record | None:
    return await database.fetchrow(SQL["key_shown"], key_id)


async def make_key(database: Database, member: Principal, given: NewKey) -> MadeKey:
    """Make an API key. Raises Forbidden for what its maker may not do."""
    if member.role is None or not member.role.covers(given.role):
        raise Forbidden(f"a key cannot have more than your own role, {member.role}")
    if not member.scopes.issuperset(given.scopes):
        raise Forbidden(f"a key can only give the scopes that it has: {', '.join(sorted(member.scopes))}")
    until = None if given.expires_in is None else datetime.now(UTC) + given.expires_in
    if member.key_id is not None:
        maker = await key(database, member.key_id)
        ends = maker and maker["expires_at"]
        if ends is not None and (until is None or until > ends):
            raise Forbidden(f"a key made by a key cannot expire later than it: {times.text(ends)}")
    made, scopes = ApiKey.new(), sorted({scope.value for scope in given.scopes})
    async with database.change() as connection:
        await connection.execute(
            SQL["key_create"], made.key_id, hashed(made.secret), given.name, given.role, scopes, until, member.who
        )
        return MadeKey.of(await connection.fetchrow(SQL["key_shown"], made.key_id), key=str(made))


async def key_end(database: Database, key_id: str, who: str, why: str) -> None:
    await database.execute(SQL["key_end"], key_id, who, why)
