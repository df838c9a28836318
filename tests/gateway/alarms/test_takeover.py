"""What a restart or another leader finds of alarms, and what who has lost the lead leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
import pytest

from gateway.alarms.alarm_store import AlarmStore
from gateway.alarms.coverage import WatchedDevice
from gateway.alarms.lead import COUNT, AlarmLead
from gateway.alarms.publish import AlarmPublisher
from gateway.alarms.watch import DeviceWatch, Standing
from gateway.runtime.database import Pool
from schema.alarms.machine import Alarm, AlarmState, Condition
from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant, evaluated, moment, now
from tests.gateway.alarms.test_publish import observer
from tests.gateway.material import settings, take_lead, until
from tests.locks import waits_at_a_lock
from tests.processes import AlarmsProcess

AT = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
RAISED, RETURNED = ("condition", "unacknowledged"), ("return", "returned-unacknowledged")
NOT_REMEMBERED = {"state", "published_n", "shelved_since"}
"""Columns of `alarms`: what is made of others, by the database too, and what is the publisher's."""


async def rows(database: asyncpg.Connection) -> dict[str, dict[str, Any]]:
    found = await database.fetch("select d.name as device, a.* from alarms a join devices d using (device_id)")
    return {row["device"]: dict(row) for row in found}


def differing(default: Any) -> Iterator[Any]:
    """Values of a field's type, none of them its default."""
    match default:
        case bool():
            yield not default
        case Condition():
            yield from (one for one in Condition if one is not default)
        case int():
            yield default + 7
        case float():
            yield default + 0.5
        case str():
            yield default + "µ"
        case datetime():
            yield default + timedelta(days=1)


FULL = Standing(
    rule_id=1,
    organization_id=1,
    version=3,
    priority="low",
    since=AT,
    n=5,
    raised_at=AT - timedelta(hours=1),
    raised_n=4,
    value=1.5,
    detail="why",
    removed_at=AT + timedelta(hours=1),
    alarm=Alarm(shelved_until=AT + timedelta(hours=2)),
)


def variants() -> Iterator[Standing]:
    """Rows of `alarms` in each of which one thing differs from FULL, or is not there."""
    yield FULL
    for one in fields(Standing):
        for value in differing(getattr(FULL, one.name)):
            if one.name not in {"rule_id", "organization_id"}:
                yield replace(FULL, **{one.name: value})
        if one.name in {"raised_at", "raised_n", "value", "removed_at"}:
            absent: dict[str, Any] = {one.name: None}
            yield replace(FULL, **absent)
    for one in fields(Alarm):
        for value in differing(getattr(FULL.alarm, one.name)):
            yield replace(FULL, alarm=replace(FULL.alarm, **{one.name: value}))
    yield replace(FULL, alarm=replace(FULL.alarm, shelved_until=None))


async def test_every_column_of_an_alarm_is_read_back_as_it_was_written(
    pool: Pool, plant: Plant, database: asyncpg.Connection
) -> None:
    await plant.rule()
    rule_id = await database.fetchval("select rule_id from alarm_rules")
    store, written = AlarmStore(pool, await database.fetchval("select epoch from alarm_lead")), {}
    for number, standing in zip(count(), variants()):
        name = f"device-{number}"
        await plant.devices(name)
        device_id = await database.fetchval("select device_id from devices where name = $1", name)
        written[device_id] = replace(standing, rule_id=rule_id)
        for row in (replace(FULL, rule_id=rule_id), written[device_id]):  # the second is an update of the first
            watch = DeviceWatch(WatchedDevice(device_id, name, 1, frozenset()), {}, [row])
            watch.touched.add(rule_id)
            await store.write([watch])
    found = await store.remembered([*written])
    assert {device_id: standing for device_id, (_, [standing]) in found.items()} == written
    remembered = {one.name for kind in (Standing, Alarm) for one in fields(kind)} - {"alarm", "version"}
    assert set(dict(await database.fetchrow("select * from alarms limit 1"))) == (
        (remembered - {"organization_id"}) | NOT_REMEMBERED | {"device_id", "rule_version"}
    ), "a column that no case is about"


