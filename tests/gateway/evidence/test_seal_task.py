"""The task seals and verifies by itself, and the command verifies by hand."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from gateway.evidence.seal_task import SealTask, verify_span
from schema.evidence.seals import HOUR
from schema.times import Span
from tests.gateway.evidence.sealed_plant import BEGIN, END, SealedPlant
from tests.gateway.evidence.signing import signing_of
from tests.gateway.material import settings


@pytest.fixture
async def plant(database: asyncpg.Connection, evidence_url: str) -> AsyncIterator[SealedPlant]:
    sealer = await asyncpg.connect(evidence_url)
    plant = SealedPlant(database, sealer)
    await plant.fill("br-1", "br-2")
    yield plant
    await sealer.close()


async def test_the_leading_process_seals_and_verifies(plant: SealedPlant, evidence_url: str) -> None:
    leading = asyncio.Event()
    task = SealTask(settings(evidence_url), leading, {})
    running = [asyncio.create_task(task.seal()), asyncio.create_task(task.verify())]
    try:
        leading.set()
        async with asyncio.timeout(60):
            while not await plant.sql.fetchval("select exists (select from seal_checks)"):
                await asyncio.sleep(0.05)
            while REGISTRY.get_sample_value("biogate_seals_until_timestamp_seconds") is None:
                await asyncio.sleep(0.05)
    finally:
        for one in running:
            one.cancel()
    assert await plant.sql.fetchval("select count(*) from seals") == 8
    assert REGISTRY.get_sample_value("biogate_seals_faults") == 0


async def test_days_on_which_nobody_verified_are_made_up_for(plant: SealedPlant, evidence_url: str) -> None:
    await plant.seal()
    await plant.tamper("update frames set values[1] = 0 where time = $1 and device_id = 2", BEGIN + HOUR)
    await plant.sql.execute(
        "insert into seal_checks (begins, ends, hours, frames, faults) values ($1, $2, 0, 0, '[]')", BEGIN - HOUR, BEGIN
    )
    await plant.sql.execute("delete from device_clocks")
    await plant.sql.execute(
        """insert into device_clocks (device_id, hour, frames, least, most)
           select 1, date_trunc('hour', now()) - days * interval '1 day', days, '0', '0'
             from unnest('{1098,1101}'::int[]) days"""
    )
    leading = asyncio.Event()
    leading.set()
    verifying = asyncio.create_task(SealTask(settings(evidence_url), leading, {}).verify())
    try:
        async with asyncio.timeout(60):
            while await plant.sql.fetchval("select exists (select from device_clocks where frames = 1101)"):
                await asyncio.sleep(0.05)
    finally:
        verifying.cancel()
    checked = "select begins, jsonb_array_length(faults) from seal_checks order by check_id offset 1 limit 1"
    assert tuple(await plant.sql.fetchrow(checked)) == (BEGIN, 1)
    assert await plant.sql.fetchval("select array_agg(frames) from device_clocks") == [1098], "clocks of three years"


async def test_what_a_verification_finds_is_kept_and_told(plant: SealedPlant) -> None:
    await plant.seal()
    await plant.tamper("update frames set values[1] = 0 where time = $1 and device_id = 2", BEGIN + HOUR)
    await verify_span(plant.sql, Span(BEGIN, END))
    said = {"device": "br-2", "from": "2026-03-01T11:00:00.000000Z", "hours": 1}
    [fault] = json.loads(await plant.sql.fetchval("select faults from seal_checks"))
    assert said.items() <= fault.items()
    told = await plant.sql.fetchval("select new from audit where action = 'seal fault'")
    assert json.loads(told) == {"faults": [fault]}
    assert REGISTRY.get_sample_value("biogate_seals_faults") == 1


async def test_each_organization_is_told_of_its_own_devices(plant: SealedPlant) -> None:
    await plant.sql.execute("insert into organizations (name, title) values ('north', 'North')")
    await plant.sql.execute("update devices set organization_id = 2 where name = 'br-2'")
    await plant.seal()
    await plant.tamper("update frames set values[1] = 0 where time = $1", BEGIN + HOUR)
    await verify_span(plant.sql, Span(BEGIN, END))
    told = await plant.sql.fetch("select organization_id, new from audit where action = 'seal fault' order by 1")
    devices = [(row[0], [fault["device"] for fault in json.loads(row[1])["faults"]]) for row in told]
    assert devices == [(1, ["br-1"]), (2, ["br-2"])]


async def test_the_command_names_device_and_hour(plant: SealedPlant, database_url: str, tmp_path: Path) -> None:
    await plant.seal()
    unsigned = await _verify(database_url)
    async with signing_of(database_url, tmp_path) as signing:
        await signing.sign()
        kept = ("--key", str(signing.directory.path / "public.pem"), "--file", str(signing.directory.file))

    async def verify(*arguments: str) -> tuple[int, str]:
        return await _verify(database_url, *kept, *arguments)

    assert unsigned[1].startswith("8 sealed hours of 96 frames; 8 sealed after the last signed checkpoint\n")
    assert await verify() == (0, "8 sealed hours of 96 frames\nthey are as they were sealed\n")
    await plant.tamper(
        "delete from frames where device_id = 2 and time >= $1 and time < $2", BEGIN + HOUR, BEGIN + 3 * HOUR
    )
    status, said = await verify("--device", "br-2", "--from", "2026-03-01T11:00Z")
    assert status == 1
    assert "br-2\t2026-03-01 11:00:00Z\t2\tversion 1 of the seal: deleted: 12 frames at least" in said
    assert (await verify("--device", "br-1"))[0] == 0
    assert (await verify("--to", "2026-03-01T11:00Z"))[0] == 0
    assert await verify("--device", "no") == (1, "there is no device no\n")

    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute("update audit set why = 'another' where action = 'seal'")
    status, said = await verify("--device", "br-1")
    assert status == 1
    assert "the audit trail of main is not as it was signed" in said


async def _verify(database_url: str, *arguments: str) -> tuple[int, str]:
    """The exit status of the command, and what it says."""
    command = [sys.executable, "-m", "deploy.command", "seal", "verify", *arguments]
    env = os.environ | {"BIOGATE_DATABASE_URL": database_url}
    ended = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr
