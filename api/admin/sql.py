"""`biogate sql-login add|end|list`: logins at the database for Grafana and notebooks of the first organization, which
runs the installation.

No other organization gets one: docs/decisions/tenancy.md, decision 36, says what PostgreSQL cannot bound. Rights keep a
login to its views, and nobody can give them to himself. Settings (read-only, time-outs) are for mistakes: a session can
change its own. The leading gateway ends what takes too long, whatever a session has set.
"""

from __future__ import annotations

import re
import secrets
from functools import partial
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from api.admin.console import Organization, organization_id, write_secret
from schema import console
from schema.command_line import commands
from schema.console import Refused, Who, Why, table, tell, time
from schema.migrate import LOGINS

app = commands(
    "Logins at the database, for Grafana: read what is the first organization's. The database's owner makes them: "
    "BIOGATE_OWNER_DATABASE_URL_FILE names the file with that login's URL; without it BIOGATE_DATABASE_URL has it."
)
run = partial(console.run, in_transaction=True, as_owner=True)

MOST_CONNECTIONS = 5
SETTINGS = {
    "search_path": "org, public",  # where TimescaleDB's functions are; of the tables there none can be read
    "default_transaction_read_only": "on",
    "statement_timeout": "'30s'",
    "lock_timeout": "'2s'",
    "idle_in_transaction_session_timeout": "'60s'",
    "work_mem": "'16MB'",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "'UTC'",
}
SUPERUSER_SETTINGS = {"temp_file_limit": "'1GB'"}
"""Only a superuser can give these; then no session can change them."""
BARRED = (
    r"^(pg_(try_)?advisory_|pg_notify$|pg_logical_emit_message$|pg_export_snapshot$|add_job$"
    r"|lo_(creat|create|from_bytea|import|put)$|lowrite$)"
)
"""Functions that PostgreSQL and TimescaleDB give to everyone, by name. The locks are those of the audit trail, the
migrations and the gateways: whoever holds one stops others. Large objects and messages in the log fill the disk. A call
of pg_notify for each of many rows fills the queue that all listeners share; a job runs without end."""
FIRST = 1
"""The organization that runs the installation."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="of the login; all who log in at this server can see it")]


async def add_login(connection: asyncpg.Connection, name: str, organization: str, password: str) -> list[str]:
    """Make a login, in a transaction. Returns what a superuser would have to do to make it tighter."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) or name.startswith("pg_"):
        raise Refused(f"{name!r} is not a name: use 1 to 40 small letters, digits, '_' and '-', the first a letter")
    if await organization_id(connection, organization) != FIRST:
        raise Refused(
            f"logins for SQL are of the organization that runs the installation: {organization} reads through the API,"
            " or has a database of its own (docs/accounts.md says why)"
        )
    if await connection.fetchval("select true from pg_roles where rolname = $1", name):
        raise Refused(f"there is a login or role {name} already")
    await _execute(
        connection,
        f"create role %I login password %L connection limit {MOST_CONNECTIONS} in role biogate_sql",
        *(name, password),
    )
    is_superuser = await connection.fetchval("select rolsuper from pg_roles where rolname = current_user")
    for setting, value in (SETTINGS | (SUPERUSER_SETTINGS if is_superuser else {})).items():
        await _execute(connection, f"alter role %I set {setting} = {value}", name)
    await _execute(connection, "grant connect on database %I to %I", None, name)
    await _execute(connection, "revoke temporary on database %I from public", None)
    if is_superuser:
        await _bar(connection)
    else:  # who makes a role is not in it: without that he could not end what its sessions do
        await _execute(connection, "grant %I to current_user", name)
    await connection.execute("insert into sql_logins (role, organization_id) values ($1, $2)", name, FIRST)
    return [] if is_superuser else LACKS


LACKS = [
    "temporary files are not limited",
    "locks, large objects and pg_notify are not barred",
    "it can connect to other databases of the server: revoke connect on database ... from public",
]
"""What only a superuser can do for a login."""


