"""Every kind of audit event that the database writes, with its subject, the old state and the new one."""

from __future__ import annotations

import json

import asyncpg
import pytest

from schema.evidence.verification import Elsewhere, verify_chain
from tests.schema.audit_steps import STEPS

BEGUN = """
set timezone = 'UTC';
set track_functions = 'all';
insert into cells (cell, client_id) values ('main', 'x'), ('other', 'y');
insert into organizations (name, title) values ('north', 'North');
insert into users (email, name, password_hash) values ('eva@x.org', 'Eva', 'one'), ('ida@x.org', 'Ida', 'one');
insert into devices (name, title, tags) values ('br-1', 'One', '{old}'), ('br-3', null, '{}');
insert into credentials (username, device_id, cell, generation, applied)
    select 'br-1.1', device_id, 'main', 1, 'present' from devices where name = 'br-1'"""


@pytest.fixture
async def begun(database: asyncpg.Connection) -> asyncpg.Connection:
    await database.execute(BEGUN)
    await database.execute("insert into memberships (organization_id, user_id, role) values (1, 1, 'admin')")
    await database.execute("select set_config('biogate.organization', '1', false)")
    return database


EVENTS = """
select o.name, a.action, a.subject, a.old, a.new, a.organization_id, a.n
  from audit a join organizations o using (organization_id) order by a.organization_id, a.n"""


def told(action: str, state: str) -> object:
    """A state of an event; of a signature without what is another one each time."""
    found = json.loads(state)
    return {name: found[name] for name in found.keys() - {"at", "digest"}} if action == "signature" else found


STATELESS = {
    *("account create", "alarm route test", "invitation end", "key end", "password change", "password reset"),
    "retention hold end",
}
"""Actions that say all: the subject begins, ends, or has a state that nobody may read."""


def test_only_events_that_say_all_by_their_action_have_no_state() -> None:
    events = [event for _, events in STEPS for event in events]
    assert {action for _, action, _, old, new in events if old is new is None} == STATELESS


async def test_every_event_has_its_subject_the_old_state_and_the_new(begun: asyncpg.Connection) -> None:
    known: set[tuple[int, int]] = set()
    for statement, expected in STEPS:
        await begun.execute(statement)
        rows = [row for row in await begun.fetch(EVENTS) if (row["organization_id"], row["n"]) not in known]
        known |= {(row["organization_id"], row["n"]) for row in rows}
        found = [
            (*tuple(row)[:3], *(None if value is None else told(row["action"], value) for value in tuple(row)[3:5]))
            for row in rows
        ]
        assert found == expected, statement
    await begun.execute("select pg_stat_force_next_flush()")
    called = {row["funcid"] for row in await begun.fetch("select funcid from pg_stat_user_functions")}
    writing = await begun.fetch("select oid, proname from pg_proc where prosrc ~ 'insert into audit'")
    assert [row["proname"] for row in writing if row["oid"] not in called] == [], "they write events of no step"
    for organization in (1, 2):
        verified = await verify_chain(begun, organization, Elsewhere())
        assert verified.faults == []
        assert verified.events > 0
