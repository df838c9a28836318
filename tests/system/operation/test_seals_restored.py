"""Seals hold in a database that was restored from a backup, and in one made of a dump."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import asyncpg

from deploy.backup.tools import program
from schema.migrate import migrate
from tests.databases import with_database
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
    await plant.tamper(CHANGE, BEGIN)
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
    await plant.tamper(CHANGE, BEGIN)
    assert len((await plant.verified()).faults) == 1
    await plant.sql.close()


async def dumped(place: Place, plant: SealedPlant) -> None:
    """The seals of a dump hold; it is read as TimescaleDB's manual says."""
    other = with_database(place.server.url, "dumped")
    await plant.sql.execute("create database dumped")
    made = await asyncpg.connect(other)
    await made.execute("create extension timescaledb; select timescaledb_pre_restore()")
    dump = await asyncio.to_thread(
        subprocess.run, [*program("pg_dump"), place.server.url], check=True, capture_output=True
    )
    await asyncio.to_thread(
        subprocess.run, [*program("psql"), "-qX", other], input=dump.stdout, check=True, capture_output=True
    )
    await made.execute("select timescaledb_post_restore()")
    await made.close()
    held, plant.sql = plant.sql, await asyncpg.connect(other)
    found = await plant.verified()
    await plant.sql.close()
    plant.sql = held
    assert (found.hours, found.frames, found.faults) == (2 * HOURS, 2 * HOURS * 12, [])
