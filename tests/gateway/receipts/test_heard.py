"""When a device was heard last, and what presence makes of it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace

import asyncpg
import msgpack
import pytest

from gateway.intake.registry import Registry
from gateway.items import moment
from gateway.receipts import heard
from gateway.receipts.heard import EVERY_S, Heard
from gateway.runtime.database import Pool
from schema.topics import Kind
from tests.conftest import Broker
from tests.gateway.material import NOW_MS, admitted, frames, until
from tests.gateway.receipts.test_receipts import QUICK
from tests.gateway.test_path import frame, now_ms, publish, register
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess
from tests.roles import forced

NOTED = "select heard_at from device_heard join devices using (device_id) where name = 'r1'"
FRAME = {"t": NOW_MS, "v": {"ph": 7.0}}


async def test_a_device_is_noted_again_only_after_a_while_and_then_with_the_newest_receipt(
    pool: Pool, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    noted = Heard(pool)
    for clock, expected in ((0.0, 0), (1.0, 0), (19.0, 0), (20.0, 20), (21.0, 20), (40.5, 40.5)):
        (one,) = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}))
        one.received_ms = NOW_MS + clock * 1000
        noted.note([one])
        await noted.write()
        assert await pool.fetchval(NOTED) == moment(NOW_MS + expected * 1000)
    await noted.write()


async def test_a_gateway_that_is_behind_takes_nothing_back(pool: Pool, registry: Registry) -> None:
    """Two of a shared subscription: the one that writes later may have heard the device before."""
    for seconds in (5, 3):
        (one,) = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}))
        one.received_ms = NOW_MS + seconds * 1000
        noted = Heard(pool)
        noted.note([one])
        await noted.write()
        assert await pool.fetchval(NOTED) == moment(NOW_MS + 5000)


@pytest.mark.parametrize(
    ("kind", "message", "is_heard"),
    [
        (Kind.TELEMETRY, FRAME, True),
        (Kind.HISTORY, FRAME, True),
        (Kind.HISTORY, {"boot": 1, "seq": 1, "t": 0, "v": {"ph": 7.0}}, True),
        (Kind.EVENT, {"t": NOW_MS, "type": "dosing"}, True),
        (Kind.BACKFILL_RESULT, {"boot": 1, "ranges": [[1, 2]]}, True),
        (Kind.STATUS, {"t": NOW_MS, "status": "offline"}, False),
        (Kind.STATUS, {"t": NOW_MS, "status": "online"}, False),
    ],
)
async def test_all_that_a_device_sends_is_heard_but_a_status_which_may_be_its_will(
    pool: Pool, registry: Registry, kind: Kind, message: dict[str, object], is_heard: bool
) -> None:
    noted = Heard(pool)
    noted.note(await admitted(registry, kind, message))
    await noted.write()
    assert await pool.fetchval(NOTED) == (moment(NOW_MS) if is_heard else None)


async def test_a_device_that_sends_is_online_whatever_its_last_status_said(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    """Its board was swapped: boot begins at 1 again. Then its clock is set back by an hour, too."""
    await register(database, "r1")
    gateway.start(**QUICK)
    t = now_ms()
    for boot, status in ((7, "online"), (7, "offline"), (1, "online")):
        await publish(broker, [("bioreactors/r1/status", msgpack.packb({"status": status, "boot": boot, "t": t}))])
    gateway.settle(3, "status")
    presence = "select online, why from presence where device = 'r1'"
    assert tuple(await database.fetchrow(presence)) == (False, "newest")
    await forced(database, "update statuses set received_at = received_at - $1::interval", timedelta(seconds=11))
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(0, t - 3_600_000)))])

    async def is_heard() -> bool:
        return tuple(await database.fetchrow(presence)) == (True, "heard")

    await until(is_heard)


async def test_who_is_heard_again_while_it_is_noted_is_noted_again(
    pool: Pool, registry: Registry, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(heard, "time", SimpleNamespace(monotonic=lambda: clock))
    noted = Heard(pool)

    async def note(seconds: float) -> None:
        (one,) = await frames(registry, "r1", (NOW_MS, {"ph": 7.0}))
        one.received_ms = NOW_MS + seconds * 1000
        noted.note([one])

    await note(0)
    async with database.transaction():
        await database.execute("lock table device_heard in exclusive mode")
        writing = asyncio.create_task(noted.write())
        await until(lambda: waits_at_a_lock(database))
        await note(7)
    await writing
    assert await pool.fetchval(NOTED) == moment(NOW_MS)
    clock = EVERY_S
    await noted.write()
    assert await pool.fetchval(NOTED) == moment(NOW_MS + 7000)
