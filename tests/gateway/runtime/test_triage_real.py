"""Every class of error, provoked on a real server: what is waited out, what a person is called for, what is split."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from deploy.stack import Local, Postgres
from deploy.stack.local import erase
from deploy.stack.paths import Paths
from deploy.stack.ports import any_free
from gateway import metrics
from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.runtime.database import Pool, Troubles, create_pool
from gateway.runtime.triage import TriageVerdict, sqlstate, triage
from schema.migrate import migrate
from schema.reasons import Reason
from schema.topics import Kind
from tests.conftest import Broker, with_database
from tests.gateway.material import DAY_MS, NOW_MS, admitted, counts, frames, make_writer, settings, totals, until
from tests.gateway.test_path import publish
from tests.processes import GatewayProcess, wait_until

Act = Callable[[], Awaitable[Any]]

GRANTS = """
grant select, insert, update, delete on all tables in schema public to {0};
grant usage on all sequences in schema public to {0}"""


@pytest.fixture
async def role(database: asyncpg.Connection, pool: Pool) -> AsyncIterator[str]:
    """A login that is no superuser, with the rights that the gateway needs."""
    name = f"gateway_{os.urandom(4).hex()}"
    await database.execute(f"create role {name} login password 'right'")
    await database.execute(GRANTS.format(name))
    yield name
    await database.execute(f"drop owned by {name}; drop role {name}")


@pytest.fixture
async def own(role: str, database_url: str) -> AsyncIterator[Pool]:
    """A pool under that login."""
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{role}:right@{parts.netloc.rpartition('@')[2]}").geturl()
    async with create_pool(settings(url)) as pool:
        yield pool


@pytest.fixture
async def items(registry: Registry) -> list[Item]:
    made: list[Item] = [*await frames(registry, "r1", *((NOW_MS + n, {"ph": 7.0}) for n in range(20)))]
    return made + await admitted(registry, Kind.STATUS, {"status": "online", "t": NOW_MS})


async def outlives(
    pool: Pool, registry: Registry, items: list[Item], state: str, begin: Act, end: Act, failures: int = 1
) -> list[Any]:
    """Write while it is so; the log. Nothing may be lost, split into the quarantine, or counted twice."""
    troubles: Troubles = {}
    failed = metrics.WRITE_FAILURES.labels(state)
    before = failed._value.get()
    await begin()
    with capture_logs() as log:
        writing = asyncio.create_task(make_writer(pool, registry, troubles).write(items))
        async with asyncio.timeout(30):
            while failed._value.get() < before + failures:
                await asyncio.sleep(0.01)
                assert not writing.done(), await writing
        assert state in troubles["write"]
        await end()
        outcome = await asyncio.wait_for(writing, 30)
    assert counts(outcome) == (20, 0, 0, 0)
    assert counts(outcome, "status") == (1, 0, 0, 0)
    assert not troubles
    return log


def told(log: list[Any]) -> list[str]:
    """What was said of it as an error, for people."""
    return [entry["event"] for entry in log if entry["log_level"] == "error"]


# -- a person has to do something


async def test_a_changed_password(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    await own.fetchval("select 1")

    async def begin() -> None:
        await database.execute(f"alter role {role} password 'other'")
        await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)

    log = await outlives(
        own, registry, items, "28P01", begin, lambda: database.execute(f"alter role {role} password 'right'"), 3
    )
    assert told(log) == [
        "cannot write: the database refuses the login: check user and password in BIOGATE_DATABASE_URL"
    ]


async def test_a_login_that_is_locked(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    log = await outlives(
        own,
        registry,
        items,
        "28000",
        lambda: database.execute(f"alter role {role} nologin"),
        lambda: database.execute(f"alter role {role} login"),
    )
    assert len(told(log)) == 1


async def test_a_database_that_is_not_there(
    registry: Registry, items: list[Item], postgres_url: str, template: str
) -> None:
    name = f"later_{os.urandom(4).hex()}"
    admin = await asyncpg.connect(postgres_url)
    chosen = settings(with_database(postgres_url, name))

    async def nothing() -> None:
        pass

    async def create() -> None:
        """Let the writer find it with its device: it tries again at any moment."""
        await admin.execute(f"create database {name}_new template {template}")
        connection = await asyncpg.connect(with_database(postgres_url, f"{name}_new"))
        await connection.execute("insert into devices (name) values ('r1')")
        await connection.close()
        await admin.execute(f"alter database {name}_new rename to {name}")

    async with create_pool(chosen) as pool:
        log = await outlives(pool, registry, items, "3D000", nothing, create)
    assert "there is no such database" in told(log)[0]
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.mark.parametrize(
    ("state", "begin", "end", "word"),
    [
        ("42P01", "alter table statuses rename to gone", "alter table gone rename to statuses", "biogate migrate"),
        ("42P01", "alter table frames rename to gone", "alter table gone rename to frames", "biogate migrate"),
        (
            "42703",
            "alter table statuses rename oldest_seq to o",
            "alter table statuses rename o to oldest_seq",
            "biogate migrate",
        ),
        ("42501", "revoke insert on frames from {role}", "grant insert on frames to {role}", "a right is missing"),
        ("42501", "revoke all on quarantine from {role}", "grant all on quarantine to {role}", "a right is missing"),
    ],
)
async def test_a_missing_table_column_or_right(
    own: Pool,
    role: str,
    registry: Registry,
    items: list[Item],
    database: asyncpg.Connection,
    state: str,
    begin: str,
    end: str,
    word: str,
) -> None:
    """Longer than it would take to split, were it the batch's fault."""
    if "quarantine" in begin:
        poison = await admitted(registry, Kind.EVENT, {"t": 1, "type": "x"})
        items = items + poison
    log = await outlives(
        own,
        registry,
        items,
        state,
        lambda: database.execute(begin.format(role=role)),
        lambda: database.execute(end.format(role=role)),
        6 if "statuses rename to" in begin or "quarantine" in begin else 1,
    )
    assert len(told(log)) == 1, log
    assert word in told(log)[0]


