"""Logins for Grafana and notebooks: they are the first organization's alone and see the views of the schema org,
with its rows; settings, rights and the leading gateway bound what they cost."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.admin import sql as admin_sql
from schema.console import Refused
from schema.migrate import GATEWAY, LOGINS, MIGRATIONS, migrate
from tests.api.tenants import Tenant
from tests.gateway.material import until
from tests.roles import as_role
from tests.schema.logins import login, sql_login, tenants, with_login
from tests.schema.records import after, layout
from tests.schema.test_isolation_sql import CHANGEABLE, READABLE, names, text, views

__all__ = ["login", "tenants"]


async def test_each_view_shows_one_s_own_and_nothing_else(
    database: asyncpg.Connection, login: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    for view in await views(database, "org"):
        seen = await text(login, view)  # without a schema: by the search path
        assert tenants["main"].shown(seen), f"{view}: {seen}"
        for other in ("alpha", "beta"):
            assert not tenants[other].shown(seen), view


@pytest.mark.parametrize("organization", ["alpha", "beta"])
async def test_another_organization_gets_no_login(
    database: asyncpg.Connection, tenants: dict[str, Tenant], organization: str
) -> None:
    """By a filter that is pushed below the barrier its login found a sample of another one in 36 queries."""
    name = f"tenant_{os.urandom(4).hex()}"
    with pytest.raises(Refused, match="of the organization that runs the installation"):
        await admin_sql.add_login(database, name, organization, "password")
    with pytest.raises(asyncpg.CheckViolationError):  # whoever does it
        await database.execute(
            "insert into sql_logins (role, organization_id) values ($1, $2)",
            *(name, tenants[organization].organization_id),
        )
    assert not await database.fetchval("select true from pg_roles where rolname = $1", name)


async def test_the_migration_ends_the_logins_that_other_organizations_had(
    database: asyncpg.Connection, database_url: str, tenants: dict[str, Tenant]
) -> None:
    names = {it: f"was_{os.urandom(4).hex()}" for it in ("main", "alpha")}
    apply, roll_back = (MIGRATIONS / "0018_tenants_apart.sql").read_text().split("-- migrate: rollback")
    await database.execute(roll_back)
    for organization, name in names.items():
        await database.execute(f"create role {name} login password 'x' in role biogate_sql")
        await database.execute(
            "insert into sql_logins (role, organization_id) values ($1, $2)",
            *(name, tenants[organization].organization_id),
        )
    sessions = {it: await asyncpg.connect(with_login(database_url, name, "x")) for it, name in names.items()}
    try:
        await database.execute(apply)
        gone = "select not exists (select from pg_stat_activity where usename = $1)"
        await until(lambda: database.fetchval(gone, names["alpha"]))
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(with_login(database_url, names["alpha"], "x"))
        assert await sessions["main"].fetchval("select count(*) from org.devices") == 1
        ended = await database.fetch("select organization_id, subject from audit where action = 'sql-login end'")
        assert [tuple(row) for row in ended] == [(tenants["alpha"].organization_id, f"sql-login/{names['alpha']}")]
    finally:
        for session in sessions.values():
            session.terminate()
        await database.execute(f"drop owned by {names['main']}; drop role {names['main']}, {names['alpha']}")


async def test_aggregates_are_those_of_the_plain_views(
    database: asyncpg.Connection, login: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    """In both editions, and in the same columns."""
    for view in ("telemetry_1m", "telemetry_1h"):
        columns = (
            "bucket, device_id, c.name, coalesce(t.units[1], t.unit) as unit, sum, count, min, max, first, last, bad"
        )
        wanted = await database.fetch(
            f"select d.name as device, {columns} from public.{view}"
            " join devices d using (device_id) join channels c using (channel_id)"
            " join channel_terms t using (device_id, channel_id) where d.organization_id = $1",
            tenants["main"].organization_id,
        )
        shown = columns.replace("c.name", "channel").replace("coalesce(t.units[1], t.unit) as unit", "unit")
        found = await login.fetch(f"select device, {shown} from {view}")
        assert sorted(map(repr, map(tuple, found))) == sorted(map(repr, map(tuple, wanted)))
        assert len(found) == 3


async def test_who_is_in_the_role_but_nobody_s_login_sees_nothing(database: asyncpg.Connection, tenants: Any) -> None:
    await database.execute("set role biogate_sql")
    for view in await views(database, "org"):
        assert await database.fetchval(f"select count(*) from org.{view}") == 0, view


async def test_a_login_reads_these_views_and_writes_nothing(
    database: asyncpg.Connection, login: asyncpg.Connection
) -> None:
    role = await login.fetchval("select current_user")
    assert await names(database, READABLE, role) == {f"org.{view}" for view in await views(database, "org")}
    assert await names(database, CHANGEABLE, role) == set()
    open_ = await database.fetch(
        "select relname from pg_class where relnamespace = 'org'::regnamespace and relkind = 'v'"
        " and not coalesce('security_barrier=true' = any (reloptions), false)"
    )
    assert open_ == [], "these views let conditions see other rows: with (security_barrier)"


PLANS = "set enable_nestloop = off; set enable_indexscan = off; set enable_bitmapscan = off"
"""Anybody can have these, and then the rows of others are read."""


async def columns(database: asyncpg.Connection) -> list[tuple[str, str]]:
    found = await database.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'org' order by 1, 2"
    )
    return [(row[0], row[1]) for row in found]


async def test_leaky_conditions_see_no_other_rows(
    database: asyncpg.Connection, login: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    """A function that tells what it is given, as cheap as can be; and errors with the value in them."""
    await database.execute(
        """create function public.tell(text) returns boolean cost 0.0000001 language plpgsql as $$
           begin raise notice '%', $1; return true; end $$"""
    )
    told: list[str] = []
    await login.execute(PLANS)
    login.add_log_listener(lambda _, message: told.append(message.message))
    own, others = tenants["main"], [tenants["alpha"], tenants["beta"]]
    for view, column in await columns(database):
        for condition in (f'public.tell("{column}"::text)', f'"{column}"::text::xml is document'):
            try:
                await login.fetch(f"select 1 from {view} where {condition}")
                await login.fetch(f"select 1 from {view} order by {condition}")
            except asyncpg.PostgresError as error:
                told.append(str(error))
        for condition in (f"\"{column}\"::text like '%zqalpha%'", f"\"{column}\"::text ~ 'zqbeta'"):
            assert await login.fetchval(f"select count(*) from {view} where {condition}") == 0
    await asyncio.sleep(0.1)
    said = "\n".join(told)
    assert own.shown(said)
    for other in others:
        assert not other.shown(said)


async def test_without_the_barrier_the_leak_is_found(
    database: asyncpg.Connection, login: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    """The test above can fail."""
    await database.execute(
        """create function public.tell(text) returns boolean cost 0.0000001 language plpgsql as $$
           begin raise notice '%', $1; return true; end $$"""
    )
    await database.execute("alter view org.annotations reset (security_barrier)")
    told: list[str] = []
    await login.execute(PLANS)
    login.add_log_listener(lambda _, message: told.append(message.message))
    await login.fetch("select 1 from annotations where public.tell(text)")
    await asyncio.sleep(0.1)
    assert tenants["alpha"].shown("\n".join(told))


async def test_a_login_cannot_get_out(
    database: asyncpg.Connection, login: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    owner = await database.fetchval("select current_user")
    other = f"other_{os.urandom(4).hex()}"
    await database.execute(f"create role {other} in role biogate_sql")
    await login.execute("set default_transaction_read_only = off")
    for step in (
        *("select * from public.devices", "select * from api.devices", "select * from public.users"),
        *("select * from public.telemetry", "select api.organization()", "select api.account('x')"),
        *(f'set role "{owner}"', f'set role "{other}"', "set role biogate_api", f'set session authorization "{other}"'),
        *("create table x ()", "create table public.x ()", "create temporary table x ()", "create schema x"),
        *("create function pg_temp.f() returns int return 1", "create view org.x as select 1"),
        *("insert into devices (device) values ('x')", "update audit set who = 'x'", "delete from devices"),
        *("select pg_read_file('/etc/passwd')", "copy devices to program 'true'", "copy devices to '/tmp/x'"),
        *("select pg_advisory_lock(1635083369, 2)", "select pg_try_advisory_xact_lock(1)", "select lo_create(0)"),
        *("select lo_from_bytea(0, 'x')", "select pg_ls_dir('.')", "select pg_reload_conf()"),
        *("select lo_put(1, 0, 'x')", "select lowrite(0, 'x')", "do $$ begin end $$"),
        *("select pg_notify('x', n::text) from generate_series(1, 10) n", "select pg_export_snapshot()"),
        *("select public.notice_channel('x')", "select public.notice_send('x', 'x')", "select api.notice_channel('x')"),
        *("select * from public.notice_names", "select pg_logical_emit_message(false, 'x', repeat('x', 1000))"),
        "select add_job('pg_sleep(double precision)'::regprocedure, '1 hour')",
        *(
            "set temp_file_limit = -1",
            "alter role current_user connection limit 100",
            "alter role current_user createdb",
        ),
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
            await login.execute(step)
    for relation in await database.fetch("select show_chunks('frames')::text"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"select * from {relation[0]}")
    for setting in ("set search_path = public", "set row_security = off"):
        await login.execute(setting)
    with pytest.raises(asyncpg.UndefinedTableError):
        await login.fetch("select * from devices_")


NEEDED = "select pg_advisory_unlock_all(), pg_try_advisory_lock(7), pg_advisory_unlock(7), pg_notify('x', '')"
"""A pool returns a connection with the first, leaders hold the second, what is new is told by the last."""


@pytest.mark.parametrize("role", LOGINS)
async def test_what_a_login_may_not_use_each_process_may(
    database: asyncpg.Connection, database_url: str, login: asyncpg.Connection, role: str
) -> None:
    process = await asyncpg.connect(as_role(database_url, role))
    await process.execute(NEEDED)
    await process.reset()
    if role != GATEWAY:  # as a version left it that knew the gateway alone
        for function in ("pg_advisory_unlock_all()", "pg_notify(text, text)", "pg_try_advisory_lock(bigint)"):
            await database.execute(f"revoke execute on function {function} from {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await process.execute(NEEDED)
        await migrate(database)
        await process.execute(NEEDED)
    await process.close()


async def test_a_login_does_not_see_what_others_ask_and_cannot_end_it(
    database: asyncpg.Connection, database_url: str, login: asyncpg.Connection
) -> None:
    async with sql_login(database, database_url) as url:
        other = await asyncpg.connect(url)
        theirs = await other.fetchval("select pg_backend_pid() /* hidden */")
        mine = await login.fetchval("select pg_backend_pid()")
        rows = await login.fetch("select pid, query, client_addr from pg_stat_activity")
        seen = {row["pid"]: row["query"] for row in rows}
        assert "pg_stat_activity" in seen[mine]
        assert {query for pid, query in seen.items() if pid != mine} <= {"<insufficient privilege>", None}
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.execute(f"select {function}({theirs})")
        await other.close()


async def test_a_login_s_settings_bound_mistakes(
    database: asyncpg.Connection, database_url: str, tenants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sql_login(database, database_url) as url:
        connections = [await asyncpg.connect(url) for _ in range(admin_sql.MOST_CONNECTIONS)]
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(url)
        for name, value in (admin_sql.SETTINGS | admin_sql.SUPERUSER_SETTINGS).items():
            assert (await connections[0].fetchval(f"show {name}")).replace("1min", "60s") == value.strip("'")
        for connection in connections:
            await connection.close()
        role = urlsplit(url).username
        everywhere = await database.fetchval(
            "select setconfig from pg_db_role_setting where setdatabase = 0 and setrole = $1::text::regrole",
            f'"{role}"',
        )
        assert len(everywhere) == len(admin_sql.SETTINGS | admin_sql.SUPERUSER_SETTINGS)  # in whichever database
    monkeypatch.setitem(admin_sql.SETTINGS, "statement_timeout", "'300ms'")
    monkeypatch.setitem(admin_sql.SUPERUSER_SETTINGS, "temp_file_limit", "'1MB'")
    async with sql_login(database, database_url) as url:
        connection = await asyncpg.connect(url)
        for long in ("select pg_sleep(20)", "select count(*) from generate_series(1, 1000000000000)"):
            with pytest.raises((asyncpg.QueryCanceledError, asyncpg.ConfigurationLimitExceededError)):
                await connection.execute(long)
        await connection.execute("set statement_timeout = '60s'; set work_mem = '64kB'")
        with pytest.raises(asyncpg.ConfigurationLimitExceededError):
            await connection.execute("select n from generate_series(1, 1000000) n order by -n")
        await connection.close()


async def fill(database: asyncpg.Connection) -> None:
    """200 devices of two organizations, four days, 50 frames a day."""
    await database.execute(
        "insert into organizations (name, title) values ('other', 'Other');"
        "insert into devices (name, organization_id)"
        " select 'br-' || n, 1 + n % 2 * (select max(organization_id) - 1 from organizations)"
        " from generate_series(1, 200) n"
    )
    await layout(database, "temperature", "ph", "agitation")
    await database.execute(
        """insert into frames (time, device_id, layout_id, received_at, values)
           select t, device_id, (select max(layout_id) from layouts), t, array_fill(1.0::float8, array[20])
             from generate_series($1::timestamptz, $1 + interval '345599 s', interval '1728 s') t, devices
            order by t, device_id""",
        after(-12 * 3600),
    )
    await database.execute("vacuum analyze frames")
    await database.execute("analyze")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


RANGE = "between '2024-05-18 06:00Z' and '2024-05-18 12:00Z'"
QUERIES = {
    "raw": f"select time, value from telemetry where device = 'br-8' and channel = 'ph' and time {RANGE} order by time",
    "by number": f"select time, value from telemetry where device_id = 8 and channel = 'ph' and time {RANGE}",
    "buckets": "select time_bucket('1 hour', time) as time, avg(value) from telemetry"
    f" where device = 'br-8' and channel in ('ph') and time {RANGE} group by 1 order by 1",
    "minutes": "select bucket, sum / count from telemetry_1m"
    f" where device = 'br-8' and channel = 'ph' and bucket {RANGE}",
    "hours": f"select bucket, sum / count from telemetry_1h where device_id = 8 and channel = 'ph' and bucket {RANGE}",
}


async def test_grafana_s_queries_read_their_part_of_one_chunk_by_the_key(
    database: asyncpg.Connection, database_url: str
) -> None:
    """And about as many pages as the same query of the plain view."""
    await fill(database)
    explain = "explain (analyze, buffers, format json)"
    async with sql_login(database, database_url) as url:
        login = await asyncpg.connect(url)
        for name, query in QUERIES.items():
            assert await login.fetch(query), name
            (answer,) = json.loads(await login.fetchval(f"{explain} {query}"))
            found = list(nodes(answer["Plan"]))
            read = [node for node in found if node.get("Relation Name", "").startswith("_hyper")]
            keys = [node["Index Cond"] for node in found if "frames_pkey" in node.get("Index Name", "")]
            assert len(read) == len(keys) == 1, f"{name}: {answer}"
            assert "device_id = " in keys[0], name
            assert '"time"' in keys[0], name
            assert read[0]["Actual Rows"] + read[0].get("Rows Removed by Filter", 0) < 100, name
            if name in {"raw", "by number", "buckets"}:
                (plain,) = json.loads(await database.fetchval(f"{explain} {query}"))
                assert answer["Plan"]["Shared Hit Blocks"] <= 2 * plain["Plan"]["Shared Hit Blocks"] + 10, name
        assert await login.fetch(QUERIES["raw"].replace("br-8", "br-9")) == []
        await login.close()
