"""The intake does not wait for a person's transaction that has the audit trail; it is made up for when that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from gateway.intake.registry import Registry
from gateway.runtime.database import Pool
from gateway.storage.transaction import store
from gateway.upkeep.waiting_acts import WaitingActs
from schema.topics import Kind
from tests.gateway.material import NOW_MS, admitted, settings

AFTER = 60
"""Seconds within which the intake is done: a person's transaction, which ends later, is open all the time."""
ACTIONS = "select action from audit where who like 'device %' order by n"
HELD = "insert into audit (organization_id, who, action, subject, why) values ($1, 'eva', 'x', 's', 'y')"


@pytest.fixture
async def person(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody with a transaction of her own, who does not end it."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("begin")
    await connection.execute(HELD, 1)
    yield connection
    connection.terminate()


async def test_events_commands_and_others_are_stored_while_a_person_has_the_trail(
    pool: Pool, registry: Registry, database: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    await database.execute("update organizations set runs_automatic = true")
    await database.execute(
        "insert into commands (command_id, organization_id, device_id, name, parameters, requested_by, why, expires_at)"
        " select gen_random_uuid(), 1, device_id, 'setpoint', '{}', 'eva', 'y', now() + interval '1 h' from devices"
        " where name = 'r1'"
    )
    acts = WaitingActs(settings(), pool, asyncio.Event())
    sample = {"t": NOW_MS - 5000, "type": "sample", "boot": 1, "data": {"sample": "S-1", "analytes": {"ph": 7}}}
    run = {"t": NOW_MS - 4000, "type": "run", "boot": 1, "data": {"run": "B-1", "state": "running"}}
    items = await admitted(registry, Kind.EVENT, sample, run)
    async with asyncio.timeout(AFTER):
        await store(pool, registry, "main", items, conflicting=False)
        await database.execute("update commands set state = 'done', ended_at = now()")
        await acts.look()
    assert await database.fetchval("select count(*) from device_events") == 2
    assert await database.fetchval("select count(*) from lab_samples") == 0, "the person has the trail"
    assert await database.fetchval("select count(*) from waiting_acts") == 4
    await person.execute("commit")
    await acts.look()
    actions = {row["action"] for row in await database.fetch(ACTIONS)}
    assert actions == {"sample take", "run create", "command done"}
    assert await database.fetchval("select sample from lab_samples") == "S-1"
    assert await database.fetchval("select state from runs where name = 'B-1'") == "running"
    assert await database.fetchval("select count(*) from waiting_acts") == 0
    assert await database.fetch("select audit_faults()") == []


async def test_what_waits_is_done_before_what_comes_after_it(
    pool: Pool, registry: Registry, database: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    await database.execute("update organizations set runs_automatic = true")
    for number, state in enumerate(("running", "held", "stopped")):
        said = {"t": NOW_MS - 4000 + number, "type": "run", "boot": 1, "data": {"run": "B-1", "state": state}}
        async with asyncio.timeout(AFTER):
            await store(pool, registry, "main", await admitted(registry, Kind.EVENT, said), conflicting=False)
        if state == "held":
            await person.execute("commit")
    assert [row["action"] for row in await database.fetch(ACTIONS)] == ["run create", "run held", "run stopped"]


async def test_another_organization_is_not_held_up(pool: Pool, database: asyncpg.Connection, person: object) -> None:
    north = await database.fetchval(
        "insert into organizations (name, title) values ('north', 'North') returning organization_id"
    )
    event = '{"who": "device r1", "action": "x", "subject": "device/r1", "why": "y"}'
    for organization in (1, north):
        await database.execute("select act_soon($1, 'event', $2)", organization, event)
    found = await database.fetch("select organization_id from audit where who = 'device r1'")
    assert [row[0] for row in found] == [north]
    await WaitingActs(settings(), pool, asyncio.Event()).look()
    assert await database.fetchval("select count(*) from waiting_acts") == 1


async def test_an_act_that_nobody_confirmed_expires_in_the_trail_when_that_is_free(
    pool: Pool, database: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    asked = (
        "insert into pending_acts (organization_id, kind, subject, request, who, why, expires_at)"
        " values (1, 'samples', 'sample/s-1', '{}', 'eva', 'fits', now() + $1::interval)"
    )
    for after in (timedelta(seconds=-1), timedelta(hours=1)):
        await database.execute(asked, after)
    acts = WaitingActs(settings(), pool, asyncio.Event())
    await acts.look()
    states = "select array_agg(state order by act_id) from pending_acts"
    assert await database.fetchval(states) == ["waiting", "waiting"], "the person has the trail"
    await person.execute("commit")
    for _ in range(2):
        await acts.look()
    assert await database.fetchval(states) == ["expired", "waiting"]
    told = await database.fetch("select who, subject, new from audit where action = 'second person expire'")
    assert [(*row,) for row in told] == [("gateway", "sample/s-1", '{"act": 1, "state": "expired"}')]
