"""At the database: the API's role sees and changes what is the organization's that it was told, and nothing else. All
cases are made from the catalogue: a view or function that this file does not know fails here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from api.access.tokens import hashed
from tests.api.plant import at
from tests.api.tables import state
from tests.api.tenants import Tenant, give, session, settle
from tests.schema.logins import api_login

NOBODYS = {"layouts", "layout_channels", "channels", "evidence_keys"}
"""Which ones a device uses, is told by device_layouts; keys sign for all."""
OF_ANY_CHANNEL = {"channel_terms", "organization_channel_terms"}
"""These have a row for each channel there is, whose name is nobody's."""
ONLY_FIRST = {"claim_imports", "vault", "cells", "intake_totals"}
SEES_ALL = {"serials", "retention_holds"}
"""The organization that runs the installation has all of these."""
KEPT_BY_THE_GIVER = {"alarm_transitions", "retention_holds"}
"""Of a device that was given away: what was raised while one had it, and the holds that one has made."""
OF_CALLER = "select set_config('biogate.organization', $1, false)"


@pytest.fixture
async def tenants(database: asyncpg.Connection) -> dict[str, Tenant]:
    await database.execute("insert into vault (public_key) values (sha256('vault'))")
    return {name: await settle(database, name, number) for number, name in enumerate(("main", "alpha", "beta"), 1)}


