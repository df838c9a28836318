"""Databases of tests: a migrated template, and copies of it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from schema.migrate import migrate
from tests import leftovers
from tests.roles import all_logins


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def set_password(url: str) -> None:
    """Set the password that the login has already."""
    connection = await asyncpg.connect(url)
    statement = "select format('alter role %I password %L', current_user, $1::text)"
    await connection.execute(await connection.fetchval(statement, unquote(urlsplit(url).password or "")))
    await connection.close()


async def make_template(postgres_url: str, template: str) -> None:
    """Migrate a database that nobody uses afterwards, and so can be copied in no time."""
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"create database {template} template template0")
    connection = await asyncpg.connect(with_database(postgres_url, template))
    await migrate(connection)
    await connection.close()
    # TimescaleDB's scheduler would connect to it, and so forbid the copying
    await admin.execute(f"alter database {template} with allow_connections false")
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", template)
    await admin.close()


async def drop_database(postgres_url: str, name: str) -> None:
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"drop database if exists {name} with (force)")
    await admin.close()


@contextmanager
def made_template(postgres_url: str, template: str) -> Iterator[None]:
    """Made, and dropped at the end of the run, by which tests must have dropped their own databases and logins."""
    left: list[str] = []
    try:
        asyncio.run(make_template(postgres_url, template))
        yield
        if "BIOGATE_TEST_DATABASE_URL" not in os.environ:  # on another server may be those of other runs
            left = asyncio.run(leftovers.databases(postgres_url))
    finally:
        asyncio.run(drop_database(postgres_url, template))
    assert not left, f"tests have left {left}"


@asynccontextmanager
async def fresh_database(maintenance: asyncpg.Connection, postgres_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of `template`, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await maintenance.execute(f"create database {name} template {template} strategy file_copy")
    if template != "template0":
        await maintenance.execute(f"grant connect, temporary on database {name} to {all_logins()}")
    yield with_database(postgres_url, name)
    await maintenance.execute(f"drop database {name} with (force)")
