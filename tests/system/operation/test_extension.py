"""TimescaleDB is upgraded by the system, under a database that still asks for the library of before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from schema.migrate import EXTENSION_BEHIND
from tests.api.test_operation import process
from tests.conftest import Broker
from tests.processes import GatewayProcess, wait_until

COMMAND = "alter extension timescaledb update"
Set = Callable[[str], Awaitable[None]]


@pytest.fixture
async def wants(database_url: str) -> Set:
    """Sets the version of the library for which the database asks, in all sessions that begin from then on; the others
    end. As after an upgrade, the server has one version alone."""

    async def wants(version: str) -> None:
        connection = await asyncpg.connect(database_url, server_settings={"timescaledb.disable_load": "on"})
        await connection.execute("update pg_extension set extversion = $1 where extname = 'timescaledb'", version)
        await connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and application_name like 'biogate%'"
        )
        await connection.close()

    return wants


async def test_migrating_says_it_in_words_with_the_command(database_url: str, wants: Set) -> None:
    await wants("2.0.0")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "schema.migrate"],
        env={**os.environ, "BIOGATE_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert COMMAND in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_gateway_says_it_and_goes_on_when_it_is_mended(
    gateway: GatewayProcess, broker: Broker, installed: str, wants: Set
) -> None:
    gateway.start()
    await wants("2.0.0")
    wait_until(lambda: COMMAND in gateway.get("/ready")[1], 20, lambda: gateway.get("/ready")[1])
    await wants(installed)
    gateway.wait_ready(60)


async def test_the_api_says_it(database_url: str, tmp_path: Path, installed: str, wants: Set) -> None:
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        await wants("2.0.0")
        async with asyncio.timeout(20):
            while EXTENSION_BEHIND.partition("`")[0] not in (await client.get("/ready")).text:
                await asyncio.sleep(0.1)
        await wants(installed)
        async with asyncio.timeout(20):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.1)


@pytest.fixture
async def installed(database_url: str) -> str:
    """The version that the server has."""
    connection = await asyncpg.connect(database_url)
    version: str = await connection.fetchval("select extversion from pg_extension where extname = 'timescaledb'")
    await connection.close()
    return version


async def test_the_command_is_one_that_the_server_knows(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(COMMAND)  # the first statement of its session, as the extension demands
    await connection.close()
    assert COMMAND in EXTENSION_BEHIND
