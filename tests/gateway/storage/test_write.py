"""A batch → the database through refusals, killed connections and lost answers: written once, counted once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import urlsplit

import asyncpg
import msgpack
import pytest

from gateway.errors import Rejected
from gateway.intake.accounting import ItemCounts, record
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject, reject_item
from gateway.items import Frame, Item
from gateway.runtime.database import Pool, PoolConnection, Troubles, create_pool
from gateway.settings import IMPORT
from gateway.storage.transaction import committed, store
from gateway.storage.write import Writer
from schema.reasons import Reason
from schema.topics import Kind
from tests.gateway.material import (
    DAY_MS,
    NOW_MS,
    REFUSED_AT_COMMIT,
    admitted,
    counts,
    delivery,
    frames,
    make_writer,
    settings,
    totals,
    until,
)
from tests.locks import AT_A_LOCK, waits_at_a_lock

AT_COMMIT = "select pid from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"


class Proxy:
    """A TCP link to the database that can be cut."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        """The database's URL through this link."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()

    def cut(self) -> None:
        """Break what is connected now; who connects again gets through."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(pool: Pool, database_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(database_url)
    yield proxy
    await proxy.close()


@pytest.fixture
async def linked(proxy: Proxy) -> AsyncIterator[Pool]:
    """A pool through the proxy."""
    async with create_pool(settings(await proxy.start())) as pool:
        yield pool


async def stored(database: asyncpg.Connection) -> list[int]:
    return [row["seq"] for row in await database.fetch("select seq from frames order by seq")]


async def test_a_batch_of_everything_is_stored_and_counted(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": 7.0}) for n in range(3)))
    rejected = reject_item(sent[2], Reason.TOO_OLD, "a\0b\ud800")
    outcome = await writer.write([sent[0], rejected, sent[1], rejected])
    assert counts(outcome) == (2, 1, 1, 0)
    assert outcome.reasons == {Reason.TOO_OLD: 1}
    assert await totals(database) == (2, 1, 1, 0)
    row = await database.fetchrow("select reason, detail, payload, topic, device from quarantine")
    assert msgpack.unpackb(row["payload"]) == {"t": NOW_MS + 2, "v": {"ph": 7.0}, "boot": 1, "seq": 2}
    assert (row["reason"], row["detail"], row["device"]) == ("too-old", "a\N{REPLACEMENT CHARACTER}b?", "r1")


async def test_a_frame_the_database_refuses_is_found_and_its_neighbours_are_stored(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await database.execute("alter table frames add check (values[1] <> 666)")
    values = [666.0 if n in (0, 77, 78, 99) else float(n) for n in range(100)]
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": value}) for n, value in enumerate(values)))
    outcome = await writer.write(sent)
    assert counts(outcome) == (96, 0, 4, 0)
    assert outcome.reasons == {Reason.REFUSED: 4}
    assert await stored(database) == [n for n in range(100) if n not in (0, 77, 78, 99)]
    refused = await database.fetch("select reason, detail, payload from quarantine order by quarantine_id")
    assert [msgpack.unpackb(row["payload"])["seq"] for row in refused] == [0, 77, 78, 99]
    assert all(row["reason"] == "refused" and "23514" in row["detail"] for row in refused)
    assert await totals(database) == (96, 0, 4, 0)


async def test_a_refused_frame_among_duplicates_is_found_too(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": 666.0 if n == 5 else 1.0}) for n in range(20)))
    await writer.write(sent[10:])
    await database.execute("alter table frames add check (values[1] <> 666)")
    assert counts(await writer.write(sent)) == (9, 10, 1, 0)
    assert counts(await writer.write(sent)) == (0, 20, 0, 0)
    assert await totals(database) == (19, 30, 1, 0)


async def test_a_row_refused_for_what_looks_transient_is_found_after_some_tries(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await database.execute(
        """create function no_room() returns trigger language plpgsql as $$
           begin raise exception 'no room' using errcode = '53200'; end $$;
           create trigger no_room before insert on statuses for each row execute function no_room()"""
    )
    items: list[Item] = [*(await frames(registry, "r1", (NOW_MS, {"ph": 1.0})))]
    items += await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS})
    outcome = await writer.write(items)
    assert counts(outcome) == (1, 0, 0, 0)
    assert counts(outcome, "status") == (0, 0, 1, 0)


async def test_a_quarantined_message_from_a_device_with_an_endless_name_is_stored(
    writer: Writer, database: asyncpg.Connection
) -> None:
    name = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyzäöü0123456789", k=60_000))
    topic = f"bioreactors/{name}/telemetry"
    unknown = reject(delivery(b"x", topic), Rejected(Reason.UNKNOWN_DEVICE, "no such device"))
    async with asyncio.timeout(20):
        assert counts(await writer.write([unknown])) == (0, 0, 1, 0)
    assert tuple(await database.fetchrow("select topic, device from quarantine")) == (topic, name[:64])


async def test_many_rejects_are_stored_a_portion_at_a_time_and_counted_as_one(
    writer: Writer, registry: Registry, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.transaction.STATEMENT_BYTES", 100)
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": 1.0}) for n in range(50)))
    rejects = [reject_item(frame, Reason.TOO_OLD, "") for frame in sent]
    assert counts(await writer.write(rejects[:30])) == (0, 0, 30, 0)
    assert counts(await writer.write(rejects + rejects[-3:])) == (0, 33, 20, 0)
    assert await database.fetchval("select count(*) from quarantine") == 50


async def test_a_batch_over_hundreds_of_days_is_stored_a_few_chunks_at_a_time(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    sent: list[Item] = [*await frames(registry, "r1", *((day * DAY_MS + 5, {"ph": 1.0}) for day in range(300)))]
    random.Random(1).shuffle(sent)
    sent += await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS})
    outcome = await make_writer(pool, registry, max_chunks=32).write(sent)
    assert counts(outcome) == (300, 0, 0, 0)
    assert counts(outcome, "status") == (1, 0, 0, 0)
    assert await totals(database) == (300, 0, 0, 0)
    by_transaction = await database.fetch("select count(distinct time::date) as days from frames group by xmin::text")
    assert sum(row["days"] for row in by_transaction) == 300
    assert max(row["days"] for row in by_transaction) == 32


async def test_a_connection_killed_while_writing_costs_nothing(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    troubles: Troubles = {}
    sent = await frames(registry, "r1", *((NOW_MS + n, {"ph": 1.0}) for n in range(100)))
    async with database.transaction():
        await database.execute("select from intake_totals for update")  # the last statement of a batch waits here
        writing = asyncio.create_task(make_writer(pool, registry, troubles).write(sent))
        for _ in range(3):
            troubles.clear()
            await until(lambda: waits_at_a_lock(pool))
            await pool.execute(f"select pg_terminate_backend(pid) from ({AT_A_LOCK}) as writing")
            await until(lambda: troubles)
    assert counts(await writing) == (100, 0, 0, 0)
    assert await stored(database) == list(range(100))
    assert await totals(database) == (100, 0, 0, 0)
    assert not troubles


SLOW_COMMIT = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
create constraint trigger slow after update on intake_totals deferrable initially deferred
    for each row execute function slow()"""


