"""Rules for a phase follow the phases that people confirm on runs."""

from __future__ import annotations

import asyncio

from gateway.alarms.alarm_store import AlarmStore
from gateway.runtime.database import Pool
from tests.api.accounts import organization
from tests.gateway.alarms.plant import RAISED, Plant, evaluated, moment, now
from tests.gateway.cell import eventually

OUTSIDE = ("phase", "suppressed"), ("condition", "suppressed")


async def test_a_confirmed_phase_is_before_the_events_of_the_device_and_outlives_the_process(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["batch"]}, stale_after=86_400)
    t = now() - 60
    await plant.phase("r1", "cleaning", t)
    await plant.run("B-1", "r1", t)
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 1, {"x": 11.0})])
        await plant.becomes("r1", *OUTSIDE)
        await plant.confirm("B-1", ("batch", t, None))  # before what was evaluated
        raised = [*OUTSIDE, ("phase", "normal"), RAISED]
        await plant.becomes("r1", *raised)
    async with evaluated(database_url):
        await plant.commit("r1", [(t + 2, {"x": 11.0})], first=1)
        await eventually(lambda: plant.evaluated_until("r1", t + 2), 20)
        assert await plant.transitions("r1") == raised
        await plant.confirm("B-1")
        await plant.becomes("r1", *raised, ("phase", "suppressed"))  # cleaning, as the device said
        await plant.phase("r1", "batch", t + 3)
        await plant.becomes("r1", *raised, ("phase", "suppressed"), ("phase", "normal"), RAISED)


async def test_a_phase_confirmed_while_nobody_evaluated_counts_from_its_time_on(
    plant: Plant, database_url: str
) -> None:
    await plant.devices("r1")
    await plant.rule(scope={"phases": ["feed"]}, stale_after=86_400)
    t = now() - 60
    await plant.run("B-1", "r1", t)
    async with evaluated(database_url):
        await plant.commit("r1", [(t, {"x": 1.0})])
        await plant.becomes("r1", ("phase", "suppressed"))
    await plant.commit("r1", [(t + n, {"x": 11.0}) for n in range(1, 4)], first=1)
    await plant.confirm("B-1", ("feed", t + 2, None))
    await plant.database.execute("update run_phases set confirmed_at = begins")
    async with evaluated(database_url):
        await plant.becomes("r1", *OUTSIDE, ("phase", "normal"), RAISED)
        assert (await plant.alarm("r1"))["raised_at"].timestamp() == t + 2


async def test_the_evaluator_is_told_of_phases_and_of_who_is_in_the_run(plant: Plant) -> None:
    heard = asyncio.Queue[str]()
    channel = await plant.database.fetchval("select notice_channel('biogate_alarm_rules')")
    await plant.database.add_listener(channel, lambda *said: heard.put_nowait(said[2]))
    await plant.devices("r1")
    async with asyncio.timeout(20):
        await plant.run("B-1", "r1", now() - 60)
        await heard.get()
        await plant.confirm("B-1", ("feed", now() - 60, None))
        await heard.get()
    assert heard.empty()


async def test_phases_of_a_run_say_nothing_of_a_device_that_was_given_away(plant: Plant, pool: Pool) -> None:
    await plant.devices("vessel")
    await plant.run("B-1", "vessel", now() - 60)
    await plant.confirm("B-1", ("feed", now() - 60, None))
    store, since = AlarmStore(pool, 0), moment(now() - 999)
    assert [[one.name for one in phases] for phases in (await store.confirmed(since)).values()] == [["feed"]]
    other = await organization(plant.database, "other")
    await plant.database.execute("update devices set organization_id = $1 where name = 'vessel'", other)
    assert await store.confirmed(since) == {}