async def test_alarms_in_every_state_stand_unchanged_after_a_take_over_and_a_restart(
    plant: Plant, database: asyncpg.Connection, database_url: str
) -> None:
    """All their rows are written anew then, because the rule is changed."""
    states = [state.value for state in AlarmState]
    acts = {
        "normal": ["acknowledge", "reset"],
        "acknowledged": ["acknowledge"],
        "latched": ["acknowledge"],
        "shelved": ["shelve"],
        "suppressed": ["suppress"],
        "out-of-service": ["remove-from-service"],
    }
    t = now() - 9
    await plant.devices(*states)
    await plant.rule(latch=True, stale_after=86_400)
    async with AsyncExitStack() as other:
        async with evaluated(database_url):
            for state in states:
                await plant.commit(state, [(t, {"x": 11.0})])
                await plant.becomes(state, RAISED)
            for state in ("normal", "returned-unacknowledged", "latched"):
                await plant.commit(state, [(t + 1, {"x": 9.0})], first=1)
                await plant.becomes(state, RAISED, RETURNED)
            for state, actions in acts.items():
                for action in actions:
                    end = moment(now() + 3600) if action == "shelve" else None
                    assert (await plant.act(state, action, until=end))["refused"] is None
            before = await rows(database)
            assert {device: row["state"] for device, row in before.items()} == {state: state for state in states}
            await other.enter_async_context(evaluated(database_url))
        await changed(plant, database, before, "one")
    async with evaluated(database_url):
        await changed(plant, database, before, "two")


async def changed(plant: Plant, database: asyncpg.Connection, before: dict[str, dict[str, Any]], title: str) -> None:
    """The rule has another title, which changes nothing else."""
    await plant.rule(latch=True, stale_after=86_400, title=title)
    version = await database.fetchval("select version from alarm_rules")
    query = "select bool_and(rule_version = $1) from alarms"
    await until(lambda: database.fetchval(query, version), 20)
    for device, row in (await rows(database)).items():
        await plant.transitions(device)  # numbered without holes, each with the raise that it belongs to
        expected = before[device] | {name: row[name] for name in ("n", "rule_version", "published_n")}
        assert row == expected, device


# -- the lead is lost otherwise than by death


@pytest.fixture
async def lead(database_url: str, database: asyncpg.Connection) -> AlarmLead:
    """Of a process that leads, and does not know yet when it has lost the lead."""
    lead = AlarmLead(settings(database_url), {})
    lead.epoch = await database.fetchval(COUNT)
    lead.leading.set()
    return lead


@asynccontextmanager
async def stops_at(database_url: str, table: str) -> AsyncIterator[None]:
    """Who reads or writes the table waits until the end."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"lock table {table} in access exclusive mode")
            yield
    finally:
        await connection.close()


async def nobody_takes_the_lead(database: asyncpg.Connection) -> None:
    async with database.transaction():
        await database.execute("set local lock_timeout = 50")
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with database.transaction():
                await database.execute(COUNT)


async def test_nobody_takes_the_lead_while_transitions_are_stored(
    pool: Pool, plant: Plant, lead: AlarmLead, database: asyncpg.Connection, database_url: str
) -> None:
    await plant.devices("vessel")
    device_id = await database.fetchval("select device_id from devices where name = 'vessel'")
    watch = DeviceWatch(WatchedDevice(device_id, "vessel", 1, frozenset()))
    async with stops_at(database_url, "alarm_devices"):
        writing = asyncio.create_task(AlarmStore(pool, lead.epoch).write([watch]))
        await until(lambda: waits_at_a_lock(database))
        await nobody_takes_the_lead(database)
    await writing


async def test_who_has_lost_the_lead_publishes_no_state_any_more(
    pool: Pool, plant: Plant, lead: AlarmLead, broker: Broker, database: asyncpg.Connection, database_url: str
) -> None:
    await plant.devices("vessel")
    await plant.rule()
    await database.execute(ALARM)
    told, chosen = asyncio.Event(), settings(database_url, mqtt_url=broker.url)
    publisher = AlarmPublisher(chosen, (None, None), pool, lead, told, troubles={})
    running = asyncio.create_task(publisher.run())
    async with observer(broker) as seen:
        await seen.becomes("alarms/vessel/high", "unacknowledged")
        await until(lambda: database.fetchval("select published_n = n from alarms"))
        async with stops_at(database_url, "alarms"):
            told.set()
            await until(lambda: waits_at_a_lock(database))
            await nobody_takes_the_lead(database)
        epoch = await database.fetchval(COUNT)
        await database.execute("update alarms set n = 2, state = 'acknowledged'")
        for _ in range(5):  # each of its looks
            told.set()
            await asyncio.sleep(chosen.timing.look_s)
        assert seen.messages["alarms/vessel/high"]["state"] == "unacknowledged"
        assert await database.fetchval("select published_n from alarms") == 1
        lead.epoch = epoch
        await seen.becomes("alarms/vessel/high", "acknowledged")
    running.cancel()
    await asyncio.wait([running])


ALARM = """
insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched, shelved_once,
                    suppressed, out_of_service, state, priority, since, raised_at, raised_n, detail)
