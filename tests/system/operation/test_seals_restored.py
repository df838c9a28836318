"""Seals hold in a database that was restored from a backup, and in one made of a dump."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import asyncpg

from schema.migrate import migrate
from tests.conftest import with_database
from tests.gateway.evidence.sealed_plant import BEGIN, HOURS, SealedPlant
from tests.system.operation.test_backup import Place, place

__all__ = ["place"]

CHANGE = "update frames set values[1] = 0 where device_id = 1 and time = $1"


async def test_seals_hold_in_what_was_restored(place: Place) -> None:
    place.server.start()
    connection = await asyncpg.connect(place.server.url)
    await migrate(connection)
    plant = SealedPlant(connection)
    await plant.fill("br-1", "br-2")
    await plant.seal()
    status, said = await asyncio.to_thread(place.backup, "take", "--keep", "1")
    assert status == 0, said
    await dumped(place, plant)
    await connection.execute(CHANGE, BEGIN)
    assert [(one.device, one.hour) for one in (await plant.verified()).faults] == [("br-1", BEGIN)]
    await connection.close()

    place.server.kill()
    shutil.rmtree(place.server.cluster)
    status, said = await asyncio.to_thread(place.backup, "restore", "--name", place.name)
    assert status == 0, said
    place.server.start()
    plant.sql = await asyncpg.connect(place.server.url)
    found = await plant.verified()
    assert (found.hours, found.faults) == (2 * HOURS, [])
    await plant.sql.execute(CHANGE, BEGIN)
    assert len((await plant.verified()).faults) == 1
    await plant.sql.close()


async def dumped(place: Place, plant: SealedPlant) -> None:
    """A dump is restored as TimescaleDB's manual says, and its seals hold."""
    other = with_database(place.server.url, "dumped")
    await plant.sql.execute("create database dumped")
    made = await asyncpg.connect(other)
    await made.execute("create extension timescaledb; select timescaledb_pre_restore()")
    command = f"'{place.server.place.program('pg_dump')}' '{place.server.url}' | '{place.server.place.program('psql')}' -qX '{other}'"
    await asyncio.to_thread(subprocess.run, command, shell=True, check=True, capture_output=True)
    await made.execute("select timescaledb_post_restore()")
    held, plant.sql = plant.sql, made
    found = await plant.verified()
    plant.sql = held
    await made.close()
    assert (found.hours, found.faults) == (2 * HOURS, [])
