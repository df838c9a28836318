"""Migrating: from nothing, again, by two at once, and after one was killed in the middle."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT, Process

import asyncpg
import pytest

from schema.migrate import EDITIONS, LOCK, MIGRATIONS, BadSetting, migrate, pending
from schema.reasons import Reason
from tests.schema.records import catalog


async def start(url: str, **settings: str) -> Process:
    """`python -m schema.migrate`, as it is run in operation."""
    environment = {**os.environ, "BIOGATE_DATABASE_URL": url, **settings}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schema.migrate", env=environment, stdout=PIPE, stderr=STDOUT
    )


async def finish(process: Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def until_waiting(connection: asyncpg.Connection, sessions: int) -> None:
    """Until so many other sessions of the database wait for a lock."""
    waiting = """select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock' and backend_type = 'client backend'"""
    async with asyncio.timeout(30):
        while await connection.fetchval(waiting) < sessions:
            await asyncio.sleep(0.02)


async def test_an_empty_database_gets_everything_and_of_two_at_once_one_does_it(
    empty_url: str, empty: asyncpg.Connection, database: asyncpg.Connection
) -> None:
    assert await pending(empty) == sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    await empty.execute("select pg_advisory_lock($1)", LOCK)
    processes = [await start(empty_url) for _ in range(2)]
    await until_waiting(empty, 2)
    await empty.execute("select pg_advisory_unlock($1)", LOCK)

    outputs = [await finish(process) for process in processes]

    assert sorted(output.count("Applying") for output in outputs) == [0, len(list(MIGRATIONS.glob("*.sql")))]
    assert await catalog(empty) == await catalog(database)
    assert await pending(empty) == []
    assert await migrate(empty) == await empty.fetchval("select current_setting('timescaledb.license')")
    for view in ("telemetry", "presence", "telemetry_1m", "telemetry_1h"):
        assert await empty.fetch(f"select * from {view}") == []


async def test_whatever_notifies_does_so_on_channels_that_no_login_can_name(database: asyncpg.Connection) -> None:
    notify = """select proname from pg_proc where pronamespace in ('public'::regnamespace, 'api'::regnamespace)
                   and prosrc ~ 'pg_notify|(^|[^_])notify '"""
    assert [row[0] for row in await database.fetch(notify)] == ["notice_send"]


async def test_migrating_again_changes_nothing(database: asyncpg.Connection) -> None:
    before = await catalog(database)

    await migrate(database)

    assert await catalog(database) == before


@pytest.mark.parametrize("relation", ["_pogo_version", "channels", "telemetry_1h"])
async def test_after_one_was_killed_the_next_completes(
    empty_url: str, empty: asyncpg.Connection, database: asyncpg.Connection, relation: str
) -> None:
    """Killed when about to make `relation`: at the begin, in a numbered file, and in the edition's script."""
    uncommitted = empty.transaction()
    await uncommitted.start()
    await empty.execute(f"create table {relation} ()")  # whoever makes one of that name waits for our end
    process = await start(empty_url)
    observer = await asyncpg.connect(empty_url)
    await until_waiting(observer, 1)

    process.kill()
    await process.communicate()
    await uncommitted.rollback()
    await observer.close()
    await finish(await start(empty_url))

    assert await catalog(empty) == await catalog(database)


async def test_the_reasons_are_those_that_quarantine_accepts(database: asyncpg.Connection) -> None:
    check = await database.fetchval(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'quarantine_reason_check'"
    )

    assert sorted(re.findall(r"'([a-z-]+)'", check)) == sorted(Reason)


async def test_a_chunk_interval_holds_from_then_on(database: asyncpg.Connection, database_url: str) -> None:
    interval = """select extract(epoch from time_interval) / 3600 from timescaledb_information.dimensions
                   where hypertable_name = 'frames'"""
    assert await database.fetchval(interval) == 24

    await finish(await start(database_url, BIOGATE_CHUNK_INTERVAL="6 hours"))
    assert await database.fetchval(interval) == 6

    await finish(await start(database_url, BIOGATE_CHUNK_INTERVAL=""))
    assert await database.fetchval(interval) == 6


@pytest.mark.parametrize("text", ["soon", "6", "-1 day", "0", "99 years", "infinity"])
async def test_a_chunk_interval_that_cannot_be_meant_is_refused_before_anything_is_done(
    empty: asyncpg.Connection, text: str
) -> None:
    with pytest.raises(BadSetting, match="BIOGATE_CHUNK_INTERVAL"):
        await migrate(empty, text)

    assert await empty.fetchval("select to_regclass('devices')") is None


async def test_the_editions_give_the_same_columns(database: asyncpg.Connection) -> None:
    columns = """select table_name, column_name, data_type from information_schema.columns
                  where table_schema = $1 and table_name like 'telemetry_1_' order by table_name, ordinal_position"""
    here = await database.fetch(columns, "public")
    await database.execute("create schema plain; set search_path = plain, public")

    await database.execute((EDITIONS / "apache.sql").read_text())

    assert await database.fetch(columns, "plain") == here
