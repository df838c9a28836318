"""The application over a real database, asked in process (one test asks the real process over TCP)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest

from api.app import create_app
from api.settings import Settings
from tests.api.accounts import api_key, bearer
from tests.api.plant import Plant


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    """An empty database to put devices and frames into."""
    connection = await asyncpg.connect(database_url)
    yield Plant(connection)
    await connection.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """With the key of an admin of the organization that runs the installation."""
    sql = await asyncpg.connect(database_url)
    key = await api_key(sql)
    await sql.close()
    app = create_app(Settings(database_url=database_url, api_rate=0, api_anonymous_rate=0))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api", headers=bearer(key)) as it,
    ):
        yield it
