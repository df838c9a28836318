"""Brings a database to the current schema: `biogate migrate`. It may run at any time, and several may run at
once.

Each numbered file in `migrations/` runs once, in order. Then the script of the database's TimescaleDB edition
(`editions/`) runs; it is idempotent and runs every time, so that a database can move from apache to timescale. The wide
views for SQL logins are made anew where channels or models of devices came.

BIOGATE_CHUNK_INTERVAL stays as it is if it is not set (at first: a day). A chunk that is being written should fit in a
quarter of the server's memory, with its index. Each process has a login of its own, which a variable such as
BIOGATE_GATEWAY_DATABASE_URL names: it gets its password and the role of the process, such as `biogate_gateway`.
`rights.sql` says what each role may do, and runs every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate as pogo

from schema.errors import BiogateError, Misused
from schema.owner import owner_url

MIGRATIONS = Path(__file__).parent / "migrations"
EDITIONS = Path(__file__).parent / "editions"
RIGHTS = Path(__file__).parent / "rights.sql"
LOCK = 0x62696F67  # "biog"
NO_SUCH_FILE = "58P01"
"""The SQLSTATE of a library that the server lacks: TimescaleDB was upgraded, and the database asks for the old one."""
EXTENSION_BEHIND = (
    "the server's TimescaleDB was upgraded or replaced, and this database still asks for the old one: run "
    '`psql -X "$BIOGATE_DATABASE_URL" -c "alter extension timescaledb update"`, then `biogate migrate`'
)


class BadSetting(Misused):
    """Raised for an unusable setting; the text names it and says what is allowed."""


class NotMigrated(BiogateError):
    """The database refused; says why."""


async def migrate(connection: asyncpg.Connection, chunk_interval: str | None = None) -> str:
    """Apply the missing migrations, under a lock, and return the TimescaleDB edition: `apache` or `timescale`."""
    if chunk_interval is not None:
        await _check_chunk_interval(connection, chunk_interval)
    await connection.execute("select pg_advisory_lock($1)", LOCK)
    try:
        if await pending(connection):  # to read all of them takes a second of processor time
            await pogo.apply(connection, MIGRATIONS, schema_name="public")
        if chunk_interval is not None:
            await connection.execute("select set_chunk_time_interval('frames', $1::text::interval)", chunk_interval)
        edition = str(await connection.fetchval("select current_setting('timescaledb.license')"))
        await connection.execute((EDITIONS / f"{edition}.sql").read_text())
        await connection.execute(RIGHTS.read_text())
        await connection.execute("select wide_views_make()")
    finally:
        await connection.execute("select pg_advisory_unlock($1)", LOCK)
    return edition


async def _check_chunk_interval(connection: asyncpg.Connection, text: str) -> None:
    """Check the interval. PostgreSQL decides what an interval is; the bounds keep out obvious mistakes."""
    try:
        fits = await connection.fetchval("select $1::text::interval between '1 minute' and '1 year'", text)
    except asyncpg.DataError as error:
        raise BadSetting(f"BIOGATE_CHUNK_INTERVAL={text!r} is not an interval such as '6 hours' or '1 day'") from error
    if not fits:
        raise BadSetting(f"BIOGATE_CHUNK_INTERVAL={text!r} is not between '1 minute' and '1 year'")


MEMBER = """
select true from pg_auth_members m
 where m.member = (select oid from pg_roles where rolname = $1)
   and m.roleid = (select oid from pg_roles where rolname = $2)"""
API, GATEWAY, ALARMS, WORKER = "biogate_api", "biogate_gateway", "biogate_alarms", "biogate_worker"
BACKUP, EVIDENCE, OPERATOR = "biogate_backup", "biogate_evidence", "biogate_operator"
LOGINS = {
    API: "BIOGATE_API_DATABASE_URL",
    GATEWAY: "BIOGATE_GATEWAY_DATABASE_URL",
    ALARMS: "BIOGATE_ALARMS_DATABASE_URL",
    WORKER: "BIOGATE_WORKER_DATABASE_URL",
    BACKUP: "BIOGATE_BACKUP_DATABASE_URL",
    EVIDENCE: "BIOGATE_EVIDENCE_DATABASE_URL",
    OPERATOR: "BIOGATE_OPERATOR_DATABASE_URL",
}
"""Role → the variable that names a login in it."""
STAND_INS = {ALARMS, WORKER}
"""Roles that the gateway's login has as long as they have no login: installations of before have one for all."""
STAGING = {GATEWAY, WORKER, OPERATOR}
"""Roles that store frames, and stage in a temporary table what may be duplicates."""


