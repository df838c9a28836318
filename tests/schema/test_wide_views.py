"""Wide views: one row a frame, one column a channel, for SQL logins alone and of their organization alone."""

from __future__ import annotations

import json

import asyncpg
import pytest

from schema.migrate import migrate
from tests.api.plant import Plant, at
from tests.roles import forced
from tests.schema.logins import login, tenants

__all__ = ["login", "tenants"]

OTHER = "null where a sample has another unit: see org.telemetry"
UNIT = "select channel_describe(1, null, $1, $2, $3, null, 'eva', 'why')"


@pytest.fixture
async def plant(database: asyncpg.Connection, login: asyncpg.Connection) -> Plant:
    """Two models in the first organization, and a device of another one of the same model."""
    found = Plant(database)
    for name, model, channels in (
        ("br-1", "rev C", ("temperature", "pressure")),
        ("br-2", "rev C", ("pressure", "time", "x" * 64)),
        ("br-3", None, ("ph",)),
    ):
        device = await found.device(name)
        await database.execute("update devices set model = $2 where device_id = $1", device, model)
        layout = await found.layout(device, *channels)
        await found.frames(device, layout, [(at(0), [float(n) for n in range(1, len(channels) + 1)], None)])
        await found.frames(device, layout, [(at(1), [5.0] * len(channels), [1] * len(channels))])
    other = await database.fetchval("select device_id from devices where organization_id = 2")
    await database.execute("update devices set model = 'rev C' where device_id = $1", other)
    return found


async def comments(database: asyncpg.Connection, view: str) -> dict[str, str | None]:
    rows = await database.fetch(
        "select attname, col_description(attrelid, attnum) as said from pg_attribute"
        " where attrelid = $1::regclass and attnum > 3 order by attnum",
        view,
    )
    return {row["attname"]: row["said"] for row in rows}


async def test_a_model_is_a_view_with_a_column_a_channel_and_its_unit(
    database: asyncpg.Connection, plant: Plant, login: asyncpg.Connection
) -> None:
    await migrate(database)
    rows = await login.fetch("select * from org.rev_c_wide order by time, device")
    long_name = await database.fetchval("select 'channel_' || channel_id from channels where name = $1", "x" * 64)
    time_name = await database.fetchval("select 'channel_' || channel_id from channels where name = 'time'")
    assert [dict(row) for row in rows if row["device"].startswith("br-")] == [
        {
            "time": at(0),
            "device_id": 4,
            "device": "br-1",
            "temperature": 1.0,
            "pressure": 2.0,
            time_name: None,
            long_name: None,
        },
        {
            "time": at(0),
            "device_id": 5,
            "device": "br-2",
            "temperature": None,
            "pressure": 1.0,
            time_name: 2.0,
            long_name: 3.0,
        },
        {"time": at(1), "device_id": 4, "device": "br-1"}
        | dict.fromkeys(("temperature", "pressure", time_name, long_name)),
        {"time": at(1), "device_id": 5, "device": "br-2"}
        | dict.fromkeys(("temperature", "pressure", time_name, long_name)),
    ], "what is not good is null"
    assert {row["device"] for row in rows} == {"br-1", "br-2"}, "the device of the other organization is not there"
    assert {row["device"] for row in await login.fetch("select device from org.device_wide")} >= {"br-3"}
    said = await comments(database, "org.rev_c_wide")
    units = {"temperature": "°C", "pressure": "bar", time_name: "unit not known", long_name: "unit not known"}
    assert said == {name: f"{unit}; {OTHER}" for name, unit in units.items()}


async def test_it_is_kept_current_and_is_not_touched_if_it_is(database: asyncpg.Connection, plant: Plant) -> None:
    await migrate(database)
    before = await comments(database, "org.rev_c_wide")
    assert await database.fetchval("select wide_views_make()") == 0
    device = await database.fetchval("select device_id from devices where name = 'br-1'")
    await plant.layout(device, "agitation", "temperature")
    await plant.layout(device, "channel_49", "temperature")
    assert await database.fetchval("select wide_views_make()") == 1
    named = await database.fetchval("select 'channel_' || channel_id from channels where name = 'channel_49'")
    found = list(await comments(database, "org.rev_c_wide"))
    assert found == [*before, "agitation", named], "the others stay in their place"


async def test_a_column_is_in_one_unit_also_after_a_change(
    database: asyncpg.Connection, plant: Plant, login: asyncpg.Connection
) -> None:
    await migrate(database)
    await forced(database, "update frames set quality = null")
    shown = "select pressure from org.rev_c_wide where device = 'br-1' order by time"
    assert [row["pressure"] for row in await login.fetch(shown)] == [2.0, 5.0]
    await database.execute(UNIT, "pressure", json.dumps({"unit": "mbar"}), at(1))
    assert [row["pressure"] for row in await login.fetch(shown)] == [2.0, None], "the comment says bar still"
    await migrate(database)
    assert [row["pressure"] for row in await login.fetch(shown)] == [None, 5.0]
    assert (await comments(database, "org.rev_c_wide"))["pressure"] == f"mbar; {OTHER}"
