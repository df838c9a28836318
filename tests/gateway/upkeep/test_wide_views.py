"""Wide views have new models and channels without a migration, and nobody's lock is waited for."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gateway.runtime.database import create_pool
from gateway.upkeep.wide_views import FOLLOW, WideViews
from tests.api.plant import Plant, at
from tests.gateway.material import settings
from tests.processes import GatewayProcess

COLUMNS = "select attname from pg_attribute where attrelid = to_regclass($1) and attnum > 3 order by attnum"


async def columns(database: asyncpg.Connection, view: str = "org.device_wide") -> list[str]:
    return [name for (name,) in await database.fetch(COLUMNS, view)]


async def test_a_new_channel_and_a_new_model_come_by_the_login_of_a_gateway(
    database: asyncpg.Connection, gateway_url: str
) -> None:
    plant = Plant(database)
    device = await plant.device("br-1")
    await plant.layout(device, "ph")
    async with create_pool(settings(gateway_url)) as pool:
        views = WideViews(settings(gateway_url), pool, asyncio.Event())
        await views.look()
        assert await columns(database) == ["ph"]
        await plant.layout(device, "ph", "foam")
        await views.look()
        assert await columns(database) == ["ph", "foam"]
        await database.execute("update devices set model = 'rev C'")
        await views.look()
        assert set(await columns(database, "org.rev_c_wide")) == {"ph", "foam"}
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.fetchval("select wide_views_make()")


async def test_nothing_is_looked_through_while_nothing_has_changed(database: asyncpg.Connection) -> None:
    await Plant(database).layout(await Plant(database).device("br-1"), "ph")
    state, changed = await database.fetchrow(FOLLOW, None)
    assert changed == 1
    await database.execute("drop view org.device_wide")  # which a look would make again
    assert tuple(await database.fetchrow(FOLLOW, state)) == (state, 0)
    assert tuple(await database.fetchrow(FOLLOW, "another")) == (state, 1)


async def test_whoever_reads_a_view_delays_its_columns_and_not_the_intake(
    database: asyncpg.Connection, database_url: str
) -> None:
    plant = Plant(database)
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph")
    await plant.frames(device, layout, [(at(0), [7.0], None)])
    state, _ = await database.fetchrow(FOLLOW, None)
    reader = await asyncpg.connect(database_url)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("select * from org.device_wide")
    await plant.layout(device, "ph", "foam")
    making = asyncio.create_task(_follow(database_url, state))
    await plant.frames(device, layout, [(at(1), [7.1], None)])
    with pytest.raises(asyncpg.LockNotAvailableError):
        await asyncio.wait_for(making, 30)
    assert await columns(database) == ["ph"]
    await transaction.rollback()
    await reader.close()
    await _follow(database_url, state)
    assert await columns(database) == ["ph", "foam"]


async def _follow(database_url: str, state: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetchrow(FOLLOW, state)
    finally:
        await connection.close()


async def test_the_leading_gateway_does_it(gateway: GatewayProcess, database: asyncpg.Connection) -> None:
    await Plant(database).layout(await Plant(database).device("br-1"), "ph")
    gateway.start()
    async with asyncio.timeout(30):
        while await columns(database) != ["ph"]:
            await asyncio.sleep(0.05)
    assert gateway.terminate() == 0
