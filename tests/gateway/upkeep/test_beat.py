"""The intake tells up to when it has stored all that reached it, and since when without a gap."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

import asyncpg
from structlog.testing import capture_logs

from gateway.broker.client import MqttClient
from gateway.intake.cell import prepare
from gateway.items import moment
from gateway.runtime.database import create_pool
from gateway.settings import Settings
from gateway.upkeep.beat import IntakeBeat
from tests.conftest import Broker
from tests.gateway.cell import eventually
from tests.gateway.material import NOW_MS, settings, until
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess


class Beat(NamedTuple):
    settled_until: float
    well_since: float


async def beat(database: asyncpg.Connection) -> Beat | None:
    query = """select extract(epoch from settled_until)::float8, extract(epoch from well_since)::float8
                 from intake_beats"""
    row = await database.fetchrow(query)
    return None if row is None else Beat(*row)


async def beats_after(database: asyncpg.Connection, moment: float) -> Beat:
    async def so() -> bool:
        found = await beat(database)
        return found is not None and found.settled_until > moment

    await eventually(so, 20, lambda: beat(database))
    found = await beat(database)
    assert found is not None
    return found


async def test_a_beat_goes_on_while_frames_come_and_while_none_do(
    database: asyncpg.Connection, broker: Broker, gateway: GatewayProcess
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    first = await beats_after(database, 0)
    await publish(broker)
    second = await beats_after(database, first.settled_until)
    assert second.well_since == first.well_since <= first.settled_until


async def test_nothing_is_told_while_frames_cannot_be_stored(
    database: asyncpg.Connection, broker: Broker, gateway: GatewayProcess, database_url: str
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    await publish(broker)
    before = await beats_after(database, time.time())
    locker = await asyncpg.connect(database_url)
    async with locker.transaction():
        await locker.execute("lock table frames in access exclusive mode")
        published = time.time()
        await publish(broker)
        await eventually(lambda: waits_at_a_lock(database), 20)
        await until(
            lambda: time.time() > published + 1.5 + Settings.timing.beat_s
        )  # all that came is decoded, none is stored
        last = await beat(database)
        assert last is not None
        assert before.settled_until <= last.settled_until <= published + 1
    await locker.close()
    after = await beats_after(database, published)
    assert after.well_since in (before.well_since, after.settled_until)


async def test_after_a_gap_it_is_well_since_its_end(
    database: asyncpg.Connection, broker: Broker, gateway: GatewayProcess
) -> None:
    """As if it had beaten last a minute ago."""
    gateway.start()
    await beats_after(database, 0)
    gateway.terminate()
    await database.execute("update intake_beats set settled_until = clock_timestamp() - interval '1 minute'")
    begun = time.time()
    gateway.start()
    assert (await beats_after(database, begun)).well_since >= begun


async def publish(broker: Broker) -> None:
    async with MqttClient(broker.host, broker.port) as client:
        frame = {"t": int(time.time() * 1000), "v": {"x": 1.0}}
        await client.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)


async def test_what_could_not_be_told_is_told_once_it_can(database: asyncpg.Connection, database_url: str) -> None:
    """Also while nothing more is committed: messages wait that cannot be."""
    chosen = settings(database_url)
    async with create_pool(chosen) as pool:
        await prepare(pool, chosen)
        beats = IntakeBeat(chosen, pool, lambda: False)
        await database.execute("alter table intake_beats rename to away")
        beats.committed(NOW_MS)
        with capture_logs() as log:
            running = asyncio.create_task(beats.run())
            await until(lambda: bool(log))
            await database.execute("alter table away rename to intake_beats")
            await until(lambda: database.fetchval("select settled_until = $1 from intake_beats", moment(NOW_MS)))
            running.cancel()
            await asyncio.wait([running])
