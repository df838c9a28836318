"""What the owner of the tables writes over, puts in or takes away of what stands now: each is found by its subject."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from api.shapes.runs import GivenState
from schema.evidence.events import events
from schema.evidence.standing import KINDS, RUN_STATES, StandingCheck
from tests.gateway.evidence.signing import Signing, signing_of

RULE = {"enabled": True, "priority": "high", "title": "hot"}
DATA = f"""
insert into organizations (name, title) values ('north', 'North');
insert into users (email, name, password_hash) values ('eva@x.org', 'Eva', 'x'), ('ida@x.org', 'Ida', 'x');
insert into devices (name) values ('br-1');
select set_config('biogate.organization', '1', false);
select api.alarm_rule_put('hot', '{json.dumps(RULE)}', null, 'eva', 'y');
select api.alarm_rule_put('cold', '{json.dumps(RULE)}', null, 'eva', 'y');
select api.alarm_rule_remove('cold', null, 'eva', 'y');
select api.alarm_route_put('chat', '{{"enabled": true}}', 'sealed', 'mailto://a', null, 'eva', 'y');
select computed_channel_put(1, 'our', '{{"formula": "ph + 1", "inputs": {{"ph": null}}}}', null, 'eva', 'y');
select api.report_template_put('batch', 'batch', '{{"sections": []}}', null, 'eva', 'y');
select api.location_put('hall', 'site', '', 'eva', 'y');
select api.deviation_open('hot', 'very', 'minor', '{{x}}', '[]', null, null, 'eva');
select api.deviation_change('DEV-' || extract(year from now()) || '-0001', '{{"severity": "major"}}', 1, 'eva', 'y');
select run_create(1, 'B-1', array[1], '2026-03-01 10:00+02', '{{"strain": "CHO", "note": "x"}}', 'eva', 'y');
select run_change(1, 'B-1', null, '{{"note": null, "recipe": "20260301"}}', 1, 'eva', 'y');
select run_phases_put(1, 'B-1', '[{{"name": "batch", "begins": "2026-03-01T08:00:00Z", "origin": "person"}}]', 2, 'eva',
                      'y');