async def _bar(connection: asyncpg.Connection) -> None:
    """Take from everyone what no login for SQL may use, and give it to our processes and to who owns the tables."""
    keepers = [*LOGINS, await connection.fetchval("select tableowner from pg_tables where tablename = 'audit'")]
    for function in await connection.fetch(
        "select oid::regprocedure::text from pg_proc"
        " where pronamespace in ('pg_catalog'::regnamespace, 'public'::regnamespace) and proname ~ $1",
        BARRED,
    ):
        await connection.execute(f"revoke execute on function {function[0]} from public")
        for keeper in keepers:
            await _execute(connection, f"grant execute on function {function[0]} to %I", keeper)
    await connection.execute("revoke usage on language plpgsql from public")  # with DO any statement is a loop
    for keeper in keepers:
        await _execute(connection, "grant usage on language plpgsql to %I", keeper)


async def close_others(connection: asyncpg.Connection) -> list[str]:
    """Take the right to connect to other databases of the server from everyone, in a transaction of a superuser. Their
    owners keep it, and who has it by name. Returns the names of those that were open."""
    await connection.execute("lock table pg_database in share row exclusive mode")  # none is made or dropped meanwhile
    names = [
        row[0]
        for row in await connection.fetch(
            """select datname from pg_database d where datname <> current_database() and datallowconn
                  and exists (select from aclexplode(coalesce(datacl, acldefault('d', datdba)))
                               where grantee = 0 and privilege_type in ('CONNECT', 'TEMPORARY')) order by 1"""
        )
    ]
    for name in names:
        await _execute(connection, "revoke connect, temporary on database %I from public", name)
    return names


async def end_login(connection: asyncpg.Connection, name: str) -> int:
    """Drop a login and end what it is doing, in a transaction. Returns whose it was."""
    was = await connection.fetchval("delete from sql_logins where role = $1 returning organization_id", name)
    if was is None:
        raise Refused(f"there is no SQL login {name}")
    if await connection.fetchval("select true from pg_roles where rolname = $1", name):
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", name)
        await _execute(connection, "drop owned by %I", name)
        await _execute(connection, "drop role %I", name)
    return int(was)


async def _execute(connection: asyncpg.Connection, statement: str, *names: str | None) -> None:
    """A statement that takes no parameters, with names and texts quoted by the server; None is this database."""
    quoted = await connection.fetchval(
        "select format($1, variadic array(select coalesce(n, current_database()) from unnest($2::text[]) n))",
        *(statement, names),
    )
    await connection.execute(quoted)


@app.command()
def add(
    name: Name,
    *,
    to: Annotated[Path, typer.Option(help="new file for its password, which only you can read")],
    organization: Organization = "main",
    why: Why = "by hand",
    who: Who,
) -> None:
    """Make a login that reads what is the first organization's, in the schema org, and nothing else.

    As a superuser it also takes the right to connect to the server's other databases from everyone."""
    password = secrets.token_urlsafe(24)

    async def work(connection: asyncpg.Connection) -> tuple[list[str], list[str]]:
        lacks = await add_login(connection, name, organization, password)
        closed = [] if lacks else await close_others(connection)
        await connection.execute(
            "insert into audit (organization_id, who, action, subject, why)"
            " select organization_id, $2, 'sql-login add', 'sql-login/' || role, $3 from sql_logins where role = $1",
            *(name, who, why),
        )
        write_secret(to, f"{password}\n")
        return lacks, closed

    lacks, closed = run(work)
    tell(f"login {name} of {organization}: password in {to}")
    for database in closed:
        tell(f"database {database}: who connects to it and does not own it now needs the right by name")
    for lack in lacks:
        tell(f"made without a superuser's rights: {lack}")


@app.command()
def end(name: Name, *, why: Why = "by hand", who: Who) -> None:
    """Drop a login, and end what it is doing."""

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "insert into audit (organization_id, who, action, subject, why) values ($1, $2, 'sql-login end', $3, $4)",
            *(await end_login(connection, name), who, f"sql-login/{name}", why),
        )

    run(work)
    tell(f"login {name} has ended")


@app.command("list")
def list_logins() -> None:
    """List all such logins."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return list(
            await connection.fetch(
                """select l.role, o.name, l.created_at,
                          (select count(*) from pg_stat_activity a where a.usename = l.role) as connections,
                          exists (select from pg_roles r where r.rolname = l.role) as is_there
                     from sql_logins l join organizations o using (organization_id) order by 1"""
            )
        )

    table(
        "LOGIN|ORGANIZATION|SINCE|CONNECTIONS|NOTE",
        (
            (row[0], row[1], time(row[2]), row[3], "" if row[4] else "dropped by somebody else: end it")
            for row in run(read)
        ),
    )
