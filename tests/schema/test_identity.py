"""The API writes in the name that the database finds for the credential which a request has shown, and in no other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.access.tokens import ApiKey, access_proof, hashed
from tests.api.tenants import session
from tests.schema.logins import api_login

ANNOTATE = "select api.annotate('r1', now(), null, 'x', $1)"
EVA, BOB = "eva@example.org", "bob@example.org"
HASH = "$2b$04$" + "." * 53


@pytest.fixture
async def people(database: asyncpg.Connection) -> dict[str, int]:
    """Two people, and a device of their organization."""
    await database.execute("insert into devices (name) values ('r1')")
    made = {}
    for email in (EVA, BOB):
        made[email] = await database.fetchval(
            "insert into users (email, name, password_hash, verified) values ($1, 'x', $2, true) returning user_id",
            *(email, HASH),
        )
        await database.execute("insert into memberships values (1, $1, 'admin')", made[email])
    return made


@pytest.fixture
async def stolen(
    database: asyncpg.Connection, database_url: str, people: dict[str, int]
) -> AsyncIterator[asyncpg.Connection]:
    """The API's login at the database, in the hands of somebody who has no credential of anybody."""
    async with api_login(database, database_url) as connection:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("select set_config('biogate.organization', '1', false)")
        yield connection


async def show(connection: asyncpg.Connection, words: str) -> None:
    await connection.execute("select set_config('biogate.credential', $1, false)", words)


async def refused(connection: asyncpg.Connection, statement: str, *arguments: object) -> None:
    with pytest.raises(asyncpg.PostgresError) as error:
        await connection.execute(statement, *arguments)
    assert error.value.sqlstate == "BG401", error.value


