"""A pool and a registry on the test's own database, and the makers of what flows through the stages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.runtime.database import Pool, create_pool
from gateway.storage.write import Writer
from tests.conftest import Broker
from tests.gateway.cell import Cell, cell_of
from tests.gateway.material import DEVICES, make_writer, settings


@pytest.fixture
async def pool(gateway_url: str) -> AsyncIterator[Pool]:
    """The gateway's own pool, with the cell and some devices in the database."""
    chosen = settings(gateway_url)
    async with create_pool(chosen) as pool:
        await prepare(pool, chosen)
        await pool.execute("insert into devices (name) select unnest($1::text[])", DEVICES)
        yield pool


@pytest.fixture
async def registry(pool: Pool) -> Registry:
    registry = Registry(pool, max_channels=256, max_layouts=64)
    await registry.load()
    return registry


@pytest.fixture
def writer(pool: Pool, registry: Registry) -> Writer:
    return make_writer(pool, registry)


@pytest.fixture
async def cell(secure_broker: Broker, database_url: str) -> AsyncIterator[Cell]:
    """Broker, database and secrets, and nobody who administers yet."""
    async with cell_of(secure_broker, database_url) as cell:
        yield cell