async def test_readiness_and_the_log_say_what_has_to_be_done(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    await database.execute("alter table statuses rename to gone")
    await publish(broker, [("bioreactors/r1/status", b'{"status": "online", "t": 1}')])
    wait_until(lambda: "biogate migrate" in gateway.get("/ready")[1], 30, gateway.log.read_text)
    assert gateway.get("/ready")[0] == 503
    await database.execute("alter table gone rename to statuses")
    gateway.settle(1, "status")
    wait_until(lambda: gateway.get("/ready")[0] == 200, 30)
    assert gateway.log.read_text().count('"level": "error"') == 1


async def test_a_schema_that_is_behind_is_waited_for(gateway: GatewayProcess, database: asyncpg.Connection) -> None:
    await database.execute("create table kept as select * from _pogo_migration; delete from _pogo_migration")
    gateway.start(ready=False)
    wait_until(lambda: "biogate migrate" in gateway.get("/ready")[1], 30, gateway.log.read_text)
    await database.execute("insert into _pogo_migration overriding system value select * from kept")
    gateway.wait_ready()


# -- it passes by itself


async def test_too_many_connections(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    log = await outlives(
        own,
        registry,
        items,
        "53300",
        lambda: database.execute(f"alter role {role} connection limit 0"),
        lambda: database.execute(f"alter role {role} connection limit -1"),
    )
    assert told(log) == []


async def test_a_database_that_is_read_only(
    own: Pool, role: str, registry: Registry, items: list[Item], database: asyncpg.Connection
) -> None:
    async def read_only(value: str) -> None:
        await database.execute(f"alter role {role} set default_transaction_read_only = {value}")
        await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)

    log = await outlives(own, registry, items, "25006", lambda: read_only("on"), lambda: read_only("off"), 6)
    assert told(log) == []


async def test_a_deadlock(pool: Pool, registry: Registry, items: list[Item], database: asyncpg.Connection) -> None:
    """We hold statuses and wait for the totals; somebody holds the totals and waits for statuses."""
    await database.execute("set deadlock_timeout = '10s'")  # it is the other one that is to give in
    transaction = database.transaction()
    await transaction.start()
    await database.execute("select from intake_totals for update")
    before = metrics.WRITE_FAILURES.labels("40P01")._value.get()
    writing = asyncio.create_task(make_writer(pool, registry).write(items))
    await until(lambda: pool.fetchval("select count(*) from pg_stat_activity where wait_event_type = 'Lock'"))
    await database.execute("lock table statuses in access exclusive mode")
    await transaction.commit()
    assert counts(await asyncio.wait_for(writing, 20)) == (20, 0, 0, 0)
    assert metrics.WRITE_FAILURES.labels("40P01")._value.get() == before + 1


@pytest.mark.parametrize(
    ("settings_", "state"),
    [("lock_timeout = '50ms'", "55P03"), ("statement_timeout = '50ms'", "57014")],
)
async def test_a_lock_that_somebody_holds(
    own: Pool,
    role: str,
    registry: Registry,
    items: list[Item],
    database: asyncpg.Connection,
    settings_: str,
    state: str,
) -> None:
    await database.execute(f"alter role {role} set {settings_}")
    transaction = database.transaction()

    async def begin() -> None:
        await transaction.start()
        await database.execute("lock table statuses in access exclusive mode")

    assert told(await outlives(own, registry, items, state, begin, transaction.commit, 6)) == []


async def test_a_serialization_failure_is_tried_again(database: asyncpg.Connection, pool: Pool) -> None:
    transaction = database.transaction(isolation="serializable")
    await transaction.start()
    await database.fetchval("select committed from intake_totals where kind = 'frame'")
    await pool.execute("update intake_totals set committed = 1 where kind = 'frame'")
    with pytest.raises(asyncpg.SerializationError) as caught:
        await database.execute("update intake_totals set committed = 2 where kind = 'frame'")
    await transaction.rollback()
    assert (sqlstate(caught.value), triage(caught.value)) == ("40001", TriageVerdict.TRANSIENT)


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
        yield server
    erase(paths)


@pytest.fixture
async def small_url(small: Postgres) -> str:
    """A migrated database there."""
    admin = await asyncpg.connect(with_database(small.url, "postgres"))
    await admin.execute("drop database if exists gateway with (force)")
    await admin.execute("create database gateway template template0")
    await admin.close()
    url = with_database(small.url, "gateway")
    connection = await asyncpg.connect(url)
    await migrate(connection)
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
