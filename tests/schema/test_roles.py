"""Least rights: what stands in schema/rights.sql is all a role may, and nobody changes a record, the owner included.
All cases are made from the catalogue: a new table or role that rights.sql does not know fails here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.upkeep.waiting_acts import WAITING
from schema.evidence.records import DOCUMENTS, DROPPED, NEWEST, ROWS
from schema.migrate import ALARMS, API, BACKUP, EVIDENCE, GATEWAY, LOGINS, OPERATOR, RIGHTS, WORKER
from tests.api.tenants import settle
from tests.roles import as_role
from tests.schema.records import copy, device, frame, layout

INTAKE = (GATEWAY, WORKER, OPERATOR)
KEPT = {
    "alarm_transitions", "audit", "corrections", "deviation_attachments", "deviation_comments", "device_events",
    "device_layouts", "frames", "imported_devices", "lab_analytes", "layout_channels", "layouts", "report_templates",
    "reports", "retention_drops", "statuses",
}  # fmt: skip
"""Whose rows nobody updates."""
ENDED = {
    "annotations": {"withdrawn_at"},
    "alarm_acts": {"done_at", "refused", "n"},
    "deviation_links": {"withdrawn_at"},
    "lab_samples": {"superseded_at"},
    "materials": {"superseded_at"},
    "retention_holds": {"ended_at"},
    "shift_entries": {"accepted_at"},
}
"""Whose rows are ended once: the columns that get a value then."""
UPDATED = {
    (ALARMS, "alarm_acts"): {"done_at", "refused", "n"},
    (WORKER, "quarantine"): {"state", "settled_at", "shift_ms"},
    (OPERATOR, "quarantine"): {"state", "settled_at", "shift_ms", "bytes", "payload"},
    **{(role, "quarantine_overflow"): {"count", "bytes", "hash", "first_at", "last_at"} for role in INTAKE},
    **{(role, "intake_totals"): {"committed", "duplicate", "quarantined", "discarded"} for role in INTAKE},
    **{(role, "commands"): {"state", "detail", "result", "sent_at", "accepted_at", "ended_at"} for role in INTAKE},
    **{
        (role, "imports"): {
            *("attempt", "pending", "job_id", "position", "committed", "duplicate", "quarantined", "discarded"),
            *("finished_at", "result"),
        }
        for role in (WORKER, OPERATOR)
    },
    (GATEWAY, "devices"): {"device_id", "name", "renew_told", "model"},
    (WORKER, "devices"): {"device_id"},
    (OPERATOR, "devices"): {"device_id"},
    (GATEWAY, "serials"): {"device_id", "identity_key"},
    (OPERATOR, "users"): {"password_hash", "verified"},
    (EVIDENCE, "checkpoints"): {"token"},
    (BACKUP, "backups"): {"label", "taken_at", "bytes", "verified_at", "newest", "ok", "detail"},
}
"""Role and table → the columns that the role may update, of all tables from which nobody deletes."""
REFUSING = """
select distinct c.relname, bool_or(t.tgtype & 16 <> 0) over (partition by c.oid) as on_update
  from pg_trigger t join pg_class c on c.oid = tgrelid
 where relnamespace = 'public'::regnamespace and tgname ~ '^record_|^lab_record|_kept$|_refuse$' order by 1"""
COLUMNS = """
select attname, attidentity = '' and attgenerated = '' as is_free from pg_attribute
 where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum"""


@pytest.fixture
async def roles(database: asyncpg.Connection, database_url: str) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection in each role."""
    made = {role: await asyncpg.connect(as_role(database_url, role)) for role in LOGINS}
    yield made
    for connection in made.values():
        await connection.close()


async def tables(database: asyncpg.Connection) -> list[str]:
    rows = await database.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
    return [name for (name,) in rows if not name.startswith("_pogo")]


async def records(database: asyncpg.Connection) -> set[str]:
    return {row["relname"] for row in await database.fetch(REFUSING)}


