"""Real faults in the middle of a stream: every frame is stored exactly once, and the account adds up."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import asyncpg
import pytest

from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.gateway.publisher import Publisher
from tests.processes import GatewayProcess, assert_adds_up, wait_until


@pytest.fixture
async def device(database: asyncpg.Connection) -> str:
    await database.execute("insert into devices (name) values ('r1')")
    return "r1"


@pytest.fixture
def publisher(gateway: GatewayProcess, broker: Broker, device: str) -> Iterator[Publisher]:
    """A controller in full swing. The gateway has been there before: what is published from now on is its duty."""
    gateway.start()
    publisher = Publisher(broker.port, device)
    yield publisher
    publisher.stop()


@pytest.fixture
def standby(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A second gateway of the same cell, not started yet."""
    process = GatewayProcess(database_url, broker.url, tmp_path / "standby.log")
    yield process
    process.kill()


async def assert_all_stored(database: asyncpg.Connection, published: int) -> None:
    """Every seq from 0 is there exactly once, with its value."""
    row = await database.fetchrow(
        """select count(*), count(distinct seq) as distinct, min(seq), max(seq),
                  count(*) filter (where values <> array[seq::float8]) as wrong from frames"""
    )
    assert tuple(row) == (published, published, 0, published - 1, 0)


async def end_connections(database: asyncpg.Connection) -> None:
    """Of the gateway to the database."""
    await database.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name like 'biogate%'"""
    )


async def totals(database: asyncpg.Connection) -> tuple[int, int, int]:
    row = await database.fetchrow(
        "select committed, duplicate, quarantined from intake_totals where cell = 'main' and kind = 'frame'"
    )
    return tuple(row)


async def test_sigterm_drains_and_nothing_is_delivered_twice_after_a_clean_restart(
    gateway: GatewayProcess, publisher: Publisher, database: asyncpg.Connection
) -> None:
    for count in (1000, 2000, 3000):
        publisher.wait_published(count)
        assert gateway.terminate() == 0
        gateway.start()
    published = publisher.stop()
    await wait_stored(database, published)
    assert gateway.terminate() == 0
    await assert_all_stored(database, published)
    assert await totals(database) == (published, 0, 0)


async def test_a_killed_gateway_loses_nothing_and_stores_nothing_twice(
    gateway: GatewayProcess, publisher: Publisher, database: asyncpg.Connection
) -> None:
    for count in (1000, 2000, 3000):
        publisher.wait_published(count)
        gateway.kill()
        gateway.start()
    published = publisher.stop()
    await wait_stored(database, published)
    assert gateway.terminate() == 0
    await assert_all_stored(database, published)
    committed, _, quarantined = await totals(database)
    assert (committed, quarantined) == (published, 0)


async def wait_stored(database: asyncpg.Connection, count: int) -> None:
    deadline = time.monotonic() + 30
    while (stored := await database.fetchval("select count(*) from frames")) < count:
        assert time.monotonic() < deadline, f"{stored} of {count} stored"
        await asyncio.sleep(0.1)


async def test_a_broker_that_restarts_is_found_again_and_nothing_is_lost(
    gateway: GatewayProcess, publisher: Publisher, broker: Broker, database: asyncpg.Connection
) -> None:
    for count in (1000, 2000):
        publisher.wait_published(count)
        broker.server.restart()
        gateway.wait_ready()
    published = publisher.stop()
    await wait_stored(database, published)
    assert_adds_up(gateway.account())
    assert gateway.terminate() == 0
    await assert_all_stored(database, published)
    assert (await totals(database))[0] == published


async def test_a_database_that_ends_all_connections_again_and_again_costs_nothing(
    gateway: GatewayProcess, publisher: Publisher, database: asyncpg.Connection
) -> None:
    for count in range(500, 4000, 250):
        publisher.wait_published(count)
        await end_connections(database)
    published = publisher.stop()
    account = gateway.settle(published)
    assert account["committed"] == published
    await assert_all_stored(database, published)
    assert await totals(database) == (published, 0, 0)


@pytest.mark.parametrize(
    "limit",
    [{"receive_maximum": 50, "linger_ms": 20}, {"window_bytes": 2**20, "batch_bytes": 2**16, "batch_frames": 50}],
)
async def test_a_full_window_stops_the_intake_keeps_memory_bounded_and_goes_on(
    gateway: GatewayProcess,
    broker: Broker,
    device: str,
    database: asyncpg.Connection,
    limit: dict[str, Any],
    database_url: str,
) -> None:
    """The database stands still: with the window full, the broker keeps what is published meanwhile."""
    gateway.forked = False  # for its memory
    gateway.start(**limit)
    publisher = Publisher(broker.port, device, pause_s=0.0002, padding=1000)
    publisher.wait_published(200)
    blocked = await asyncpg.connect(database_url)
    async with blocked.transaction():
        await blocked.execute("lock table frames in access exclusive mode")
        publisher.wait_published(8000)
        metrics = gateway.metrics()
        published = publisher.stop()
        before, resident = metrics["biogate_waiting_bytes"], memory_mb(gateway.child.pid)
        assert before <= 2 * 2**20 + 300_000
        assert gateway.account()["received"] < published
        assert metrics['biogate_intake_in_flight{kind="frame"}'] > 0
        assert resident < 120
    await blocked.close()
    account = gateway.settle(published)
    assert (account["committed"], account["duplicate"]) == (published, 0)
    await assert_all_stored(database, published)


def memory_mb(pid: int) -> float:
    """Resident memory."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def test_without_a_database_nothing_is_acknowledged_and_readiness_says_why(
    gateway: GatewayProcess, broker: Broker, device: str, database: asyncpg.Connection, database_url: str
) -> None:
    gateway.start(shutdown_timeout_s=3)
    publisher = Publisher(broker.port, device)
    wait_until(lambda: gateway.account()["committed"] > 0, 30)  # from here on messages come as far as the writer
    name = database_url.rpartition("/")[2]
    role = urlsplit(gateway.environment["BIOGATE_DATABASE_URL"]).username
    await database.execute(f"alter role {role} in database {name} set default_transaction_read_only = on")
    await end_connections(database)
    publisher.wait_published(publisher.published + 500)
    wait_until(lambda: "cannot write: 25006" in gateway.get("/ready")[1], 30, lambda: gateway.get("/ready")[1])
    assert gateway.get("/ready")[0] == 503
    assert gateway.get("/health")[0] == 200
    gateway.child.send_signal(signal.SIGTERM)
    assert gateway.child.wait(40) == 1
    published = publisher.stop()
    await database.execute(f"alter role {role} in database {name} reset default_transaction_read_only")
    gateway.start()
    await wait_stored(database, published)
    assert gateway.terminate() == 0
    await assert_all_stored(database, published)
    assert await totals(database) == (published, 0, 0)


