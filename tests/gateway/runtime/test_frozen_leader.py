"""A leader that hangs keeps its connections: the standby ends them all, and leads. Whoever beats is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
from prometheus_client import Counter

import gateway.alarms.metrics
import gateway.evidence.metrics
import gateway.metrics
from gateway.alarms.lead import AlarmLead
from gateway.evidence.lead import EvidenceLead
from gateway.intake.cell import prepare
from gateway.leader import CellLead
from gateway.runtime.database import Troubles, connect, create_pool
from gateway.runtime.lead import LOCK, Lead
from gateway.settings import Settings
from tests.databases import with_database
from tests.gateway.material import Quick, settings, until

LEADS = pytest.mark.parametrize(
    ("kind", "what", "counter"),
    [
        (CellLead, "cell main", gateway.metrics.LEADERS_FROZEN),
        (AlarmLead, "alarms", gateway.alarms.metrics.LEADERS_FROZEN),
        (EvidenceLead, "evidence", gateway.evidence.metrics.LEADERS_FROZEN),
    ],
)


def frozen(counter: Counter) -> float:
    (sample,) = (one for metric in counter.collect() for one in metric.samples)
    return sample.value


@pytest.fixture
async def chosen(database_url: str) -> Settings:
    made = settings(database_url)
    async with create_pool(made) as pool:
        await prepare(pool, made)
    return made


@asynccontextmanager
async def holding(lead: Lead) -> AsyncIterator[None]:
    task = asyncio.create_task(lead.hold())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def hung(chosen: Settings, what: str, *, beats: bool = True) -> AsyncIterator[asyncpg.Connection]:
    """A process that took the lead, beat once and hangs, in a transaction of a second connection, which it yields."""
    lock, writer = await connect(chosen, f"leader {what}"), await connect(chosen, "gateway main")
    assert await lock.fetchval(LOCK, f"biogate {what}")
    table = {"alarms": "alarm_lead", "evidence": "evidence_lead"}.get(what, "cells")
    epoch = await lock.fetchval(f"update {table} set epoch = epoch + 1 returning epoch")
    if beats:
        await lock.execute("insert into lead_beats values ($1, $2, now())", what, epoch)
    await writer.execute("begin; update intake_totals set committed = committed + 1")
    yield writer
    for connection in (lock, writer):
        connection.terminate()


@LEADS
async def test_all_sessions_of_a_leader_that_hangs_are_ended_and_the_standby_leads(
    chosen: Settings,
    database_url: str,
    database: asyncpg.Connection,
    kind: Callable[[Settings, Troubles], Lead],
    what: str,
    counter: Counter,
) -> None:
    before = frozen(counter)
    elsewhere = chosen.model_copy(update={"database_url": with_database(database_url, "postgres")})
    assert elsewhere.process == chosen.process
    bystanders = [await connect(settings(database_url), "gateway main"), await connect(elsewhere, "gateway main")]
    async with hung(chosen, what) as writer:
        standby = kind(settings(database_url), {})
        async with holding(standby):
            await until(standby.leading.is_set)
            await until(writer.is_closed)
            await database.execute("update intake_totals set committed = 7")  # nobody holds the rows any more
        assert frozen(counter) == before + 1
        assert standby.epoch == 2
        for bystander in bystanders:
            assert await bystander.fetchval("select true")
            bystander.terminate()


class NeverProves(Quick):
    timing = replace(Quick.timing, prove_s=3600)


@LEADS
async def test_a_leader_that_hangs_as_soon_as_it_leads_is_ended_too(
    chosen: Settings, database_url: str, kind: Callable[[Settings, Troubles], Lead], what: str, counter: Counter
) -> None:
    """It has not proved yet that it leads."""
    before = frozen(counter)
    leader = kind(NeverProves.model_validate(settings(database_url).model_dump()), {})
    async with holding(leader):
        await until(leader.leading.is_set)
        standby = kind(chosen, {})
        async with holding(standby):
            await until(standby.leading.is_set)
        assert frozen(counter) == before + 1


@LEADS
async def test_a_leader_that_beats_keeps_the_lead(
    chosen: Settings,
    database_url: str,
    database: asyncpg.Connection,
    kind: Callable[[Settings, Troubles], Lead],
    what: str,
    counter: Counter,
) -> None:
    before = frozen(counter)
    leader, standby = kind(chosen, {}), kind(settings(database_url), {})
    async with holding(leader):
        await until(leader.leading.is_set)
        began = await database.fetchval("select clock_timestamp()")
        async with holding(standby):
            query = "select beat_at - $2 > make_interval(secs => $3) from lead_beats where what = $1"
            await until(lambda: database.fetchval(query, what, began, chosen.timing.frozen_s * 2))
            assert leader.leading.is_set()
            assert not standby.leading.is_set()
            assert frozen(counter) == before


@LEADS
async def test_a_leader_of_a_version_that_does_not_beat_keeps_the_lead(
    chosen: Settings,
    database_url: str,
    database: asyncpg.Connection,
    kind: Callable[[Settings, Troubles], Lead],
    what: str,
    counter: Counter,
) -> None:
    """Also where a process of this version has led before, and has left a beat."""
    before, former = frozen(counter), kind(chosen, {})
    async with holding(former):
        await until(former.leading.is_set)
    async with hung(chosen, what, beats=False) as writer:
        standby = kind(settings(database_url), {})
        async with holding(standby):
            await asyncio.sleep(chosen.timing.frozen_s * 2)
            assert not standby.leading.is_set()
            assert not writer.is_closed()
            assert frozen(counter) == before
