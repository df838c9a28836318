"""Nothing is lost while the schema becomes newer under a running gateway, and while gateways are restarted in turn."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from device_sim.journal import Produced, read
from schema.migrate import MIGRATIONS, pending
from tests.conftest import Broker
from tests.databases import with_database
from tests.device_sim.subscriber import start
from tests.gateway.cell import eventually
from tests.gateway.publisher import Publisher
from tests.processes import GatewayProcess, wait_until

CHECKOUT = Path(__file__).parents[3]
BEGIN = "0008"
"""Migrations up to here were made before there was anything to upgrade."""
NEEDED = "0036"
"""The newest migration that the gateway of today needs. It plays the older one, and what is newer is added under it."""
SCRATCH = """-- what a version to come may do
-- depends: {newest}

-- migrate: apply

create table novelties (device_id integer not null references devices);
alter table devices add column novelty text;
alter table frames add column novelty text;
alter table statuses add column novelty integer not null default 1;
alter table intake_totals add column novelty bigint not null default 0;
alter table device_streams add column novelty bigint;
alter table quarantine add column novelty text;

-- migrate: rollback

select 1;
"""


def version(directory: Path, migrations: list[Path], scratch: str = "") -> dict[str, str]:
    """The gateway with these migrations: the environment that makes `python -m` run it."""
    shutil.copytree(
        CHECKOUT / "schema", directory / "schema", ignore=shutil.ignore_patterns("migrations", "__pycache__")
    )
    if not scratch:
        (directory / "schema" / "rights.sql").write_text(
            "select 1"
        )  # today's names tables that an older schema does not have
    (directory / "gateway").symlink_to(CHECKOUT / "gateway")
    (directory / "schema" / "migrations").mkdir()
    for path in migrations:
        shutil.copy(path, directory / "schema" / "migrations")
    if scratch:
        (directory / "schema" / "migrations" / "9999_scratch.sql").write_text(scratch)
    return {"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"}


async def migrated(url: str, of: dict[str, str]) -> None:
    command = [sys.executable, "-m", "schema.migrate"]
    environment = {**os.environ, **of, "BIOGATE_DATABASE_URL": url}
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    admin = await asyncpg.connect(postgres_url)
    name = f"test_upgrade_{os.getpid()}"
    await admin.execute(f"create database {name} template template0")
    yield with_database(postgres_url, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
def pair(broker: Broker, tmp_path: Path) -> Iterator[list[GatewayProcess]]:
    """Two gateways of one cell, not started yet."""
    both = [GatewayProcess("", broker.url, tmp_path / f"{name}.log") for name in ("first", "second")]
    yield both
    for gateway in both:
        gateway.kill()
        if gateway.log.exists():
            print(gateway.log.read_text()[-3000:])


def leads(gateway: GatewayProcess) -> bool:
    return gateway.metrics().get("biogate_leader") == 1


def until_standby(gateway: GatewayProcess) -> None:
    wait_until(lambda: "standby" in gateway.get("/ready")[1], 20, lambda: gateway.get("/ready")[1])


async def test_an_older_gateway_goes_on_while_the_schema_becomes_newer_and_a_newer_one_takes_over(
    broker: Broker, pair: list[GatewayProcess], empty_url: str, tmp_path: Path
) -> None:
    every = sorted(MIGRATIONS.glob("*.sql"))
    older = version(tmp_path / "older", [path for path in every if path.name[:4] <= NEEDED])
    newer = version(tmp_path / "newer", every, SCRATCH.format(newest=every[-1].stem))
    await migrated(empty_url, older)
    database = await asyncpg.connect(empty_url)
    await database.execute("insert into devices (name) values ('r1')")
    for gateway, of in zip(pair, (older, newer), strict=True):
        gateway.environment |= {"BIOGATE_DATABASE_URL": empty_url, **of}
        gateway.forked = False
    old, new = pair
    old.start()
    publisher = Publisher(broker.port, "r1", pause_s=0.002)
    try:
        publisher.wait_published(500)
        await migrated(empty_url, newer)
        assert await pending(database) == []
        at = publisher.published
        publisher.wait_published(at + 500)
        await eventually(lambda: database.fetchval("select count(*) > $1 from frames", at), 20)
        assert leads(old)
        new.start(ready=False)
        until_standby(new)
        assert old.terminate() == 0
        new.wait_ready()
        at = publisher.published
        publisher.wait_published(at + 500)
    finally:
        published = publisher.stop()
    await eventually(lambda: database.fetchval("select count(*) >= $1 from frames", published), 30)
    assert new.terminate() == 0
    row = await database.fetchrow("select count(*), count(distinct seq), max(seq) from frames")
    assert tuple(row) == (published, published, published - 1)
    row = await database.fetchrow("select committed, quarantined, discarded from intake_totals where kind = 'frame'")
    assert tuple(row) == (published, 0, 0)
    await database.close()


async def test_gateways_are_restarted_in_turn_and_every_frame_is_stored(
    broker: Broker, pair: list[GatewayProcess], database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    quick: dict[str, Any] = {"receipt_interval_s": 0.2, "reorder_window_s": 0.5, "backfill_retry_s": 1}
    await database.execute("insert into devices (name) values ('sim-0001'), ('sim-0002'), ('sim-0003')")
    for gateway in pair:
        gateway.environment["BIOGATE_DATABASE_URL"] = database_url
    first, second = pair
    first.start(**quick)
    second.start(ready=False, **quick)
    until_standby(second)
    fleet = start(
        broker, "sim-", "--devices", "3", "--rate", "50", "--state", str(tmp_path / "state"),
        "--journal", str(tmp_path / "journal"), "--max-backoff", "1", "--until-receipted", "30",
    )  # fmt: skip

    async def flowing() -> None:
        stored = await database.fetchval("select count(*) from frames")
        await eventually(lambda: database.fetchval("select count(*) > $1 from frames", stored + 100), 30)

    await flowing()
    for leader, standby in ((first, second), (second, first)):
        assert (leads(leader), leads(standby)) == (True, False)
        assert await asyncio.to_thread(leader.terminate) == 0
        standby.wait_ready()
        await flowing()
        leader.start(ready=False, **quick)
        until_standby(leader)
    fleet.terminate()
    summary = json.loads((await asyncio.to_thread(fleet.finish)).splitlines()[-1])

    assert fleet.returncode == 0, summary
    produced = {(it.device, it.boot, it.seq) for it in read(tmp_path / "journal") if isinstance(it, Produced)}
    rows = [
        tuple(row) for row in await database.fetch("select name, boot, seq from frames join devices using (device_id)")
    ]
    assert len(rows) == len(produced)
    assert set(rows) == produced
    row = await database.fetchrow("select committed, quarantined, discarded from intake_totals where kind = 'frame'")
    assert tuple(row) == (len(produced), 0, 0)


# Expand and contract: docs/upgrade.md

BREAKING = re.compile(
    r"\bdrop\s+(?!(?:trigger|constraint|index|default|not|identity|expression)\b)\w+"
    r"|\brename\b|\balter\s+column\s+\w+\s+(?:set\s+data\s+)?type\b|\bset\s+not\s+null\b",
    re.IGNORECASE,
)
ADDED = re.compile(r"\badd\s+(?!constraint|check|primary|unique|foreign)[^,;]*\bnot\s+null\b[^,;]*", re.IGNORECASE)
HAS_VALUE = re.compile(r"\b(?:default|generated)\b", re.IGNORECASE)
CONTRACT = re.compile(r"^-- contract: \S", re.MULTILINE)


def breaking(migration: str) -> list[str]:
    """What of its forward part takes something from a version that runs still, or is more than that will give, and is
    not marked as a contraction."""
    forward = re.split(r"^-- migrate: rollback", migration, flags=re.MULTILINE)[0]
    forward = re.sub(r"\$\$.*?\$\$", "''", forward, flags=re.DOTALL)  # what functions do is no change of the schema
    found = []
    for statement in forward.split(";"):
        if not CONTRACT.search(statement):
            bare = re.sub(r"--[^\n]*|'[^']*'", "", statement)
            found += [match[0] for match in BREAKING.finditer(bare)]
            found += [match[0] for match in ADDED.finditer(bare) if not HAS_VALUE.search(match[0])]
    return found


@pytest.mark.parametrize("path", [path for path in sorted(MIGRATIONS.glob("*.sql")) if path.name[:4] > BEGIN], ids=str)
def test_a_migration_takes_nothing_from_an_older_version_that_still_runs(path: Path) -> None:
    assert breaking(path.read_text()) == []


@pytest.mark.parametrize(
    ("migration", "found"),
    [
        ("create table a (b integer not null);\n-- drop table b\n-- migrate: rollback\ndrop table a;", []),
        ("drop table a;", ["drop table"]),
        ("-- contract: nothing since 0.3 reads it\ndrop table a;", []),
        ("-- contract: nothing since 0.3 reads it\ndrop table a;\ndrop view b;", ["drop view"]),
        ("alter table a drop column b, add c text;", ["drop column"]),
        ("alter table a drop b;", ["drop b"]),
        ("alter table a rename b to c;", ["rename"]),
        ("alter table a alter column b type bigint;", ["alter column b type"]),
        ("alter table a add b text check (b <> '') not null;", ["add b text check (b <> ) not null"]),
        ("alter table a alter column b set not null;", ["set not null"]),
        ("alter table a add column b text not null;", ["add column b text not null"]),
        ("alter table a add column b text not null default '', add column c text;", []),
        ("alter table a add column b bigint default 0 not null;", []),
        ("create function a() returns void language sql as $$ drop table b; $$; drop trigger c on d;", []),
    ],
)
def test_what_would_break_an_older_version_is_found(migration: str, found: list[str]) -> None:
    assert breaking(migration) == found
