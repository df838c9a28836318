"""Logins at the database, as the API and organizations have them; gone afterwards, as they are the server's."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from api.admin.sql import add_login, end_login
from schema.migrate import make_login
from tests.api.tenants import Tenant, settle

TENANTS = ("main", "alpha", "beta")


def with_login(url: str, name: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))


@asynccontextmanager
async def api_login_url(owner: asyncpg.Connection, url: str) -> AsyncIterator[str]:
    """The address for a login of the API's own."""
    name = f"test_api_{secrets.token_hex(6)}"
    own = with_login(url, name, secrets.token_hex(8))
    await make_login(owner, own)
    yield own
    await owner.execute(f"drop owned by {name}; drop role {name}")


@asynccontextmanager
async def api_login(owner: asyncpg.Connection, url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the API has it: with its own login, in its role."""
    async with api_login_url(owner, url) as own:
        connection = await asyncpg.connect(own, server_settings={"role": "biogate_api", "search_path": "api, public"})
        yield connection
        await connection.close()


@asynccontextmanager
async def sql_login(owner: asyncpg.Connection, url: str) -> AsyncIterator[str]:
    """The address for a login of the first organization."""
    name, password = f"test-sql-{secrets.token_hex(6)}", secrets.token_hex(8)
    async with owner.transaction():
        await add_login(owner, name, "main", password)
    yield with_login(url, name, password)
    async with owner.transaction():
        await end_login(owner, name)


@pytest.fixture
async def tenants(database: asyncpg.Connection) -> dict[str, Tenant]:
    return {name: await settle(database, name, number) for number, name in enumerate(TENANTS, 1)}


@pytest.fixture
async def login(
    database: asyncpg.Connection, database_url: str, tenants: dict[str, Tenant]
) -> AsyncIterator[asyncpg.Connection]:
    """A session of a login of the first organization."""
    async with sql_login(database, database_url) as url:
        connection = await asyncpg.connect(url)
        yield connection
        await connection.close()
