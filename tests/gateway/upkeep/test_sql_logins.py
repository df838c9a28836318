"""Sessions of logins for SQL whose transactions take too long are ended, whatever the session has set; no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.runtime.database import create_pool
from gateway.upkeep.sql_logins import SqlLoginWatch
from tests.gateway.material import settings
from tests.gateway.upkeep.test_metrics import value
from tests.schema.logins import sql_login

FREE = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set transaction_timeout = 0"
"""What each session can give to itself."""
LONG = 3600.0


@pytest.fixture
async def session(database: asyncpg.Connection, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """One of a login for SQL, in a transaction that listens."""
    async with sql_login(database, database_url) as url:
        connection = await asyncpg.connect(url)
        await connection.execute(FREE)
        yield connection
        connection.terminate()


@pytest.mark.parametrize(
    ("why", "bounds", "work"),
    [
        ("idle", (LONG, 0.0, 1.1), "begin"),
        ("idle", (LONG, 0.0, 1.1), "begin; listen biogate_accounts; select * from telemetry"),
        ("transaction", (0.0, LONG, 1.1), "begin; lock table telemetry in access share mode"),
        ("transaction", (0.0, LONG, 1.1), "select pg_sleep(60)"),
        ("notifications", (LONG, LONG, 0.0), "begin; select pg_sleep(5.1)"),
    ],
)
async def test_a_late_transaction_is_ended_by_the_leading_gateway(
    database: asyncpg.Connection,
    database_url: str,
    session: asyncpg.Connection,
    why: str,
    bounds: tuple[float, float, float],
    work: str,
) -> None:
    before = value("biogate_sql_logins_ended_total", why=why) or 0
    pid = session.get_server_pid()
    working = asyncio.create_task(session.execute(work))
    is_there = "select count(*) from pg_stat_activity where pid = $1 and ($2 or xact_start is not null)"
    async with asyncio.timeout(20), create_pool(settings(database_url)) as pool:
        while not await database.fetchval(is_there, pid, False):
            await asyncio.sleep(0.02)
        own = database.transaction()
        await own.start()
        await database.fetchval("select 1")  # as long as theirs, and nobody's business
        while await pool.fetchval(is_there, pid, True):
            await SqlLoginWatch(settings(), pool, asyncio.Event()).look(*bounds)
            await asyncio.sleep(0.02)
        await own.commit()
    await asyncio.wait([working])
    working.exception()
    assert value("biogate_sql_logins_ended_total", why=why) == before + 1


async def test_what_is_within_its_time_goes_on(database_url: str, session: asyncpg.Connection) -> None:
    await session.execute("begin; select * from telemetry")
    async with create_pool(settings(database_url)) as pool:
        await SqlLoginWatch(settings(), pool, asyncio.Event()).look()
    await session.execute("commit")
