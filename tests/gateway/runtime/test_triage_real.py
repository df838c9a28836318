"""Errors of a real server that are not the batch's fault: what is waited out, and what a person is called for."""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pytest

from gateway import metrics
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.runtime.database import Pool, create_pool
from gateway.runtime.triage import TriageVerdict, sqlstate, triage
from schema.topics import Kind
from tests.conftest import Broker
from tests.databases import with_database
from tests.gateway.material import admitted, counts, make_writer, settings, until
from tests.gateway.runtime.outlived import items, outlives, own, role, told
from tests.gateway.test_path import publish
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess, wait_until

__all__ = ["items", "own", "role"]

# -- a person has to do something


async def test_a_changed_password(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    await own.fetchval("select 1")

    async def begin() -> None:
        await database.execute(f"alter role {role} password 'other'")
        await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)

    log = await outlives(
        own, registry, items, "28P01", begin, lambda: database.execute(f"alter role {role} password 'right'"), 3
    )
    assert told(log) == [
        "cannot write: the database refuses the login: check user and password in BIOGATE_DATABASE_URL"
    ]


async def test_a_login_that_is_locked(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    log = await outlives(
        own,
        registry,
        items,
        "28000",
        lambda: database.execute(f"alter role {role} nologin"),
        lambda: database.execute(f"alter role {role} login"),
    )
    assert len(told(log)) == 1


async def test_a_database_that_is_not_there(
    registry: Registry, items: list[Item], postgres_url: str, template: str
) -> None:
    name = f"later_{os.urandom(4).hex()}"
    admin = await asyncpg.connect(postgres_url)
    chosen = settings(with_database(postgres_url, name))

    async def nothing() -> None:
        pass

    async def create() -> None:
        """Let the writer find it with its device: it tries again at any moment."""
        await admin.execute(f"create database {name}_new template {template}")
        connection = await asyncpg.connect(with_database(postgres_url, f"{name}_new"))
        await connection.execute("insert into devices (name) values ('r1')")
        await connection.close()
        await admin.execute(f"alter database {name}_new rename to {name}")

    async with create_pool(chosen) as pool:
        log = await outlives(pool, registry, items, "3D000", nothing, create)
    assert "there is no such database" in told(log)[0]
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.mark.parametrize(
    ("state", "begin", "end", "word"),
    [
        ("42P01", "alter table statuses rename to gone", "alter table gone rename to statuses", "biogate migrate"),
        ("42P01", "alter table frames rename to gone", "alter table gone rename to frames", "biogate migrate"),
        (
            "42703",
            "alter table statuses rename oldest_seq to o",
            "alter table statuses rename o to oldest_seq",
            "biogate migrate",
        ),
        ("42501", "revoke insert on frames from {role}", "grant insert on frames to {role}", "a right is missing"),
        ("42501", "revoke all on quarantine from {role}", "grant all on quarantine to {role}", "a right is missing"),
    ],
)
async def test_a_missing_table_column_or_right(
    own: Pool,
    role: str,
    registry: Registry,
    items: list[Item],
    database: asyncpg.Connection,
    state: str,
    begin: str,
    end: str,
    word: str,
) -> None:
    """Longer than it would take to split, were it the batch's fault."""
    if "quarantine" in begin:
        poison = await admitted(registry, Kind.EVENT, {"t": 1, "type": "x"})
        items = items + poison
    log = await outlives(
        own,
        registry,
        items,
        state,
        lambda: database.execute(begin.format(role=role)),
        lambda: database.execute(end.format(role=role)),
        6 if "statuses rename to" in begin or "quarantine" in begin else 1,
    )
    assert len(told(log)) == 1, log
    assert word in told(log)[0]


async def test_readiness_and_the_log_say_what_has_to_be_done(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    await database.execute("alter table statuses rename to gone")
    await publish(broker, [("bioreactors/r1/status", b'{"status": "online", "t": 1}')])
    wait_until(lambda: "biogate migrate" in gateway.get("/ready")[1], 30, gateway.log.read_text)
    assert gateway.get("/ready")[0] == 503
    await database.execute("alter table gone rename to statuses")
    gateway.settle(1, "status")
    wait_until(lambda: gateway.get("/ready")[0] == 200, 30)
    assert gateway.log.read_text().count('"level": "error"') == 1


async def test_a_schema_that_is_behind_is_waited_for(gateway: GatewayProcess, database: asyncpg.Connection) -> None:
    await database.execute("create table kept as select * from _pogo_migration; delete from _pogo_migration")
    gateway.start(ready=False)
    wait_until(lambda: "biogate migrate" in gateway.get("/ready")[1], 30, gateway.log.read_text)
    await database.execute("insert into _pogo_migration overriding system value select * from kept")
    gateway.wait_ready()


# -- it passes by itself


async def test_too_many_connections(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    log = await outlives(
        own,
        registry,
        items,
        "53300",
        lambda: database.execute(f"alter role {role} connection limit 0"),
        lambda: database.execute(f"alter role {role} connection limit -1"),
    )
    assert told(log) == []


async def test_a_database_that_is_read_only(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    async def read_only(value: str) -> None:
        await database.execute(f"alter role {role} set default_transaction_read_only = {value}")
        await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)

    log = await outlives(own, registry, items, "25006", lambda: read_only("on"), lambda: read_only("off"), 6)
    assert told(log) == []


async def test_a_deadlock(pool: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection) -> None:
    """We hold statuses and wait for the totals; somebody holds the totals and waits for statuses."""
    await database.execute("set deadlock_timeout = '10s'")  # it is the other one that is to give in
    transaction = database.transaction()
    await transaction.start()
    await database.execute("select from intake_totals for update")
    before = metrics.WRITE_FAILURES.labels("40P01")._value.get()
    writing = asyncio.create_task(make_writer(pool, registry).write(items))
    await until(lambda: waits_at_a_lock(pool))
    await database.execute("lock table statuses in access exclusive mode")
    await transaction.commit()
    assert counts(await asyncio.wait_for(writing, 20)) == (20, 0, 0, 0)
    assert metrics.WRITE_FAILURES.labels("40P01")._value.get() == before + 1


@pytest.mark.parametrize(
    ("settings_", "state"),
    [("lock_timeout = '50ms'", "55P03"), ("statement_timeout = '50ms'", "57014")],
)
async def test_a_lock_that_somebody_holds(
    own: Pool,
    role: str,
    registry: Registry,
    items: list[Item],
    database: asyncpg.Connection,
    settings_: str,
    state: str,
) -> None:
    await database.execute(f"alter role {role} set {settings_}")
    transaction = database.transaction()

    async def begin() -> None:
        await transaction.start()
        await database.execute("lock table statuses in access exclusive mode")

    assert told(await outlives(own, registry, items, state, begin, transaction.commit, 6)) == []


async def test_a_serialization_failure_is_tried_again(database: asyncpg.Connection, pool: Pool) -> None:
    transaction = database.transaction(isolation="serializable")
    await transaction.start()
    await database.fetchval("select committed from intake_totals where kind = 'frame'")
    await pool.execute("update intake_totals set committed = 1 where kind = 'frame'")
    with pytest.raises(asyncpg.SerializationError) as caught:
        await database.execute("update intake_totals set committed = 2 where kind = 'frame'")
    await transaction.rollback()
    assert (sqlstate(caught.value), triage(caught.value)) == ("40001", TriageVerdict.TRANSIENT)
