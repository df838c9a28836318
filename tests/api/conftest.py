"""The application over a real database, asked in process (one test asks the real process over TCP)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from api.access.roles import Role, Scope
from tests.api import alarms
from tests.api.accounts import Served, api_key, bearer, serving
from tests.api.live import Floor
from tests.api.plant import Plant
from tests.conftest import make_read_only


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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_key(request: pytest.FixtureRequest, module_database_url: str) -> str:
    """Of who may read what the module's `fill` puts into its database. From then on nobody can write."""
    sql = await asyncpg.connect(module_database_url)
    await request.module.fill(Plant(sql))
    made = await api_key(sql)
    await make_read_only(sql)
    await sql.close()
    return made


@pytest.fixture
async def reader(module_database_url: str, module_key: str) -> AsyncIterator[Served]:
    """With that key."""
    async with serving(module_database_url, base="http://api", api_rate=0, api_anonymous_rate=0) as it:
        it.headers.update(bearer(module_key))
        yield it


@pytest.fixture
async def floor(plant: Plant) -> Floor:
    device = await plant.device("br-1")
    return Floor(plant.sql, await alarms.rule(plant.sql, "temperature-high", priority="high"), device)


@pytest.fixture
async def listener(plant: Plant) -> dict[str, str]:
    return bearer(await api_key(plant.sql, role=Role.VIEWER, scopes=[Scope.ALARMS_READ]))