select rule_id, device_id, 1, 1, 'active', true, false, false, false, false, false, 'unacknowledged', 'medium',
       now(), now(), 1, '11 above 10' from alarm_rules, devices where devices.name = 'vessel'"""


async def test_who_has_lost_the_lead_tells_no_figures_of_alarms_any_more(
    alarms: AlarmsProcess, plant: Plant, database: asyncpg.Connection
) -> None:
    def told() -> set[str]:
        return {name for name in alarms.metrics() if name.startswith(FIGURES)}

    await plant.devices("r1")
    await plant.rule()
    await plant.commit("r1", [(now() - 9, {"x": 11.0})])
    await take_lead(database, "alarms", COUNT)
    alarms.start(ready=False)
    await until(lambda: alarms.gauges().get("biogate_alarm_database_reachable") == 1)
    on_standby = alarms.gauges()
    await database.execute("select pg_advisory_unlock_all()")
    await plant.becomes("r1", RAISED)
    await until(lambda: all(any(name.startswith(figure) for name in told()) for figure in FIGURES))
    await take_lead(database, "alarms", COUNT)
    await until(lambda: alarms.gauges() == on_standby)
    assert not told()


FIGURES = (
    *("biogate_alarms{", "biogate_alarms_not_evaluated", "biogate_alarm_devices", "biogate_alarm_rules_unreadable"),
    *("biogate_alarm_newest_frame_age_seconds", "biogate_alarm_unpublished"),
    *("biogate_notifications{", "biogate_notifications_oldest_seconds", "biogate_notification_routes_failing"),
)
"""What only the leader knows."""


@pytest.mark.parametrize("leads", [True, False])
async def test_who_has_lost_the_lead_notes_neither_a_beat_nor_a_defect(
    plant: Plant, pool: Pool, database: asyncpg.Connection, leads: bool
) -> None:
    await plant.devices("vessel")
    await plant.rule()
    await database.execute(ALARM)
    store = AlarmStore(pool, await database.fetchval(COUNT) - (not leads))
    await store.beat()
    await store.defective([await database.fetchval("select device_id from alarms")])
    assert await database.fetchval("select count(*) from alarm_beat") == leads
    assert await database.fetchval("select count(*) from alarms where not_evaluated like '%defect%'") == leads


async def test_a_defect_says_nothing_of_alarms_that_are_gone(
    plant: Plant, pool: Pool, database: asyncpg.Connection
) -> None:
    await plant.devices("vessel")
    await plant.rule()
    await database.execute(ALARM)
    await database.execute("update alarms set removed_at = now(), not_evaluated = null")
    await AlarmStore(pool, await database.fetchval(COUNT)).defective(
        [await database.fetchval("select device_id from alarms")]
    )
    assert await database.fetchval("select not_evaluated from alarms") is None