select run_step(1, 'B-1', 'complete', '2026-03-02 10:00+00', 3, 'eva', 'y');
select api.invitation_create('engineer', sha256('code'), 2, now() + interval '1 day', 'eva');
select api.invitation_use(1, sha256('code')), api.invitation_use(2, sha256('code'));
select api.member_change(2, 'viewer', 'eva', 'y');
select api.account_change(1, true, null, 'eva', 'y'), api.account_change(2, null, false, 'eva', 'y');
select api.key_create('abcdefghijkl', sha256('x'), 'press', 'operator', '{{devices:read}}', now() + '1 day', 'eva');
select api.key_create('bbcdefghijkl', sha256('y'), 'other', 'viewer', '{{}}', now() + interval '1 day', 'eva');
select api.key_end('bbcdefghijkl', 'eva', 'y');
select retention_hold(1, 1, '2026-03-01 10:00+00', null, 'eva', 'y');"""

ALARM_RULE = f"""insert into alarm_rules (organization_id, name, definition) values (1, 'new', '{json.dumps(RULE)}')"""
TAMPERINGS = [
    ('update alarm_rules set definition = definition || \'{"priority": "low"}\'', "alarm-rule/hot: priority: not what"),
    ("update alarm_rules set definition = definition || '{\"on_delay\": 9}'", "alarm-rule/hot: on_delay: not what"),
    ("update alarm_rules set removed_at = now()", "alarm-rule/hot: it is missing"),
    ("update alarm_rules set removed_at = null", "alarm-rule/cold: it is there, and event 3 took it away"),
    (ALARM_RULE, "alarm-rule/new: it is there, and no event says who made it"),
    ("update alarm_routes set definition = '{\"enabled\": false}'", "alarm-route/chat: enabled: not what"),
    ("update alarm_routes set address = 'mailto://z'", "alarm-route/chat: address: not what"),
    ("delete from alarm_routes", "alarm-route/chat: it is missing"),
    (
        'update computed_channels set definition = definition || \'{"formula": "ph"}\'',
        "computed-channel/our: formula: not what",
    ),
    ("delete from computed_channels", "computed-channel/our: it is missing"),
    ("update report_templates set definition = '{\"sections\": [1]}'", "report-template/batch: sections: not what"),
    (
        "insert into report_templates (organization_id, name, version, kind, definition, made_by)"
        " select organization_id, name, 2, kind, '{}', made_by from report_templates",
        "report-template/batch: sections: not what",
    ),
    ("update locations set kind = 'hall'", "location/hall: kind: not what"),
    ("update locations set description = 'x'", "location/hall: description: not what"),
    *(
        (f"update deviations set {column} = {value}", f"-0001: {column}: not what")
        for column, value in (
            ("title", "'cool'"),
            ("description", "'a little'"),
            ("severity", "'minor'"),
            ("state", "'assessed'"),
            ("tags", "'{}'"),
            ("members", '\'[{"who": "ida"}]\''),
        )
    ),
    ("delete from deviations", "-0001: it is missing"),
    *(
        (f"update runs set {column} = {value}", f"run/B-1: {column}: not what")
        for column, value in (
            *((column, "'else'") for column in ("material", "strain", "recipe", "recipe_version", "note")),
            ("plan", '\'[{"channel": "ph"}]\''),
            ("state", "'aborted'"),
            ("begins", "begins + interval '1 s'"),
            ("ends", "ends - interval '1 s'"),
        )
    ),
    ("update runs set recipe = '2026-03-01'", "run/B-1: recipe: not what"),
    ("delete from run_devices", "run/B-1: devices: not what"),
    ("update run_phases set name = 'fed'", "run/B-1: phases: not what"),
    ("update memberships set role = 'admin' where user_id = 2", "user/ida@x.org: role: not what"),
    ("delete from memberships where user_id = 1", "user/eva@x.org: role: not what"),
    (
        "insert into users (email, name, password_hash) values ('eve@x.org', 'Eve', 'x');"
        "insert into memberships (organization_id, user_id, role) values (1, 3, 'admin')",
        "user/eve@x.org: it is there, and no event says who made it",
    ),
    ("update users set disabled = false", "user/eva@x.org: disabled: not what"),
    ("update users set verified = true", "user/ida@x.org: verified: not what"),
    ("update api_keys set role = 'admin' where name = 'press'", "key/abcdefghijkl: role: not what"),
    ("update api_keys set scopes = '{}' where name = 'press'", "key/abcdefghijkl: scopes: not what"),
    ("update api_keys set name = 'else' where name = 'press'", "key/abcdefghijkl: name: not what"),
    ("update api_keys set expires_at = null where name = 'press'", "key/abcdefghijkl: expires_at: not what"),
    ("update api_keys set ended_at = null", "key/bbcdefghijkl: ended: not what"),
    ("update retention_holds set ended_at = now()", "hold/1: ended: not what"),
    ("update retention_holds set device_id = null", "hold/1: device: not what"),
    ("update retention_holds set begins = begins + interval '1 s'", "hold/1: begins: not what"),
    ("update retention_holds set ends = '2026-04-01'", "hold/1: ends: not what"),
    ("delete from retention_holds", "hold/1: it is missing"),
]


JOIN = """
insert into memberships (organization_id, user_id, role) values ({0}, {1}, 'viewer');
insert into audit (organization_id, who, action, subject, new, why)
select {0}, 'root', 'member join', 'user/' || email, '{{"role": "viewer"}}', 'y' from users where user_id = {1};"""
MADE = """
insert into organizations (name, title) values ('south', 'S');
insert into audit (organization_id, who, action, subject, new, why)
select organization_id, '{0}', 'organization create', 'organization/south', '{1}', '{2}'
  from organizations where name = 'south'"""
LIVES = {
    "a run goes through all states": "".join(
        f"select run_step(1, 'B-2', '{state}', now(), null, 'eva', 'y');"
        for state in ("running", "holding", "held", "restarting", "running", "stopping", "aborting")
    ),
    "somebody whose address is not verified makes an organization": (
        "select account_change(2, null, false, 'eva', 'y'); select api.organization_create(2, 'south', 'South')"
    ),
    "a command made an organization, as the first versions said it": MADE.format("Eva", '"S"', "by hand"),
    "a command makes an organization in the words of a page": MADE.format("i@x.org", '{"title": "S"}', "asked for"),
    "who was disabled as a member elsewhere is enabled as none, and joins again": (
        JOIN.format(2, 2) + "select account_change(2, true, null, 'eva', 'y');"
        "select set_config('biogate.organization', '1', false), api.member_change(2, null, 'eva', 'y');"
        "select account_change(2, false, null, 'eva', 'y');" + JOIN.format(1, 2)
    ),
    "who was disabled as nobody's member is enabled as another organization's": (
        "select api.member_change(2, null, 'eva', 'y'); select account_change(2, true, false, 'eva', 'y');"
        + JOIN.format(2, 2)
        + "select account_change(2, false, true, 'eva', 'y')"
    ),
    "a member elsewhere is verified by a link into the first organization": (
        JOIN.format(2, 2) + "select api.member_change(2, null, 'eva', 'y'), account_change(2, null, false, 'eva', 'y');"
        "select api.invitation_make('viewer', sha256('l'), 1, now() + interval '1 day', 'ida@x.org', 'eva');"
        "select api.invitation_use(2, sha256('l'))"
    ),
    "an event of the first versions has no state": (
        "insert into audit (organization_id, who, action, subject, why)"
        " values (1, 'eva', 'account disable', 'user/ida@x.org', 'y');"
        "update users set disabled = true where user_id = 2"
    ),
}
"""What people may do, and what the trails say of it."""


@pytest.fixture
async def standing(database_url: str, tmp_path: Path) -> AsyncIterator[Signing]:
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.owner.execute(DATA)
        await signing.sign()
        yield signing


async def test_what_is_written_over_put_in_or_taken_away_is_found_by_its_subject(standing: Signing) -> None:
    found = await standing.verify()
    assert found.faults == []
    assert found.records > len(KINDS)
    missed = []
    for statement, words in TAMPERINGS:
        async with standing.owner.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(statement)
            check = StandingCheck(connection, 1)
            async for event in events(connection, 1):
                check.event(event.n, event.fields)
            faults = await check.faults()
            await transaction.rollback()
        if not any(words in fault for fault in faults):
            missed.append((statement, faults))
    assert missed == []


async def test_the_whole_verification_tells_of_it_with_the_rights_of_the_process_that_signs(standing: Signing) -> None:
    await standing.owner.execute(
        "set session_replication_role = replica; update memberships set role = 'admin' where user_id = 2;"
        "set session_replication_role = origin"
    )
    assert (await standing.verify()).faults == ["user/ida@x.org: role: not what the events up to 19 say"]


@pytest.mark.parametrize("life", LIVES)
async def test_what_people_did_is_no_fault_in_any_trail(standing: Signing, life: str) -> None:
    async with standing.owner.acquire() as connection:
        await connection.execute(
            "select account_change(2, null, true, 'eva', 'y'), account_change(1, false, null, 'eva', 'y'),"
            " api.member_change(1, 'admin', 'eva', 'y'),"
            " run_create(1, 'B-2', array[1], null, '{}', 'eva', 'y')"
        )
        await connection.execute(LIVES[life])
        there = await connection.fetch("select organization_id from organizations order by 1")
    assert [(await standing.verify(organization)).faults for (organization,) in there] == [[]] * len(there)


async def test_who_is_put_in_as_a_member_is_found_whatever_events_the_account_has(standing: Signing) -> None:
    await standing.owner.execute(
        "select api.member_change(2, null, 'eva', 'y'), account_change(2, true, null, 'eva', 'y');"
        "insert into memberships (organization_id, user_id, role) values (1, 2, 'admin')"
    )
    (fault,) = (await standing.verify()).faults
    assert fault.startswith("user/ida@x.org: role: not what")


def test_every_state_that_a_run_can_be_given_is_compared() -> None:
    assert set(RUN_STATES) == set(get_args(GivenState))


async def test_a_member_of_an_organization_somebody_made_is_no_stranger(standing: Signing) -> None:
    await standing.owner.execute("select api.organization_create(1, 'south', 'South')")
    assert (await standing.verify(3)).faults == []