async def test_each_credential_writes_in_its_own_name_alone(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    _, cookie = await session(database, people[EVA], "browser")
    number, refresh = await session(database, people[EVA], "program")
    key = ApiKey.new()
    await database.execute(
        "insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by)"
        " values ($1, 1, 'line', 'admin', '{}', $2, 'x')",
        *(key.key_id, hashed(key.secret)),
    )
    for words, who in (
        (f"session {hashed(cookie).hex()}", EVA),
        (f"program {number} {access_proof(refresh)}", EVA),
        (f"key {key.key_id} {key.secret}", f"key {key.key_id} (line)"),
    ):
        await show(stolen, words)
        await stolen.execute(ANNOTATE, who)
        for other in (BOB, "key aaaaaaaaaaaa (line)", "Eva", "retention"):
            await refused(stolen, ANNOTATE, other)
    assert await database.fetchval("select count(*) from annotations") == 3


async def test_what_proves_nothing_writes_in_nobody_s_name(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    number, refresh = await session(database, people[EVA], "program")
    _, cookie = await session(database, people[EVA], "browser")
    _, ended = await session(database, people[EVA], "browser")
    await database.execute("update sessions set ended_at = now() where token_hash = $1", hashed(ended))
    key = ApiKey.new()
    await database.execute(
        "insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by)"
        " values ($1, 1, 'line', 'admin', '{}', $2, 'x')",
        *(key.key_id, hashed(key.secret)),
    )
    read = await stolen.fetchrow("select * from api.key($1)", key.key_id)  # what that login can read
    for words in (
        "",
        "session",
        "session 00",
        f"session {cookie}",
        f"session {hashed(refresh).hex()}",
        f"session {hashed(ended).hex()}",
        f"program {number}",
        f"program {number} 00",
        f"program {number} {hashed(refresh).hex()}",
        f"key {key.key_id} {read['secret_hash'].hex()}",
        f"account {people[EVA]}",
        f"link {hashed('x').hex()}",
        f"job {people[EVA]}",
        EVA,
    ):
        await show(stolen, words)
        with pytest.raises(asyncpg.PostgresError):
            await stolen.execute(ANNOTATE, EVA)
    assert await database.fetchval("select count(*) from annotations") == 0


async def test_no_function_that_writes_is_open_to_who_shows_nothing(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    rule = """insert into alarm_rules (organization_id, name, definition)
              values (1, 'high', '{"priority": "low", "enabled": true, "when": {"kind": "limit"}}')"""
    await database.execute(rule)
    for statement in (
        "select api.organization_change('x', $1, 'why')",
        "select api.device_change('r1', 'x', null, '{}', null, $1, 'why')",
        "select api.device_command('r1', 'suspend', $1, 'why')",
        "select api.alarm_act('r1', 'high', 'out-of-service', null, false, $1, 'why', '{}', null)",
        "select api.job_make(gen_random_uuid(), 'export', '{}', 0, $1)",
        "select api.command_request('r1', 'x', '{}', null, null, now() + '1 hour', $1, 'why', 'k', '')",
        "select api.retention_hold('r1', null, null, $1, 'why')",
        "select api.invitation_make('admin', sha256('x'), 1, now() + '1 day', null, $1)",
        "select api.key_create('aaaaaaaaaaaa', sha256('x'), 'x', 'admin', '{}', null, $1)",
        "select api.lab_sample_put('r1', null, 0, 'take', '{\"taken_at\": \"2026-03-01Z\"}', '[]', 'person', $1, 'x')",
        "select api.deviation_open('x', 'x', 'minor', '{}', '[]', null, null, $1)",
        "select api.shift_entry('x', null, '{}', null, $1)",
        "select api.export_note('x', '{}', $1)",
    ):
        for name in (EVA, "biogate", "somebody", "device r1", "gateway main"):  # nor in the name of what is no person
            await refused(stolen, statement, name)
    for statement in (
        "select api.log_out($1, null)",
        "select api.session_end($1, null)",
    ):
        await session(database, people[EVA], "browser")
        await refused(stolen, statement, people[EVA])
    assert await database.fetchval("select count(*) from audit where login <> current_user") == 0


async def test_the_stolen_login_logs_in_as_nobody(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    for found in (
        await stolen.fetchrow("select * from api.log_in_account($1, null)", EVA),
        await stolen.fetchrow("select * from api.account_of($1)", people[EVA]),
    ):
        assert HASH not in str(found)
        await stolen.execute(
            "select api.log_in($1, $2, 'browser', null, sha256('mine'), now() + '1 day', '', '', '')",
            *(people[EVA], found["password_hash"]),
        )
    assert await database.fetchval("select count(*) from sessions") == 0
    whole = "select api.log_in($1, $2, 'browser', null, sha256('mine'), now() + '1 day', '', '', '')"
    await stolen.execute(whole, people[EVA], HASH)  # who has typed the password
    assert await database.fetchval("select who from audit where action = 'log in'") == EVA


async def test_whoever_becomes_another_role_of_the_session_gains_nothing(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    for step in ("reset role", "set role none", "set session authorization default"):
        await stolen.execute(step)
        await refused(stolen, ANNOTATE, EVA)


async def test_a_job_makes_its_report_in_the_name_of_who_asked_and_does_nothing_else(
    database: asyncpg.Connection, stolen: asyncpg.Connection, people: dict[str, int]
) -> None:
    job = await database.fetchval(
        "insert into jobs (job_id, organization_id, who, kind, request, state, holder, beat_at)"
        " values (gen_random_uuid(), 1, $1, 'report', '{}', 'running', 'w', now()) returning job_id",
        EVA,
    )
    await show(stolen, f"job {job}")
    await refused(stolen, ANNOTATE, EVA)
    await refused(stolen, "select api.export_note('x', '{}', $1)", EVA)
    facts = (
        '{"kind": "shift", "title": "x", "subtitle": "x", "begins": "2026-01-01Z", "ends": "2026-01-02Z",'
        ' "template": "x", "template_version": 0, "no_pdf": "none"}'
    )
    await stolen.execute("select api.report_keep($1, null, $2, 'x', 'x', null)", job, facts)
    assert await database.fetchval("select who from audit where action = 'report make'") == EVA
