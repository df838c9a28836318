"""Logins in the roles of the processes, and what the owner of the tables alone can do to records."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from schema.migrate import BACKUP, LOGINS


def as_role(url: str, role: str) -> str:
    """The same database, by a login that has this role alone."""
    parts, name = urlsplit(url), _login(role)
    return urlunsplit(parts._replace(netloc=f"{name}:{name}@{parts.hostname}:{parts.port}"))


def all_logins() -> str:
    """The role that all logins have, which a database lets in: `biogate sql-login` of a test takes that from everybody,
    in all databases of the server."""
    return _login("biogate_logins")


def _login(role: str) -> str:
    return f"test_{role.removeprefix('biogate_')}_{os.getpid()}"


async def make_logins(maintenance: asyncpg.Connection) -> None:
    """Make a login for each role, for all databases of the server. The roles exist: something was migrated."""
    await maintenance.execute(f"create role {all_logins()} nologin")
    for role in LOGINS:
        more = "replication" if role == BACKUP else ""
        name = _login(role)
        await maintenance.execute(f"create role {name} login password '{name}' {more} in role {role}, {all_logins()}")


async def drop_logins(maintenance: asyncpg.Connection) -> None:
    for role in LOGINS:
        await maintenance.execute(f"drop role if exists {_login(role)}")
    await maintenance.execute(f"drop role if exists {all_logins()}")


async def forced(connection: asyncpg.Connection, statement: str, *arguments: Any) -> None:
    """Change stored records in spite of the triggers that refuse it, as a superuser can. No trigger fires."""
    async with connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(statement, *arguments)
        await connection.execute("set local session_replication_role = origin")


async def settle(connection: asyncpg.Connection, state: str, where: str = "true", *arguments: Any) -> None:
    """Settle messages of the quarantine as people do, with an event in the audit trail."""
    async with connection.transaction():
        await connection.execute(
            f"""insert into audit (organization_id, who, action, subject, why)
                select coalesce(d.organization_id, 1), 'eva', 'quarantine', 'quarantine/' || q.quarantine_id, 'tests'
                  from quarantine q left join devices d on d.name = q.device where {where}""",
            *arguments,
        )
        gone = ", bytes = octet_length(payload), payload = null" if state == "discarded" else ""
        await connection.execute(
            f"update quarantine q set state = '{state}', settled_at = now(){gone} where {where}", *arguments
        )


async def drop_quarantined(connection: asyncpg.Connection, where: str = "true") -> None:
    """Delete messages of the quarantine as retention does, which tells the audit trail first."""
    async with connection.transaction():
        await connection.execute("select retention_note('quarantined', now(), now(), '{1}', '{1}', 'tests')")
        await connection.execute(f"delete from quarantine where {where}")
