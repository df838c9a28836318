"""The load against a real broker, gateway and database."""

from __future__ import annotations

import asyncpg
import pytest

from tests.bench.packets import Shape
from tests.bench.plant import Load, LoadProcess, device_names, register
from tests.conftest import Broker
from tests.processes import GatewayProcess


@pytest.mark.parametrize("shape", [Shape(), Shape("json", 1), Shape("msgpack", 3, 10)], ids=["frame", "json", "block"])
@pytest.mark.parametrize("rate", [0, 4000], ids=["full speed", "on time"])
async def test_all_that_is_published_is_stored_once(
    gateway: GatewayProcess,
    broker: Broker,
    database: asyncpg.Connection,
    database_url: str,
    shape: Shape,
    rate: float,
) -> None:
    load = Load(shape, devices=8, frames=4000, rate=rate, warm_up=3)
    await register(database_url, device_names(load.devices))
    gateway.start()
    with LoadProcess(broker.port, load, logins=False) as process:
        process.wait_ready()
        gateway.settle(load.before)
        process.go()
        said = process.result()
        account = gateway.settle(load.before + load.counted)
    assert said["published"] == load.messages + load.warm_up * load.devices
    assert account["committed"] == load.before + load.counted
    rows = await database.fetch(
        "select count(*), min(seq), max(seq), min(cardinality(values)) from frames group by device_id"
    )
    each = (load.before + load.counted) // load.devices
    assert [tuple(row) for row in rows] == [(each, 0, each - 1, shape.channels)] * load.devices
    if rate:
        assert said["publish_s"] == pytest.approx(load.counted / rate, rel=0.5)