async def test_every_table_and_every_role_has_a_line(database: asyncpg.Connection) -> None:
    lines = re.sub(r"--.*", "", RIGHTS.read_text())
    statements = [part for part in lines.split(";") if re.match(r"\s*(grant|revoke)\b", part)]
    named = set(re.findall(r"\w+", " ".join(statements)))
    missing = [name for name in await tables(database) if name not in named]
    assert missing == [], "give each a line in schema/rights.sql: which role reads and writes it?"
    granted = " ".join(part for part in statements if "grant" in part)
    assert all(re.search(rf"\bto {role}\b", granted) for role in LOGINS)


async def test_no_role_changes_deletes_or_truncates_a_record_beyond_what_is_listed(
    database: asyncpg.Connection, roles: dict[str, asyncpg.Connection]
) -> None:
    kept = await records(database)
    assert KEPT | ENDED.keys() | {"quarantine"} <= kept
    for role, connection in roles.items():
        for table in sorted(kept):
            for statement in (f"delete from public.{table}", f"truncate public.{table} cascade"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                    await connection.execute(statement)
            may = set()
            for column, _ in await database.fetch(COLUMNS, f"public.{table}"):
                try:
                    async with connection.transaction():
                        await connection.execute(f"update public.{table} set {column} = default where false")
                    may.add(column)
                except asyncpg.InsufficientPrivilegeError as error:
                    may |= set() if "permission denied" in str(error) else {column}
            assert may == UPDATED.get((role, table), set()), f"{role} on {table}"


async def test_no_role_is_more_than_it_is_or_takes_another(roles: dict[str, asyncpg.Connection]) -> None:
    for role, connection in roles.items():
        row = await connection.fetchrow(
            "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls as more, rolreplication from pg_roles"
            " where rolname = session_user"
        )
        assert tuple(row) == (False, role == BACKUP), role
        for other in LOGINS.keys() - {role}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"set role {other}")
        for statement in (
            "create table public.mine ()",
            "alter table frames add column x int",
            "alter table audit disable trigger audit_refuse",
            "drop trigger record_kept on frames",
            "set session_replication_role = replica",
            "select drop_chunks('frames', older_than => now())",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(statement)


async def test_nobody_reads_passwords_and_keys_but_who_checks_them(roles: dict[str, asyncpg.Connection]) -> None:
    for role, connection in roles.items():
        for secret in (
            *("users.password_hash", "sessions.token_hash", "sessions.chain_key", "api_keys.secret_hash"),
            *("invitations.code_hash", "password_resets.code_hash", "log_in_links.code_hash"),
        ):
            table, column = secret.split(".")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"select {column} from public.{table}")
        if role not in {GATEWAY, API}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("select password from public.credentials")
        if role != GATEWAY and role != OPERATOR:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("select claim_key from public.serials")


