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


UNRECORDED_HERE = ["deviation/DEV-2026-0077", "user/eva@x.org"]
"""What this test itself puts into tables."""


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
    for organization, faults in ((1, UNRECORDED_HERE), (2, [])):
        verified = await verify_chain(begun, organization, Elsewhere())
        assert [fault.partition(":")[0] for fault in verified.faults] == faults
        assert verified.events > 0


UNRECORDED = {
    "api.password_rehash": "the password is the same; its hash has more rounds",
    "api.session_seen": "when somebody was last active, which idle log-out asks for: again and again",
    "api.session_open": "of a version before log-ins were recorded: no route calls it",
}
"""Functions by which the API changes something that is no act: function → why the trail has nothing of it."""
WRITERS = """
with recursive functions as (
    select p.oid, n.nspname || '.' || p.proname as name, p.proname, p.prosrc, p.provolatile
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('api', 'public')
       and p.prolang in (select oid from pg_language where lanname in ('sql', 'plpgsql'))
), recorded as (
    select oid, proname from functions where prosrc ~ 'insert into (public\\.)?audit\\y|audit_sum|act_soon'
        or prosrc ~ '(insert into|update) (public\\.)?(commands|alarm_acts|enrollments|backups)\\y'  -- by triggers
     union
    select f.oid, f.proname from functions f join recorded r on f.prosrc ~ ('\\y' || r.proname || '\\(')
)
select name from functions
 where name like 'api.%' and provolatile = 'v' and oid not in (select oid from recorded)
   and prosrc ~* 'insert into|update |delete from|perform|_(put|change|make|end|create)'
 order by name"""


async def test_what_the_api_can_change_leaves_an_event_or_says_why_not(database: asyncpg.Connection) -> None:
    """The list is of the functions there are: a new one that records nothing has to be put here."""
    assert sorted(row["name"] for row in await database.fetch(WRITERS)) == sorted(UNRECORDED)