@pytest.fixture
async def api(database: asyncpg.Connection, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with api_login(database, database_url) as connection:
        await connection.execute("select set_config('biogate.credential', $1, false)", await visitor(database))
        yield connection


async def visitor(database: asyncpg.Connection) -> str:
    """Somebody without an organization: the credential in whose name the API writes."""
    user_id = await database.fetchval(
        "insert into users (email, name, password_hash) values ('visitor@example.org', 'x', '$2b$') returning user_id"
    )
    _, token = await session(database, user_id, "browser")
    return f"session {hashed(token).hex()}"


async def views(database: asyncpg.Connection, schema: str) -> list[str]:
    found = await database.fetch("select viewname from pg_views where schemaname = $1 order by 1", schema)
    return [row[0] for row in found]


async def text(connection: asyncpg.Connection, view: str) -> str:
    """All rows, so that a word in them can be found; bytes as what they are."""
    columns = (
        "'' as row, (to_jsonb(v) - 'channel')::text"
        if view[4:] in OF_ANY_CHANNEL
        else "v::text as row, to_jsonb(v)::text"
    )
    rows = await connection.fetch(f"select {columns} as json from {view} v")
    return "\n".join(bytes_too(row["row"]) + row["json"] for row in rows)


def bytes_too(row: str) -> str:
    parts = [part for part in row.replace('"', ",").split(",") if part.startswith("\\\\x")]
    return row + "".join(bytes.fromhex(part.strip("\\)")[1:]).decode(errors="replace") for part in parts)


async def test_without_an_organization_nothing_is_visible(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    for unset in (None, ""):
        if unset is not None:
            await api.execute(OF_CALLER, unset)
        for view in set(await views(database, "api")) - NOBODYS:
            assert await api.fetchval(f"select count(*) from api.{view}") == 0, view


async def test_with_one_its_rows_are_visible_and_no_others(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    for it in tenants.values():
        await api.execute(OF_CALLER, str(it.organization_id))
        for view in await views(database, "api"):
            seen = await text(api, f"api.{view}")
            what = f"{view} as {it.name}"
            if it.name != "main" and view in ONLY_FIRST:
                assert seen == "", what
                continue
            assert seen != "", f"{what}: is there nothing of it in tests/api/tenants.py?"
            if view not in NOBODYS and not (it.name == "main" and view in SEES_ALL):
                for other in tenants.values():
                    assert other is it or not other.shown(seen), what
            if view not in NOBODYS | ONLY_FIRST | {
                *("device_layouts", "device_streams", "clocks_set_back", "imported_devices"),
                *("device_clocks", "stored_late", "seal_passes", "import_ends"),
            }:
                assert it.shown(seen), f"{what}: {seen}"


async def test_what_was_given_away_is_seen_and_changed_by_its_taker_alone(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    main, alpha, beta = tenants.values()
    words, name = main.of_device[main.known["device"]], main.known["device"]
    number = await database.fetchval("select device_id from devices where name = $1", name)
    named = [json.dumps({"device_id": number}), json.dumps({"device": name})]
    for giver, taker in ((main, alpha), (alpha, main), (main, beta)):
        await give(database, giver, taker)
    await api.execute("set default_transaction_read_only = off")
    for former in (main, alpha):
        await api.execute(OF_CALLER, str(former.organization_id))
        for view in set(await views(database, "api")) - NOBODYS - {"audit"}:  # what they did with it stays in the trail
            assert words & beta.shown(await text(api, f"api.{view}")) == set(), f"{view} as {former.name}"
            if view not in KEPT_BY_THE_GIVER:
                rows = await api.fetchval(f"select count(*) from api.{view} v where to_jsonb(v) @> any ($1)", named)
                assert rows == 0, f"{view} as {former.name}"
        for name, (call, objects, refusal) in CASES.items():
            if {"device", "command"} & set(objects):
                given = [converted(name, beta.objects[it]) for it in objects]
                with pytest.raises(asyncpg.PostgresError) as error:
                    await api.fetch(f"select api.{call}", *given)
                assert error.value.sqlstate == refusal, f"{name} as {former.name}: {error.value}"
    await api.execute(OF_CALLER, str(beta.organization_id))
    assert main.objects["command"] not in await text(api, "api.commands")  # what others asked of it is not the taker's


async def test_the_quarantine_of_no_device_is_the_first_one_s(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    await database.execute(
        "insert into quarantine (received_at, topic, reason, detail, payload, sha256)"
        " values (now(), 'x', 'unknown-topic', '', 'x', sha256('x'))"
    )
    for it in tenants.values():
        await api.execute(OF_CALLER, str(it.organization_id))
        assert await api.fetchval("select count(*) from quarantine where device is null") == int(it.name == "main")


READABLE = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = relnamespace
 where relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
   and has_schema_privilege($1, n.oid, 'usage')
   and has_any_column_privilege($1, c.oid, 'select')
   and not exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid
                    where d.objid = c.oid and d.deptype = 'e')
"""
CHANGEABLE = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = relnamespace
 where relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname <> 'pg_catalog'
   and (has_any_column_privilege($1, c.oid, 'insert') or has_any_column_privilege($1, c.oid, 'update')
        or has_table_privilege($1, c.oid, 'delete') or has_table_privilege($1, c.oid, 'truncate')
        or has_table_privilege($1, c.oid, 'trigger'))
 union all
select 'sequence ' || c.relname from pg_class c
 where case relkind when 'S' then has_sequence_privilege($1, c.oid, 'usage') end
 union all
select 'schema ' || nspname from pg_namespace where has_schema_privilege($1, oid, 'create')
"""


async def names(database: asyncpg.Connection, statement: str, role: str) -> set[str]:
    return {row[0] for row in await database.fetch(statement, role)}


async def test_the_role_reads_the_views_and_writes_nothing(database: asyncpg.Connection) -> None:
    expected = {f"api.{view}" for view in await views(database, "api")} | {"public._pogo_migration"}
    assert await names(database, READABLE, "biogate_api") == expected
    assert await names(database, CHANGEABLE, "biogate_api") == set()


async def test_there_is_no_way_round(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    owner = await database.fetchval("select current_user")
    await api.execute(OF_CALLER, str(tenants["beta"].organization_id))
    for step in (
        *("reset role", "set role none", "reset all", "set session authorization default"),
        *(f'set role "{owner}"', "set role biogate_sql", f'set session authorization "{owner}"'),
        *("set row_security = off", "set search_path = public", "set default_transaction_read_only = off"),
    ):
        try:
            await api.execute(step)
        except asyncpg.InsufficientPrivilegeError:
            assert "role " in step or "authorization" in step, step
        for table in ("public.devices", "public.frames", "public.users", "public.audit", "org.devices"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.fetch(f"select * from {table}")
        for chunk in await database.fetch("select show_chunks('frames')::text"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.fetch(f"select * from {chunk[0]}")
        for change in (
            *(
                "update public.devices set title = 'x'",
                "delete from api.devices",
                "insert into api.frames default values",
            ),
            *("create table public.x ()", "create table api.x ()", "create function api.x() returns int return 1"),
            *("truncate public.audit", "alter view api.devices rename to x", "drop view api.devices"),
            "grant biogate_sql to current_user",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await api.execute(change)
    for file in (
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
        "select lo_import('/etc/passwd')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(file)


OF_COMMANDS = ["device_give", "lab_sample_put", "material_put", "organization"]


async def test_functions_that_act_as_the_owner_say_where_they_look_and_are_called_by_whom_rights_sql_names(
    database: asyncpg.Connection,
) -> None:
    found = await database.fetch(
        """select p.oid::regprocedure::text, n.nspname, p.proconfig,
                  array(select r from unnest('{public,biogate_api,biogate_sql}'::text[]) r
                         where has_function_privilege(r, p.oid, 'execute')) as callers
             from pg_proc p join pg_namespace n on n.oid = pronamespace
            where prosecdef and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')"""
    )
    assert found
    for function, schema, settings, callers in found:
        assert callers == (["biogate_api"] if schema == "api" else []), function
        assert settings[0] == "search_path=public, pg_temp", function
    others = await database.fetch(
        """select p.oid::regprocedure::text from pg_proc p, pg_roles r
            where pronamespace = 'api'::regnamespace and not rolsuper and rolname <> 'biogate_api'
              and rolname !~ '^pg_' and not pg_has_role(rolname, 'biogate_api', 'usage')
              and not (proname = any($1) and pg_has_role(rolname, 'biogate_operator', 'usage'))
              and has_function_privilege(rolname, p.oid, 'execute')""",
        OF_COMMANDS,
    )
    assert others == []


NONE, NOT_YOURS = "P0002", "BG403"
DEVICE, TXN, DEVIATION = ("device",), ("txn",), ("deviation",)
WHO = "'visitor@example.org', 'why'"
CASES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "device_owned": ("device_owned($1)", DEVICE, NONE),
    "device_command": (f"device_command($1, 'revoke', {WHO})", DEVICE, NONE),
    "device_change": (f"device_change($1, 'x', 'x', '{{}}', null, {WHO})", DEVICE, NONE),
    "device_give": (f"device_give($1, 'beta', {WHO})", DEVICE, NONE),
    "channel_describe": (f"channel_describe($1, 'ph', '{{}}', null, null, {WHO})", DEVICE, NONE),
    "computed_channel_remove": (f"computed_channel_remove($1, null, {WHO})", ("computed",), NONE),
    "computed_constants_set": (f"computed_constants_set($1, '{{\"x\": 1}}', null, {WHO})", DEVICE, NONE),
    "annotate": ("annotate($1, now(), null, 'x', 'visitor@example.org')", DEVICE, NONE),
    "annotation_withdraw": (f"annotation_withdraw($1, $2, {WHO})", ("device", "annotation"), NONE),
    "correction_put": (
        f"correction_put($1, $2, null, 'withdraw', '{{}}', {WHO})",
        ("device", "correction"),
        NONE,
    ),
    "lab_sample_put": (
        f"lab_sample_put($1, null, 0, 'take', '{{\"taken_at\": \"2026-03-01Z\"}}', '[]', 'person', {WHO})",
        DEVICE,
        NONE,
    ),
    "material_put": (
        f"material_put($1, null, 0, 'add', '{{\"kind\": \"feed\"}}', 'person', {WHO})",
        DEVICE,
        NONE,
    ),
    "command_request": (
        "command_request($1, 'x', '{}', null, null, now() + '1 hour', 'visitor@example.org', 'why', 'k', '')",
        DEVICE,
        NONE,
    ),
    "command_cancel": (f"command_cancel($1, {WHO})", ("command",), NONE),
    "job_cancel": (f"job_cancel($1, {WHO})", ("job",), NONE),
    "report_keep": ("report_keep($1, null, '{}', 'x', 'x', 'x')", ("job",), NONE),
    "export_made": ("export_made($1, '{}')", ("job",), NONE),
    "review_put": (
        "review_put($1, null, '{}', '2026-03-01', '2026-03-02', 1, '[]', '{}', 'eva')",
        ("review",),
        NONE,
    ),
    "review_look": ("review_look($1, repeat('0', 16), 'x', 'eva')", ("review",), NONE),
    "job_files_drop": (f"job_files_drop($1, {WHO})", ("job",), NONE),
    "quarantine_discard": (f"quarantine_discard(array[$1::bigint], {WHO})", ("quarantine",), NONE),
    "alarm_act": (f"alarm_act($1, $2, 'acknowledge', null, false, {WHO}, '{{}}', null)", ("device", "rule"), NONE),
    "alarm_route_remove": (f"alarm_route_remove($1, null, {WHO})", ("route",), NONE),
    "alarm_route_test": (f"alarm_route_test($1, {WHO})", ("route",), NONE),
    "alarm_rule_remove": (f"alarm_rule_remove($1, null, {WHO})", ("rule",), NONE),
    "enrollment_owned": ("enrollment_owned($1)", TXN, NONE),
    "enrollment_approve": (f"enrollment_approve($1, 'x', null, {WHO})", TXN, NONE),
    "enrollment_deny": (f"enrollment_deny($1, {WHO})", TXN, NONE),
    "serial_block": (f"serial_block($1, true, {WHO})", ("serial",), NONE),
    "serials_import": (
        f"serials_import('{{x}}', '{{x}}', '{{1}}', '{{null}}', 'x', null, {WHO}, 'beta')",
        (),
        NOT_YOURS,
    ),
    "enrollment_switch": (f"enrollment_switch(null, false, {WHO})", (), NOT_YOURS),
    "account_change": (f"account_change($1, true, true, {WHO})", ("user_id",), NOT_YOURS),
    "accounts": ("accounts(0, 10)", (), NOT_YOURS),
    "password_reset_make": (f"password_reset_make($1, sha256('x'), now(), {WHO})", ("user_id",), NOT_YOURS),
    "only_first": ("only_first()", (), NOT_YOURS),
    "invitation_end": (f"invitation_end($1, {WHO})", ("invitation_id",), NONE),
    "member_change": (f"member_change($1, null, {WHO})", ("user_id",), NONE),
    "key_end": (f"key_end($1, {WHO})", ("key_id",), NONE),
    "run_owned": ("run_owned($1)", ("run",), NONE),
    "run_change": (f"run_change($1, null, '{{}}', null, {WHO})", ("run",), NONE),
    "run_create": (f"run_create('x', array[$1], null, '{{}}', {WHO})", DEVICE, NONE),
    "run_step": (f"run_step($1, 'held', now(), null, {WHO})", ("run",), NONE),
    "run_phases_put": (f"run_phases_put($1, '[]', null, {WHO})", ("run",), NONE),
    "retention_hold": (f"retention_hold($1, null, null, {WHO})", DEVICE, NONE),
    "retention_hold_end": (f"retention_hold_end($1, {WHO})", ("hold_id",), NONE),
    "deviation_change": (f"deviation_change($1, '{{}}', null, {WHO})", DEVIATION, NONE),
    "deviation_move": (f"deviation_move($1, 'assessed', true, null, {WHO})", DEVIATION, NONE),
    "deviation_hold": ("deviation_hold($1, '{}', 'visitor@example.org')", DEVIATION, NONE),
    "deviation_link": (f"deviation_link($1, 'seen-in', 'device', $2, {WHO})", ("deviation", "device"), NONE),
    "deviation_unlink": (f"deviation_unlink($1, $2, {WHO})", ("deviation", "link"), NONE),
    "deviation_comment": ("deviation_comment($1, 'x', 'visitor@example.org')", DEVIATION, NONE),
    "deviation_comment_edit": (f"deviation_comment_edit($1, $2, 'x', {WHO})", ("deviation", "comment"), NONE),
    "deviation_attach": (f"deviation_attach($1, 'x', 'text/plain', 'x', 100, {WHO})", DEVIATION, NONE),
    "location_remove": (f"location_remove($1, {WHO})", ("path",), NONE),
    "device_card_put": (f"device_card_put($1, '{{}}', null, null, {WHO})", DEVICE, NONE),
    "shift_entry": ("shift_entry('x', null, array[$1], null, 'visitor@example.org')", DEVICE, NONE),
    "shift_accept": ("shift_accept($1, 'visitor@example.org')", ("entry",), NONE),
    "pending_act_confirm": ("pending_act_confirm($1, 1, 'x', 'x', 'x', 'why')", ("pending",), NONE),
    "pending_act_refuse": (f"pending_act_refuse($1, {WHO})", ("pending",), NONE),
}
"""A call with somebody else's objects, and the refusal."""
NAME_NO_OBJECT = {
    *("organization", "audit_faults", "organization_change", "invitation_create", "key_create"),  # of the caller's own
    *("account", "account_of", "account_create", "memberships_of", "principal", "key"),  # who somebody is: asked before
    *("password_change", "session_open", "session_renew", "session_end", "sessions_of"),  # anybody is somebody
    *("log_in", "log_in_account", "log_in_by_link", "log_in_failed", "log_out", "session_chain", "has_admin"),
    *("password_rehash", "password_reset_of", "password_reset_use"),
    *("invitation_make", "organization_make", "organization_describe", "export_note"),
    *("invitation_use", "organization_create", "alarm_rule_put", "alarm_route_put", "vault_key"),
    *("job_make", "computed_channel_put", "run_automation", "location_put", "report_template_put"),
    *("job_make", "computed_channel_put", "location_put", "run_automation"),
    *("deviation_open", "deviation_target"),  # what it is linked to: tests/api/test_deviation_links.py
    *("job_make", "computed_channel_put", "notice_channel"),
    *("record_state", "record_changed", "signature_put", "signature_failed", "pending_act_ask", "policy_put"),
    *("signed_version", "policy_takes_two", "has_password", "password_first"),
    *("session_principal", "session_seen", "session_idle_end", "session_signer", "passwords_taken"),
}
"""What these do is tested by the routes."""


async def test_every_function_refuses_what_is_another_organization_s(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    functions = {
        row[0] for row in await database.fetch("select proname from pg_proc where pronamespace = 'api'::regnamespace")
    }
    assert functions == set(CASES) | NAME_NO_OBJECT, "a function is new, or gone: tell here how it is asked"
    await api.execute("set default_transaction_read_only = off")
    for victim in ("alpha", "main"):
        before = await state(database, [tenants[victim]])
        for visitor in ("", str(tenants["beta"].organization_id)):
            await api.execute(OF_CALLER, visitor)
            for name, (call, objects, refusal) in CASES.items():
                given = [converted(name, tenants[victim].objects[it]) for it in objects]
                with pytest.raises(asyncpg.PostgresError) as error:
                    await api.fetch(f"select api.{call}", *given)
                assert error.value.sqlstate == refusal, f"{name}: {error.value}"
                assert not tenants[victim].shown(str(error.value), str(given)), name
        assert await state(database, [tenants[victim]]) == before


def converted(function: str, word: str) -> str | int | UUID:
    if function in {"command_cancel", "job_cancel", "job_files_drop", "report_keep", "export_made"}:
        return UUID(word)
    return int(word) if word.isdigit() else word


async def test_without_an_organization_nothing_can_be_made_either(api: asyncpg.Connection) -> None:
    await api.execute("set default_transaction_read_only = off")
    for call in (
        "invitation_create('viewer', sha256('x'), 1, now() + '1 day', 'visitor@example.org')",
        "key_create('aaaaaaaaaaaa', sha256('x'), 'x', 'admin', '{}', null, 'visitor@example.org')",
    ):
        with pytest.raises(asyncpg.NotNullViolationError):
            await api.fetch(f"select api.{call}")
    assert await api.fetch("select api.organization_change('x', 'visitor@example.org', 'why')")
    assert await api.fetch("select * from api.audit_faults()") == []


async def test_an_annotation_is_found_by_its_own_device_only(
    database: asyncpg.Connection, api: asyncpg.Connection, tenants: dict[str, Tenant]
) -> None:
    await api.execute("set default_transaction_read_only = off")
    await api.execute(OF_CALLER, str(tenants["beta"].organization_id))
    with pytest.raises(asyncpg.PostgresError, match="there is no annotation"):
        await api.execute(
            f"select annotation_withdraw($1, $2, {WHO})",
            *(tenants["beta"].objects["device"], int(tenants["alpha"].objects["annotation"])),
        )
    assert await api.fetchval(
        "select annotate($1, $2, null, 'mine', 'visitor@example.org')", tenants["beta"].objects["device"], at(5)
    )