async def test_triggers_refuse_the_owner_too(database: asyncpg.Connection) -> None:
    await settle(database, "main", 1)
    for row in await database.fetch(REFUSING):
        table = row["relname"]
        for statement in (f"delete from {table}", f"truncate {table} cascade"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute(statement)
        if table not in KEPT | ENDED.keys():
            continue
        tried = 0
        for column, is_free in await database.fetch(COLUMNS, table):
            has_value = await database.fetchval(f"select exists (select from {table} where {column} is not null)")
            if is_free and column not in ENDED.get(table, ()) and (has_value or table in KEPT):
                tried += 1
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute(f"update {table} set {column} = null")
        assert tried > 0, table


async def test_what_is_ended_is_ended_once(database: asyncpg.Connection) -> None:
    await settle(database, "main", 1)
    for table, columns in ENDED.items():
        (ended,) = [column for column in columns if column.endswith("_at")]
        first = f"update {table} set {ended} = now() where {ended} is null"
        await database.execute(first)
        for value in ("null", f"{ended} + interval '1 second'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute(f"update {table} set {ended} = {value}")


async def test_a_chunk_is_no_way_round(database: asyncpg.Connection) -> None:
    number = await device(database, "r1")
    ph = await layout(database, "ph")
    await copy(database, *(frame(n, [1.0], layout=ph, device=number) for n in range(3)))
    chunk = await database.fetchval("select show_chunks('frames')::text")
    for statement in (f"update {chunk} set seq = 9", f"delete from {chunk} where seq = 1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="rows of frames are kept"):
            await database.execute(statement)
    assert await database.fetchval("select array_agg(seq order by seq) from frames") == [0, 1, 2]


SETTLED = "insert into audit (who, action, subject, why) values ('eva', 'x', 'quarantine/1', 'y');"


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("", "state = 'replayed', settled_at = now()"),  # nobody is told
        (SETTLED, "payload = 'other'"),
        (SETTLED, "detail = 'other'"),
        (SETTLED, "sha256 = sha256('other')"),
        (SETTLED, "state = 'replayed', settled_at = now(), payload = 'other'"),
        (SETTLED, "state = 'replayed', settled_at = now(), reason = 'empty'"),
        (SETTLED, "shift_ms = 5; update quarantine set shift_ms = 6"),
        (SETTLED, "state = 'replayed', settled_at = now(); update quarantine set state = 'open', settled_at = null"),
        (SETTLED, "state = 'discarded', settled_at = now(), payload = null; update quarantine set bytes = 1"),
    ],
)
async def test_a_message_in_quarantine_is_settled_once_and_told(
    database: asyncpg.Connection, before: str, change: str
) -> None:
    await database.execute(
        "insert into quarantine (received_at, topic, reason, detail, payload, sha256)"
        " values (now(), 'x', 'unknown-topic', '', 'x', sha256('x'))"
    )
    await database.execute(SETTLED)  # by another transaction, which says nothing of this one
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.transaction():
            await database.execute(f"{before} update quarantine set {change}")
    row = await database.fetchrow("select state, payload, detail, shift_ms from quarantine")
    assert tuple(row) == ("open", b"x", "", None)


async def test_rows_are_dropped_only_when_the_audit_trail_was_told_first(database: asyncpg.Connection) -> None:
    number = await device(database, "r1")
    await database.execute("insert into statuses values ($1, 1, now(), true, now())", number)
    other = (
        "insert into audit (who, action, subject, why) values ('eva', 'retention drop', 'retention/quarantined', 'y')"
    )
    for told in ("select 1", other):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="tells the audit trail first"):
            await database.execute(f"{told}; delete from statuses")
    await database.execute(other.replace("quarantined", "status"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):  # that was another transaction
        await database.execute("delete from statuses")
    await database.execute(f"{other.replace('quarantined', 'status')}; delete from statuses")


async def test_the_signer_and_the_backup_read_no_more_than_they_need(roles: dict[str, asyncpg.Connection]) -> None:
    for role in (EVIDENCE, BACKUP, ALARMS):
        for table in ("users", "api_keys", "sessions", "vault", "alarm_routes"):
            if (role, table) != (ALARMS, "alarm_routes"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await roles[role].fetch(f"select * from {table}")


async def test_who_signs_or_verifies_reads_the_records_of_which_the_trail_tells(
    roles: dict[str, asyncpg.Connection],
) -> None:
    for role in (EVIDENCE, OPERATOR):
        for statement in (NEWEST, DROPPED):
            await roles[role].fetch(statement, 1)
        for statement in ROWS.values():
            await roles[role].fetch(statement, 1, 0, 9, 9)
        for statement in DOCUMENTS.values():
            await roles[role].fetch(statement, "device/br-1", "{}", 1)
    await roles[GATEWAY].fetch(WAITING)
    await roles[GATEWAY].fetch("select action from audit")