def roles_by_url(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """The URLs of logins in the environment, each with the roles that its login has."""
    given: dict[str, list[str]] = {}
    for role, variable in LOGINS.items():
        stand_in = environment.get(LOGINS[GATEWAY]) if role in STAND_INS else None
        if url := environment.get(variable) or stand_in:
            given.setdefault(url, []).append(role)
    return given


async def make_login(connection: asyncpg.Connection, url: str, *roles: str) -> None:
    """Create a login in `roles` (without any: that of the API) as `url` names it, with its password. It has no other
    role of ours. Raises BadSetting."""
    roles = roles or (API,)
    given = urlsplit(url)
    name, password = unquote(given.username or ""), unquote(given.password or "")
    if not name or name == await connection.fetchval("select session_user"):
        raise BadSetting(
            f"{LOGINS[roles[0]]} names no login of its own, as postgresql://biogate_web:password@host/name does"
        )
    if name in LOGINS:
        raise BadSetting(f"{LOGINS[roles[0]]}: {name} is a role; give the login another name")
    if await connection.fetchval("select rolsuper or rolcreaterole from pg_roles where rolname = $1", name):
        raise BadSetting(f"{LOGINS[roles[0]]}: {name} may do more than {roles[0]} should")
    with contextlib.suppress(asyncpg.DuplicateObjectError):
        await _execute(connection, "create role %1$I login", name)
    if password:
        await _execute(connection, "alter role %1$I login password %2$L", name, password)
    for role in LOGINS.keys() - set(roles):
        if await connection.fetchval(MEMBER, name, role):
            await _execute(connection, "revoke %1$I from %2$I", role, name)
    database = await connection.fetchval("select current_database()")
    for role in roles:
        await _execute(connection, "grant %1$I to %2$I", role, name)
        await _execute(connection, "grant connect on database %1$I to %2$I", database, role)
        if role in STAGING:
            await _execute(connection, "grant temporary on database %1$I to %2$I", database, role)
    if BACKUP in roles:
        await _may_copy(connection, name)


async def _may_copy(connection: asyncpg.Connection, name: str) -> None:
    """Let the login copy the server's files. No role gives that: it is an attribute of the login. Raises BadSetting."""
    if not await connection.fetchval("select rolreplication from pg_roles where rolname = $1", name):
        try:
            await _execute(connection, "alter role %1$I replication", name)
        except asyncpg.InsufficientPrivilegeError as error:
            raise BadSetting(
                f"{LOGINS[BACKUP]}: BIOGATE_DATABASE_URL's login may not let {name} take backups: have a superuser run "
                f"`alter role {name} replication`, then migrate again"
            ) from error


async def _execute(connection: asyncpg.Connection, statement: str, *names: str) -> None:
    """Run a statement that takes no parameters; the server quotes the names and texts."""
    await connection.execute(await connection.fetchval("select format($1, variadic $2::text[])", statement, names))


async def pending(connection: asyncpg.Connection) -> list[str]:
    """Names of the migrations that this version has and the database has not."""
    known = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    if await connection.fetchval("select to_regclass('public._pogo_migration')") is None:
        return known
    rows = await connection.fetch("select migration_id from public._pogo_migration")
    return [name for name in known if name not in {row["migration_id"] for row in rows}]


async def main() -> None:
    url = os.environ.get("BIOGATE_DATABASE_URL")
    if not url:
        raise BadSetting("BIOGATE_DATABASE_URL is not set: it says which database, postgresql://user@host:port/name")
    url = owner_url(url, os.environ)
    try:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            edition = await migrate(connection, os.environ.get("BIOGATE_CHUNK_INTERVAL") or None)
            for login_url, roles in roles_by_url(os.environ).items():
                await make_login(connection, login_url, *roles)
        finally:
            await connection.close()
    except (BadMigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        if (
            getattr(error, "sqlstate", None) == NO_SUCH_FILE
            or getattr(error.__cause__, "sqlstate", None) == NO_SUCH_FILE
        ):
            raise NotMigrated(f"not migrated: {EXTENSION_BEHIND}") from error
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise NotMigrated(f"not migrated: {error or type(error).__name__}{cause}") from error
    print(f"schema is current ({edition} edition)")


def command() -> None:
    """Bring the database that BIOGATE_DATABASE_URL names to the schema of this version.

    If BIOGATE_OWNER_DATABASE_URL_FILE is set, the file that it names has the URL with the login of the owner.
    BIOGATE_CHUNK_INTERVAL, such as '6 hours', is how much time a chunk of frames holds from now on.
    BIOGATE_API_DATABASE_URL names the API's own login. BIOGATE_GATEWAY_DATABASE_URL, BIOGATE_ALARMS_DATABASE_URL,
    BIOGATE_WORKER_DATABASE_URL, BIOGATE_BACKUP_DATABASE_URL, BIOGATE_EVIDENCE_DATABASE_URL and
    BIOGATE_OPERATOR_DATABASE_URL (of the tools) name others. All that are set are made.
    """
    asyncio.run(main())


if __name__ == "__main__":
    from schema.command_line import alone, start

    start(alone(command), "biogate migrate")