@pytest.mark.parametrize("killed", [True, False])
async def test_a_lost_answer_to_commit_is_looked_up_and_the_batch_counted_once(
    pool: Pool, linked: Pool, proxy: Proxy, registry: Registry, database: asyncpg.Connection, killed: bool
) -> None:
    sent: list[Frame] = await frames(registry, "r1", *((NOW_MS + n, {"ph": 1.0}) for n in range(10)))
    await database.execute(SLOW_COMMIT)
    writing = asyncio.create_task(make_writer(linked, registry).write(sent))
    await until(lambda: database.fetchval(AT_COMMIT))
    ids = "select array_agg(distinct xmin::text) from frames"
    proxy.cut()
    if killed:
        await database.execute(f"select pg_terminate_backend(pid) from ({AT_COMMIT}) as committing")
    assert counts(await writing) == (10, 0, 0, 0)
    assert len(await database.fetchval(ids)) == 1
    assert await stored(database) == list(range(10))
    assert await totals(database) == (10, 0, 0, 0)


async def test_what_became_of_a_batch_is_known(pool: Pool, database: asyncpg.Connection) -> None:
    async def batch() -> int:
        return await record(cast(PoolConnection, database), "main", ItemCounts(committed=Counter({"frame": 1})))

    assert await committed(pool, "main", await batch()) is True
    transaction = database.transaction()
    await transaction.start()
    running = await batch()
    assert await committed(pool, "main", running) is None
    await transaction.rollback()
    assert await committed(pool, "main", running) is False
    assert await committed(pool, "main", running + 1_000_000) is False


async def test_what_became_of_a_batch_is_known_while_other_imports_count_themselves_into_the_same_row(
    pool: Pool, database: asyncpg.Connection
) -> None:
    connection = cast(PoolConnection, database)
    await database.execute("insert into cells (cell, client_id) values ($1, 'x')", IMPORT)
    await database.execute("insert into intake_totals (cell, kind) values ($1, 'frame')", IMPORT)
    async with database.transaction():
        batch = await record(connection, IMPORT, ItemCounts(committed=Counter({"frame": 1})))
        await database.execute(
            "insert into imports (organization_id, name, sha256, plan, who) values (1, 'a.csv', '', '', 'eva')"
        )
    other = await record(connection, IMPORT, ItemCounts(committed=Counter({"frame": 1})))
    assert [await committed(pool, IMPORT, each) for each in (batch, other, other + 1_000_000)] == [True, True, False]


async def test_a_transaction_that_has_got_the_id_of_a_lost_batch_is_not_taken_for_it(
    pool: Pool, database: asyncpg.Connection
) -> None:
    """A server that crashed gives ids again that were not on its disk."""
    other = await database.fetchval("select pg_current_xact_id()::text::bigint")
    assert await committed(pool, "main", other) is False


async def test_a_commit_that_the_database_refuses_leads_to_what_it_refuses(
    writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await database.execute(REFUSED_AT_COMMIT)
    status = {"status": "online", "t": NOW_MS}
    items = await admitted(registry, Kind.STATUS, status | {"firmware": "bad"}, status | {"boot": 1})
    async with asyncio.timeout(20):
        assert counts(await writer.write(items), "status") == (1, 0, 1, 0)


async def test_nothing_of_a_batch_is_stored_when_the_writer_is_cancelled(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    sent = await frames(registry, "r1", (NOW_MS, {"ph": 1.0}))
    async with database.transaction():
        await database.execute("select from intake_totals for update")
        writing = asyncio.create_task(store(pool, registry, "main", sent, conflicting=False))
        await until(lambda: waits_at_a_lock(database))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await stored(database) == []
    assert await totals(database) == (0, 0, 0, 0)
