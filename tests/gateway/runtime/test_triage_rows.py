"""Batches that a real server refuses: which are split, and which rows go to quarantine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from deploy.stack import Local, Postgres
from deploy.stack.local import erase
from deploy.stack.paths import Paths
from deploy.stack.ports import any_free
from gateway import metrics
from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.runtime.database import Pool, create_pool
from gateway.storage.write import STUBBORN
from schema.reasons import Reason
from schema.topics import Kind
from tests.databases import make_template, with_database
from tests.gateway.material import DAY_MS, NOW_MS, admitted, counts, frames, make_writer, settings, totals
from tests.gateway.runtime.outlived import items, outlives, own, role, told

__all__ = ["items", "own", "role"]

# -- the batch, or a row of it, is to blame


async def test_a_row_that_the_database_refuses(
    own: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    await database.execute("alter table frames add constraint c check (seq <> 7)")
    outcome = await make_writer(own, registry).write(items)
    assert (counts(outcome), counts(outcome, "status")) == ((19, 0, 1, 0), (1, 0, 0, 0))
    assert outcome.reasons == {Reason.REFUSED: 1}


@pytest.mark.parametrize("state", ["42501", "42P01", "28000", "XX000", "53200"])
async def test_a_row_is_found_whatever_the_database_says_of_it(
    own: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection, state: str
) -> None:
    """Guarantee 5: a batch that keeps failing while the database is well is split. Here a trigger refuses one row."""
    await database.execute(
        f"""create function refuse() returns trigger language plpgsql as $$
            begin if new.seq = 7 then raise exception 'no' using errcode = '{state}'; end if; return new; end $$;
            create trigger refuse before insert on frames for each row execute function refuse()"""
    )
    outcome = await asyncio.wait_for(make_writer(own, registry).write(items), 30)
    assert (counts(outcome), counts(outcome, "status")) == ((19, 0, 1, 0), (1, 0, 0, 0))
    assert await totals(database) == (19, 0, 1, 0)


async def test_a_row_that_is_left_alone_by_a_split_is_tried_as_often_as_a_batch(
    own: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    """It fails for the whole batch, and then for its first row, but passes."""
    await database.execute(
        f"""create sequence tries;
            create function refuse() returns trigger language plpgsql security definer as $$
            begin if nextval('tries') < {2 * STUBBORN} then raise exception 'no' using errcode = '53200'; end if;
            return new; end $$;
            create trigger refuse before insert on frames for each row execute function refuse()"""
    )
    outcome = await asyncio.wait_for(make_writer(own, registry).write(items[:2]), 30)
    assert counts(outcome) == (2, 0, 0, 0)
    assert await database.fetchval("select last_value from tries") > STUBBORN + 2, "it was split"


async def test_what_passes_is_never_held_against_a_row(
    own: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    """A disk that is full for any batch with something in it: split as it may be, nothing goes to quarantine."""
    await database.execute(
        """create function full_() returns trigger language plpgsql as $$
           begin raise exception 'no space' using errcode = '53100'; end $$;
           create trigger full_ before insert on frames for each row execute function full_()"""
    )

    async def nothing() -> None:
        pass

    await outlives(own, registry, items, "53100", nothing, lambda: database.execute("drop trigger full_ on frames"), 14)
    assert await database.fetchval("select count(*) from quarantine") == 0


# -- a server of its own


@pytest.fixture(scope="module")
def small(stack: Local) -> Iterator[Postgres]:
    """A server with room for few locks."""
    paths = Paths(f"{stack.paths.name}/small-{uuid.uuid4().hex[:8]}")
    server = Postgres(
        stack.postgres.place,
        paths,
        port=any_free(),
        programs=stack.postgres.programs,
        settings={"max_locks_per_transaction": "16", "max_connections": "20", "max_worker_processes": "16",
                  "timescaledb.max_background_workers": "4"},
    )  # fmt: skip
    with server:
        asyncio.run(make_template(with_database(server.url, "postgres"), "migrated"))
        yield server
    erase(paths)


@pytest.fixture
async def small_url(small: Postgres) -> str:
    """A migrated database there."""
    admin = await asyncpg.connect(with_database(small.url, "postgres"))
    await admin.execute("drop database if exists gateway with (force)")
    await admin.execute("create database gateway template migrated")
    await admin.close()
    url = with_database(small.url, "gateway")
    connection = await asyncpg.connect(url)
    await connection.execute("insert into devices (name) values ('r1')")
    await connection.close()
    return url


@pytest.fixture
async def small_pool(small_url: str) -> AsyncIterator[Pool]:
    chosen = settings(small_url)
    async with create_pool(chosen) as pool:
        await prepare(pool, chosen)
        yield pool


async def test_a_batch_that_needs_more_locks_than_there_are_is_split(small_pool: Pool) -> None:
    registry = Registry(small_pool, max_channels=256, max_layouts=64)
    await registry.load()
    sent = await frames(registry, "r1", *((day * DAY_MS, {"ph": 1.0}) for day in range(400)))
    failed = metrics.WRITE_FAILURES.labels("53200")
    before = failed._value.get()
    outcome = await make_writer(small_pool, registry, max_chunks=10**6).write(sent)
    assert counts(outcome) == (400, 0, 0, 0)
    assert failed._value.get() > before
    assert await small_pool.fetchval("select committed from intake_totals where kind = 'frame'") == 400
    assert await small_pool.fetchval("select count(*) from quarantine") == 0


async def test_a_server_that_shuts_down_and_comes_again(small: Postgres, small_pool: Pool) -> None:
    registry = Registry(small_pool, max_channels=256, max_layouts=64)
    await registry.load()
    items: list[Item] = [*await frames(registry, "r1", *((NOW_MS + n, {"ph": 7.0}) for n in range(20)))]
    items += await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS})

    async def stop() -> None:
        small.stop()

    async def start() -> None:
        small.start()

    log = await outlives(small_pool, registry, items, "ConnectionRefusedError", stop, start, 3)
    assert told(log) == []
