"""The lead: held while it can be proved, lost when it cannot, and never had by two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.leader import CellLead
from gateway.runtime.database import Pool, Troubles
from gateway.runtime.lead import LOCK
from gateway.settings import Settings
from tests.faults.proxy import Link, Mode, Network
from tests.gateway.material import Quick, settings, until


class Owned:
    """What only the leader may have: it notes what it is told."""

    def __init__(self) -> None:
        self.taken_over = asyncio.Event()
        self.told: list[str] = []

    def lead(self) -> None:
        self.told.append("lead")

    async def stand_down(self) -> None:
        self.taken_over.clear()
        self.told.append("stand down")


class CountingLead(CellLead):
    """It counts how often it was asked to prove that it leads."""

    proofs = 0

    async def _prove(self) -> bool:
        self.proofs += 1
        return await super()._prove()


class Candidate:
    """A process that holds the lead or stands by."""

    def __init__(self, chosen: Settings) -> None:
        self.troubles: Troubles = {}
        self.owned = Owned()
        self.lead = CountingLead(chosen, self.troubles)

    @property
    def leading(self) -> bool:
        return self.lead.leading.is_set()


@asynccontextmanager
async def running(candidate: Candidate) -> AsyncIterator[None]:
    task = asyncio.create_task(candidate.lead.hold(candidate.owned))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def link(database_url: str) -> Iterator[Link]:
    """The way of the first candidate to the database."""
    with Network() as network:
        yield network.link(urlsplit(database_url).port or 5432)


class Patient(Quick):
    """A process that has not lost its lead by time alone."""

    timing = replace(Quick.timing, give_up_s=3600)


def by(link: Link, database_url: str, kind: type[Settings]) -> Settings:
    """Settings under which the database is reached by the link."""
    parts = urlsplit(database_url)
    login = parts.netloc.rpartition("@")[0]
    url = parts._replace(netloc=f"{login}@127.0.0.1:{link.port}").geturl()
    return kind.model_validate({"database_url": url, "mqtt_url": "mqtt://127.0.0.1:1"})


@pytest.fixture
async def first(pool: Pool, database_url: str, link: Link) -> Candidate:
    return Candidate(by(link, database_url, Quick))


@pytest.fixture
async def patient(pool: Pool, database_url: str, link: Link) -> Candidate:
    return Candidate(by(link, database_url, Patient))


@pytest.fixture
def second(database_url: str) -> Candidate:
    return Candidate(settings(database_url))


async def leader(database: asyncpg.Connection) -> int | None:
    """The server process of the connection that holds the lock."""
    pid: int | None = await database.fetchval(
        "select pid from pg_locks where locktype = 'advisory' and granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    return pid


@pytest.mark.parametrize("mode", [Mode.CUT, Mode.HANG])
async def test_who_cannot_prove_the_lead_loses_it_and_the_standby_takes_it(
    first: Candidate, second: Candidate, link: Link, database: asyncpg.Connection, mode: Mode
) -> None:
    async with running(first):
        await until(lambda: first.leading)
        async with running(second):
            await until(lambda: "lead" in second.troubles)
            assert not second.leading
            holder = await leader(database)
            link.set(mode)
            await until(lambda: first.owned.told == ["lead", "stand down"])
            assert not first.leading
            await database.execute("select pg_terminate_backend($1)", holder)  # as the server does by its keep-alive
            await until(lambda: second.leading)
            assert second.troubles == {}
            link.set(Mode.PASS)
            await until(lambda: "standby" in first.troubles.get("lead", ""))
            assert (first.leading, second.leading) == (False, True)
            assert first.lead.epoch < second.lead.epoch


async def test_a_connection_that_is_made_again_in_time_keeps_the_lead(
    first: Candidate, database: asyncpg.Connection
) -> None:
    async with running(first):
        await until(lambda: first.leading)
        for _ in range(2):
            holder = await leader(database)
            await database.execute("select pg_terminate_backend($1)", holder)
            await until(lambda holder=holder: holds_another(database, holder))  # type: ignore[misc]
        assert first.owned.told == ["lead"]
        assert await database.fetchval("select epoch from cells") == first.lead.epoch == 1


async def holds_another(database: asyncpg.Connection, holder: int | None) -> bool:
    return await leader(database) not in (None, holder)


async def test_who_finds_the_lock_free_and_that_another_has_led_meanwhile_has_lost_the_lead(
    patient: Candidate, second: Candidate, link: Link
) -> None:
    """Only the epoch tells."""
    async with running(patient):
        await until(lambda: patient.leading)
        link.set(Mode.CUT)
        async with running(second):
            await until(lambda: second.leading)
        assert patient.owned.told == ["lead"]
        patient.owned.taken_over.set()  # by the other, who led: no stranger
        link.set(Mode.PASS)
        await until(lambda: patient.owned.told == ["lead", "stand down", "lead"])
        assert patient.lead.epoch == second.lead.epoch + 1


async def test_who_is_taken_over_while_the_database_is_away_asks_no_more_often(patient: Candidate, link: Link) -> None:
    async with running(patient):
        await until(lambda: patient.leading)
        link.set(Mode.CUT)
        patient.owned.taken_over.set()
        before, begun = patient.lead.proofs, time.monotonic()
        await asyncio.sleep(5 * Quick.timing.prove_s)
        most = (time.monotonic() - begun) / Quick.timing.prove_s + 2
        assert patient.lead.proofs - before <= most
        assert patient.owned.told == ["lead"]


async def test_who_finds_the_lock_taken_by_another_has_lost_the_lead(
    patient: Candidate, link: Link, database: asyncpg.Connection
) -> None:
    """Also before the other has counted the epoch."""
    async with running(patient):
        await until(lambda: patient.leading)
        link.set(Mode.CUT)
        await until(lambda: took(database))
        link.set(Mode.PASS)
        await until(lambda: patient.owned.told == ["lead", "stand down"])
        await until(lambda: "standby" in patient.troubles.get("lead", ""))


async def took(database: asyncpg.Connection) -> bool:
    return bool(await database.fetchval(LOCK, "biogate cell main"))