async def test_a_foreign_client_with_our_id_ends_the_gateway_with_a_clear_word(
    gateway: GatewayProcess, database: asyncpg.Connection, broker: Broker
) -> None:
    gateway.start()
    client_id = await database.fetchval("select client_id from cells")
    async with MqttClient(broker.host, broker.port, identifier=client_id, protocol=aiomqtt.ProtocolVersion.V5):
        assert gateway.child.wait(10) == 3
    assert "took over the session" in gateway.log.read_text()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_standby_takes_over_within_ten_seconds_and_nothing_is_lost(
    gateway: GatewayProcess,
    publisher: Publisher,
    database: asyncpg.Connection,
    standby: GatewayProcess,
    end: signal.Signals,
) -> None:
    standby.start(ready=False)
    wait_until(lambda: "standby" in standby.get("/ready")[1], 30, lambda: standby.get("/ready")[1])
    assert standby.metrics()["biogate_leader"] == 0
    publisher.wait_published(1000)
    gateway.child.send_signal(end)
    gateway.child.wait(10)
    begun = time.monotonic()
    standby.wait_ready(10)
    took = time.monotonic() - begun
    published = publisher.stop()
    await wait_stored(database, published)
    assert took < 10
    assert standby.metrics()["biogate_leader"] == 1
    assert_adds_up(standby.account())
    assert standby.terminate() == 0
    await assert_all_stored(database, published)
    assert (await totals(database))[0] == published


async def test_a_leader_that_hangs_is_ended_by_the_standby_and_stands_by_when_it_goes_on(
    gateway: GatewayProcess, standby: GatewayProcess, publisher: Publisher, database: asyncpg.Connection
) -> None:
    standby.start(ready=False)
    wait_until(lambda: "standby" in standby.get("/ready")[1], 30)
    publisher.wait_published(1000)
    gateway.child.send_signal(signal.SIGSTOP)
    try:
        standby.wait_ready(30)
        assert standby.metrics()["biogate_leaders_frozen_total"] == 1
        publisher.wait_published(3000)
    finally:
        gateway.child.send_signal(signal.SIGCONT)
    wait_until(lambda: "standby" in gateway.get("/ready")[1], 20, gateway.log.read_text)
    published = publisher.stop()
    await wait_stored(database, published)
    assert standby.get("/ready")[0] == 200
    assert_adds_up(standby.account())
    assert (gateway.terminate(), standby.terminate()) == (0, 0)
    await assert_all_stored(database, published)
    assert (await totals(database))[0] == published


async def test_of_two_gateways_that_start_at_once_one_leads(
    gateway: GatewayProcess, standby: GatewayProcess, device: str
) -> None:
    gateway.start(ready=False)
    standby.start(ready=False)
    wait_until(lambda: {gateway.get("/ready")[0], standby.get("/ready")[0]} >= {200, 503}, 30)
    await asyncio.sleep(1)
    assert sorted((gateway.get("/ready")[0], standby.get("/ready")[0])) == [200, 503]


async def test_two_cells_write_to_one_database_and_a_device_may_move(
    gateway: GatewayProcess,
    publisher: Publisher,
    other_broker: Broker,
    database: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
) -> None:
    """The same frames over both brokers at once: each is stored once, by whichever gateway comes first."""
    other = GatewayProcess(database_url, other_broker.url, tmp_path / "other.log")
    other.start(cell="other")
    moved = Publisher(other_broker.port, "r1", first_ms=publisher.first_ms)
    try:
        publisher.wait_published(1500)
        moved.wait_published(1500)
        published = max(publisher.stop(), moved.stop())
        await wait_stored(database, published)
        gateway.settle(publisher.published)
        other.settle(moved.published)
        assert (gateway.terminate(), other.terminate()) == (0, 0)
    finally:
        moved.stop()
        other.kill()
    await assert_all_stored(database, published)
    rows = await database.fetch(
        "select cell, committed, duplicate, quarantined from intake_totals where kind = 'frame'"
    )
    totals = {row["cell"]: tuple(row)[1:] for row in rows}
    assert totals["main"][0] + totals["other"][0] == published
    assert sum(totals["main"]) + sum(totals["other"]) == publisher.published + moved.published
    assert totals["main"][2] == totals["other"][2] == 0
    received = await database.fetchval("select received::text from device_streams")
    assert received == f"{{[0,{published})}}"
