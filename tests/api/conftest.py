"""The application over a real database, asked in process (one test asks the real process over TCP)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.access.roles import Role, Scope
from tests.api import alarms
from tests.api.accounts import Served, api_key, bearer, serving
from tests.api.live import Floor
from tests.api.plant import Plant


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    """An empty database to put devices and frames into."""
    connection = await asyncpg.connect(database_url)
    yield Plant(connection)
    await connection.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Served]:
    """With the key of an admin of the organization that runs the installation."""
    sql = await asyncpg.connect(database_url)
    key = await api_key(sql)
    await sql.close()
    async with serving(database_url, base="http://api", api_rate=0, api_anonymous_rate=0) as it:
        it.headers.update(bearer(key))
        yield it


@pytest.fixture
async def floor(plant: Plant) -> Floor:
    device = await plant.device("br-1")
    return Floor(plant.sql, await alarms.rule(plant.sql, "temperature-high", priority="high"), device)


@pytest.fixture
async def listener(plant: Plant) -> dict[str, str]:
    return bearer(await api_key(plant.sql, role=Role.VIEWER, scopes=[Scope.ALARMS_READ]))
