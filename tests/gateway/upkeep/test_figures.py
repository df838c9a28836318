"""Each figure of the database is what its help says: nothing beside it is counted, and none has another's value."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.broker import sys_topics
from gateway.runtime.database import Pool
from gateway.upkeep import figures
from tests.gateway.material import settings, until
from tests.roles import settle

AT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BACKUP = "insert into backups (label, taken_at, bytes, verified_at, ok) values ($1, $2, 1, $3, $4)"
Backup = tuple[datetime, datetime | None, bool | None]
"""When it was taken, when it was verified, and whether it was whole."""

PLANT = """
insert into cells (cell, client_id) values ('main', 'biogate-main');
insert into devices (name) values ('r1'), ('r2');
insert into quarantine (cell, received_at, device, topic, reason, detail, payload, sha256)
    select 'main', now(), 'r' || n % 2 + 1, 'x', 'malformed', '', repeat('a', n)::bytea, sha256(n::text::bytea)
      from generate_series(1, 7) n;
insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript)
    select lpad(n::text, 32, '0'), 'main', 'new-' || n, decode(repeat('00', 32), 'hex'), 1,
           (array['awaiting', 'awaiting', 'awaiting', 'rejected', 'challenged'])[n], '', '', ''
      from generate_series(1, 5) n;
insert into retention_holds (organization_id, who, why, ended_at)
    select 1, 'eva', 'tests', case when n > 4 then now() end from generate_series(1, 6) n"""


@pytest.fixture(autouse=True)
def forgotten() -> None:
    figures.forget()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_figures_of_the_plant_count_what_is_open(database: asyncpg.Connection) -> None:
    await database.execute(PLANT)
    await settle(database, "replayed", "sha256 = sha256('7')")
    for what in ("plant", "backups"):
        await figures.read(database, what)
    open_bytes = [512 + len("x") + n for n in range(1, 7)]
    assert value("biogate_quarantine_open_messages") == 6
    assert value("biogate_quarantine_open_bytes") == sum(open_bytes)
    assert value("biogate_quarantine_largest_device_bytes") == sum(open_bytes[1::2])
    assert value("biogate_enrollments_pending") == 3
    assert value("biogate_retention_holds") == 4


@pytest.mark.parametrize(
    ("backups", "taken", "verified", "faulty"),
    [
        ([], None, None, None),
        ([(AT, None, None), (AT + DAY, None, None)], AT + DAY, None, None),
        ([(AT + 3 * DAY, None, None), (AT, AT + DAY, True)], AT + 3 * DAY, AT + DAY, 0),
        ([(AT, AT + DAY, True), (AT + DAY, AT + 2 * DAY, False)], AT + DAY, AT + DAY, 1),
        ([(AT, AT + 2 * DAY, True), (AT + DAY, AT + DAY, False)], AT + DAY, AT + 2 * DAY, 0),
    ],
)
async def test_a_backup_counts_as_verified_if_it_was_whole(
    database: asyncpg.Connection,
    backups: list[Backup],
    taken: datetime | None,
    verified: datetime | None,
    faulty: int | None,
) -> None:
    for n, backup in enumerate(backups):
        await database.execute(BACKUP, f"backup-{n}", *backup)
    await figures.read(database, "backups")
    assert value("biogate_backup_timestamp_seconds") == (taken and taken.timestamp())
    assert value("biogate_backup_verified_timestamp_seconds") == (verified and verified.timestamp())
    assert value("biogate_backup_faulty") == faulty


async def test_figures_of_the_server_are_those_that_it_tells_itself(
    database: asyncpg.Connection, database_url: str, pool: Pool
) -> None:
    """The server is that of all tests: what others do there may only add to it."""
    holder, waiter = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("select pg_advisory_xact_lock(17)")
            waiting = asyncio.create_task(waiter.execute("select pg_advisory_xact_lock(17)"))
            blocked = (
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            await until(lambda: database.fetchval(blocked))
            begun = await database.fetchval(
                "select xact_start from pg_stat_activity where pid = $1", holder.get_server_pid()
            )
            before = await database.fetchrow("select pg_current_wal_lsn() - '0/0'::pg_lsn as wal, now() as now")
            for what in ("server", "wal"):
                await figures.read(database, what)
            after = await database.fetchrow("select pg_current_wal_lsn() - '0/0'::pg_lsn as wal, now() as now")
        await waiting
    finally:
        await holder.close()
        await waiter.close()
    age, size = await database.fetchrow(
        "select age(datfrozenxid), pg_database_size(datname) from pg_database where datname = current_database()"
    )
    connections = int(await database.fetchval("show max_connections"))
    assert value("biogate_database_max_connections") == connections
    assert 3 <= (value("biogate_database_backends") or 0) <= connections
    assert 1 <= (value("biogate_database_waiting_backends") or 0) <= (value("biogate_database_backends") or 0) - 2
    oldest = value("biogate_database_oldest_transaction_seconds") or 0
    assert (before["now"] - begun).total_seconds() <= oldest <= (after["now"] - begun).total_seconds()
    assert 0 <= age - (value("biogate_database_xid_age") or 0) < 100_000
    assert abs(size - (value("biogate_database_bytes") or 0)) < 2**24
    assert before["wal"] <= (value("biogate_database_wal_bytes_total") or 0) <= after["wal"]
    assert 0 <= (value("biogate_database_notification_queue_ratio") or 0) < 0.5
    assert value("biogate_database_deadlocks_total") == 0


def test_limits_are_told_by_the_settings(pool: Pool) -> None:
    chosen = settings(quarantine_bytes=2**21, quarantine_total_bytes=2**25, database_bytes=2**33)
    figures.Figures(chosen, pool, asyncio.Event())
    assert value("biogate_quarantine_device_limit_bytes") == 2**21
    assert value("biogate_quarantine_limit_bytes") == 2**25
    assert value("biogate_database_limit_bytes") == 2**33
    metrics.DATABASE_LIMIT.forget()


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("publish/messages/dropped", "biogate_broker_dropped_messages_total"),
        ("clients/connected", "biogate_broker_clients_connected"),
        ("clients/disconnected", "biogate_broker_clients_disconnected"),
        ("store/messages/count", "biogate_broker_stored_messages"),
        ("store/messages/bytes", "biogate_broker_stored_bytes"),
        ("heap/current", "biogate_broker_heap_bytes"),
        ("messages/received", "biogate_broker_received_messages_total"),
        ("messages/sent", "biogate_broker_sent_messages_total"),
        ("uptime", "biogate_broker_uptime_seconds"),
    ],
)
def test_each_figure_of_the_broker_has_its_name(topic: str, name: str) -> None:
    sys_topics.forget()
    try:
        sys_topics.on_change(f"$SYS/broker/{topic}", b"17")
        told = [figure for figure in sys_topics.FIGURES.values() if any(one.samples for one in figure.collect())]
        assert (value(name), len(told)) == (17, 1)
    finally:
        sys_topics.forget()
