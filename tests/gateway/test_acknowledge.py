"""Guarantee 1: a message is acknowledged after its commit, on the connection that delivered it, and not before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.items import ITEM_KINDS
from schema.topics import Kind, topic
from tests.conftest import Broker
from tests.faults.proxy import Link, Mode, Network
from tests.gateway.material import until
from tests.gateway.test_path import frame, now_ms, publish, register
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess

RECEIPTS: dict[str, Any] = {"receipt_interval_s": 0.05}


@asynccontextmanager
async def nothing_commits(url: str) -> AsyncIterator[None]:
    """Every transaction of the intake waits before its last statement, which counts the totals."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("lock table intake_totals in access exclusive mode")
            yield
    finally:
        await connection.close()


def one_of_each_kind(t: int) -> list[tuple[str, bytes]]:
    """A message of each kind, the newest frame first; the command's result goes to quarantine."""
    messages = {
        Kind.TELEMETRY: frame(2, t),
        Kind.STATUS: {"status": "online", "boot": 1, "t": t},
        Kind.EVENT: {"type": "phase", "boot": 1, "t": t, "data": {"phase": "batch"}},
        Kind.BACKFILL_RESULT: {"boot": 1, "ranges": [[5, 6]]},
        Kind.COMMAND_RESULT: {"status": "done", "t": t},  # of no command
        Kind.HISTORY: frame(1, t - 1000),
    }
    return [(topic("r1", kind), json.dumps(message).encode()) for kind, message in messages.items()]


def in_flight(gateway: GatewayProcess) -> int:
    return sum(gateway.account(kind)["in_flight"] for kind in ITEM_KINDS)


async def stored(database: asyncpg.Connection) -> dict[str, Any]:
    """What the database has of one message of each kind."""
    return dict(
        await database.fetchrow(
            """select (select array_agg(seq order by seq) from frames) as frames,
                      (select count(*) from statuses) as statuses,
                      (select count(*) from device_events) as events,
                      (select array_agg(topic) from quarantine) as quarantine,
                      (select array_agg(lost::text) from device_streams where not isempty(lost)) as lost"""
        )
    )


@pytest.mark.parametrize("group", [{}, {"cell": "plant-0", "shared_group": "plant"}], ids=["alone", "shared"])
async def test_a_gateway_that_dies_before_its_commit_has_acknowledged_nothing(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, database_url: str, group: dict[str, Any]
) -> None:
    await register(database, "r1")
    gateway.start(**RECEIPTS, **group)
    t = now_ms()
    await publish(broker, [(topic("r1", Kind.TELEMETRY), json.dumps(frame(0, t - 2000)).encode())])
    gateway.settle(1)  # its layout is known: the next ones come as far as the writer
    messages = one_of_each_kind(t)
    async with nothing_commits(database_url):
        await publish(broker, messages)
        await until(lambda: waits_at_a_lock(database))
        await until(lambda: in_flight(gateway) == len(messages))
        assert gateway.metrics()["biogate_unacknowledged_messages"] == len(messages)
        await asyncio.sleep(5 * RECEIPTS["receipt_interval_s"])  # for a receipt that shall not come
        received = await database.fetchval("select received::text from device_streams")
        gateway.kill()
    assert received == "{[0,1)}", "a receipt covers what is not committed"
    assert (await stored(database))["frames"] == [0]
    gateway.start(**RECEIPTS, **group)
    gateway.settle(2)
    gateway.settle(1, "status")
    gateway.settle(1, "event")
    gateway.settle(2, "result")
    assert await stored(database) == {
        "frames": [0, 1, 2],
        "statuses": 1,
        "events": 1,
        "quarantine": [topic("r1", Kind.COMMAND_RESULT)],
        "lost": ["{[5,7)}"],
    }


# -- connections


@pytest.fixture
def link(broker: Broker) -> Iterator[Link]:
    """The gateway's way to the broker."""
    with Network() as network:
        yield network.link(broker.port)


@pytest.fixture
def linked(database_url: str, link: Link, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that reaches the broker by the link, not started yet."""
    process = GatewayProcess(database_url, f"mqtt://127.0.0.1:{link.port}", tmp_path / "gateway.log")
    yield process
    process.end()


async def test_what_waits_while_the_connection_changes_is_acknowledged_on_the_one_that_delivered_it(
    linked: GatewayProcess, link: Link, broker: Broker, database: asyncpg.Connection, database_url: str
) -> None:
    """The decoder then takes messages of both connections in one turn."""
    await register(database, "r1")
    linked.start(batch_frames=1, linger_ms=0)
    t, count = now_ms(), 20
    messages = [(topic("r1", Kind.TELEMETRY), json.dumps(frame(seq, t + seq)).encode()) for seq in range(count + 2)]
    await publish(broker, messages[:1])
    linked.settle(1)
    async with nothing_commits(database_url):
        await publish(broker, messages[1 : count + 1])
        await until(lambda: linked.metrics()["biogate_unacknowledged_messages"] == count)
        waiting = linked.metrics()["biogate_waiting_bytes"]
        link.set(Mode.CUT)
        await until(lambda: linked.metrics()["biogate_mqtt_connected"] == 0)
        link.set(Mode.PASS)
        await until(lambda: linked.metrics()["biogate_waiting_bytes"] == 2 * waiting)
    account = linked.settle(1 + 2 * count)
    assert (account["committed"], account["duplicate"]) == (1 + count, count)
    await until(lambda: linked.metrics()["biogate_unacknowledged_messages"] == 0)
    linked.kill()
    await publish(broker, messages[count + 1 :])
    linked.start()
    assert linked.settle(1)["received"] == 1, "the broker delivers what it was not told of"
    assert await database.fetchval("select count(*) from frames") == count + 2
