"""What somebody changes who owns all tables, and holds neither the key nor the file: each is found, by its row."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schema.evidence.events import events
from schema.evidence.key_files import make_first
from schema.evidence.keys import load_public
from schema.evidence.records import DOCUMENTS, ROWS, RecordCheck
from schema.evidence.standing import KINDS
from schema.evidence.verification import Elsewhere
from tests.gateway.evidence.signing import Signing, signing_of

FREE = """
alter table audit disable trigger all; alter table checkpoints disable trigger all;
alter table evidence_keys disable trigger all; alter table lab_samples disable trigger all;
alter table lab_analytes disable trigger all;"""
AGAIN = """
do $$
declare
    e audit;
    before bytea := coalesce((select hash from audit where n = {0} - 1 and organization_id = 1), '');
begin
    for e in select * from audit where organization_id = 1 and n >= {0} order by n loop
        update audit set hash = audit_hash(before, e) where organization_id = 1 and n = e.n
        returning hash into before;
    end loop;
end $$;"""
"""Computes the chain again from an event on, as the trigger did."""
DATA = """
insert into organizations (name, title) values ('north', 'North');
insert into devices (name) values ('br-1');
select set_config('biogate.organization', '1', false);
select api.annotate('br-1', '2026-03-01 10:00+00', null, 'foam', 'eva');
select lab_sample_put(1, 1, 'S-1', 0, 'take', '{"taken_at": "2026-03-01T10:00:00Z"}',
    '[{"analyte": "lactate", "value": 1, "status": "measured"}]', 'person', null, 'eva', 'y');
insert into device_events (time, received_at, device_id, type, data, digest)
    values ('2026-03-01 12:00+00', now(), 1, 'phase', '{"phase": "batch"}', sha256('x'));"""

TAMPERINGS = {
    "a reason is changed": ("update audit set why = 'else' where n = 5", "event 5: changed"),
    "a person is changed and the hash of the event computed": (
        "update audit a set who = 'ida' where n = 5;"
        "update audit a set hash = audit_hash((select hash from audit where n = 4), a) where n = 5",
        "event 6: changed, or event 5 was",
    ),
    "a value is changed and all computed again": (
        "update audit set new = '99' where n = 5;" + AGAIN.format(5),
        "event 5: not as signed",
    ),
    "the login is changed and all computed again": (
        "update audit set login = 'x' where n = 9;" + AGAIN.format(9),
        "event 9: not as signed",
    ),
    "an event is deleted": ("delete from audit where n = 5", "event 5: missing"),
    "three events are deleted": ("delete from audit where n between 5 and 7", "events 5 to 7: missing"),
    "an event is deleted and the rest moved up": (
        "delete from audit where n = 5; update audit set n = -n where n > 5;"
        "update audit set n = -n - 1 where n < 0;" + AGAIN.format(5),
        "event 5: not as signed",
    ),
    "an event is inserted between others": (
        "update audit set n = -n where n > 5; update audit set n = -n + 1 where n < 0;"
        "insert into audit select 6, at, login, who, action, 's/z', old, new, why, hash, organization_id"
        " from audit where n = 5;" + AGAIN.format(6),
        "event 6: not as signed",
    ),
    "the number of an event is given twice": (
        "alter table audit drop constraint audit_pkey; insert into audit select * from audit where n = 5;"
        "update audit set why = 'twice', hash = 'x' where ctid = (select max(ctid) from audit where n = 5)",
        "event 5: it stands there twice",
    ),
    "two events change places": (
        "update audit set n = -5 where n = 6; update audit set n = 6 where n = 5;"
        "update audit set n = 5 where n = -5;" + AGAIN.format(5),
        "event 5: not as signed",
    ),
    "an event is back-dated": (
        "update audit set at = at - interval '1 day' where n = 9;" + AGAIN.format(9),
        "event 9: back-dated",
    ),
    "the end is deleted": ("delete from audit where n > 9", r"events 10 to 1\d: missing at the end"),
    "the end is deleted, and its checkpoints too": (
        "delete from audit where n > 6; delete from checkpoints where n > 6",
        r"events 7 to 1\d: missing at the end",
    ),
    "everything is deleted": (
        "truncate audit, checkpoints, evidence_keys",
        "checkpoints from 1 to 3 of the file: missing in the table",
    ),
    "the checkpoints are deleted": (
        "truncate checkpoints",
        "3 checkpoints from 1 to 3 of the file: missing in the table",
    ),
    "a checkpoint is deleted": (
        "delete from checkpoints where number = 2",
        "checkpoint 2 of the file: missing in the table",
    ),
    "the text of a checkpoint is changed": (
        "update checkpoints set text = replace(text, '\"n\":', '\"n\":1') where number = 2",
        "checkpoint 2 of the table of .* is with a wrong signature",
    ),
    "the signature of a checkpoint is changed": (
        "update checkpoints set signature = sha512('x') where number = 3",
        "checkpoint 3 of the table of .* is with a wrong signature",
    ),
    "a checkpoint is another organization's": (
        "update checkpoints set organization_id = 2 where number = 3",
        "checkpoint 3 of the file: missing in the table",
    ),
    "the chain is given to another organization": (
        "update audit set organization_id = 2; update checkpoints set organization_id = 2",
        "missing at the end",
    ),
    "the key in the table is another one": (
        "update evidence_keys set signature = sha512('x')",
        "the keys in the table are not those of the file",
    ),
    "a sample is changed": (
        "update lab_analytes set value = 2",
        "lab_samples 1 to 1: changed; certain by event",
    ),
    "a sample is deleted": (
        "delete from lab_analytes; delete from lab_samples",
        "lab_samples 1 to 1: 1 were there, and 0 are",
    ),
    "an event of a device is changed": (
        'update device_events set data = \'{"phase": "fed"}\'',
        "device_events 1 to 1: changed",
    ),
    "an event of a device is deleted": ("delete from device_events", "device_events 1 to 1: changed"),
    "a note is changed": (
        "update annotations set text = 'no foam'",
        "what event 1 .annotation. says of it was changed",
    ),
    "a digest of records is deleted": (
        "delete from audit where action = 'records digest'",
        r"event \d+: missing",
    ),
}


@pytest.fixture
async def signed(database_url: str, tmp_path: Path) -> AsyncIterator[Signing]:
    """A trail of a dozen events with three checkpoints, and records in it by digest."""
    async with signing_of(database_url, tmp_path / "key") as signing:
        await signing.owner.execute(DATA)
        await signing.digests(2)
        await signing.events(4)
        for _ in range(2):
            await signing.sign()
            await signing.events(3)
        await signing.sign()
        found = await signing.verify()
        assert (found.faults, found.remarks, found.checkpoints, found.records) == ([], [], 3, 3)
        await signing.owner.execute(FREE)
        yield signing


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_what_the_owner_of_the_tables_changes_is_found(signed: Signing, name: str) -> None:
    statements, words = TAMPERINGS[name]
    off, on = ("set session_replication_role = " + role for role in ("replica", "origin"))
    await signed.owner.execute(f"{off}; {statements}; {on}")
    found = await signed.verify()
    assert any(re.search(words, fault) for fault in found.faults), found


async def test_the_database_itself_names_what_is_not_as_it_was_signed(signed: Signing) -> None:
    """Also what is gone from the end; a backup is verified by that."""
    faults = "select coalesce(array_agg(n order by n), '{}') from audit_faults(1) n"
    signs = await signed.owner.fetch("select n from checkpoints where organization_id = 1 order by number")
    before, last = signs[-2]["n"], signs[-1]["n"]
    assert await signed.owner.fetchval(faults) == []
    await signed.owner.execute(FREE + f"update audit set new = '99' where n = {last};" + AGAIN.format(last))
    assert await signed.owner.fetchval(faults) == [last]
    await signed.owner.execute(f"delete from audit where organization_id = 1 and n > {before}")
    assert await signed.owner.fetchval(faults) == [last]
    await signed.owner.execute(f"delete from audit where organization_id = 1 and n >= {before}")
    assert await signed.owner.fetchval(faults) == [before, last]


async def test_each_fault_says_by_which_checkpoint_it_is_certain(signed: Signing) -> None:
    await signed.owner.execute("update audit set new = '99' where n = 5;" + AGAIN.format(5))
    found = await signed.verify()
    assert found.certain is None  # the first checkpoint has signed event 5
    assert re.search(r"certain by checkpoint 1 of 20\d\d-", found.faults[0])
    await signed.owner.execute("alter table audit enable trigger all")
    await signed.events(2)
    await signed.owner.execute("alter table audit disable trigger all; update audit set why = 'z' where n = 15")
    found = await signed.verify()
    assert re.fullmatch(r"event 15: changed.*; no checkpoint has signed them", found.faults[-1])


async def test_a_forged_history_with_a_key_of_its_own_is_found_by_the_public_key(
    signed: Signing, tmp_path: Path, database_url: str
) -> None:
    """The forger makes everything anew: trail, checkpoints, keys and file."""
    real = load_public(signed.directory.path / "public.pem")
    await signed.owner.execute("truncate checkpoints, evidence_keys, record_positions; update audit set who = 'ida';")
    await signed.owner.execute(AGAIN.format(1) + "alter table audit enable trigger all")
    await signed.lead_ends()
    make_first(tmp_path / "forger")
    async with signing_of(database_url, tmp_path / "forger") as forger:
        await forger.sign()
        assert (await forger.verify()).faults == []
        found = await forger.verify(elsewhere=Elsewhere(real, forger.directory.file, None))
    assert any("is trusted, vouches for none of" in fault for fault in found.faults)
    assert any("which nobody trusts" in fault for fault in found.faults)


async def test_without_file_key_and_broker_it_is_said_what_is_not_certain(signed: Signing) -> None:
    found = await signed.verify(elsewhere=Elsewhere())
    assert [remark.split(",")[0] for remark in found.remarks] == [
        "checkpoints are in the database alone",
        "no public key was given: a forger's own key would look as good as the real one",
    ]
    assert found.faults == []


async def test_a_line_of_the_file_that_was_changed_shows(signed: Signing) -> None:
    path = signed.directory.file
    lines = path.read_text().splitlines()
    [second] = [n for n, line in enumerate(lines) if '\\"number\\":2,' in line]
    lines[second] = lines[second].replace('\\"n\\":', '\\"n\\":1')
    path.write_text("\n".join([*lines, ""]))
    found = await signed.verify()
    assert any("checkpoint 2 of the file" in fault for fault in found.faults), found


async def test_a_line_that_was_taken_out_of_the_file_shows_and_an_older_copy_is_no_fault(signed: Signing) -> None:
    path = signed.directory.file
    lines = path.read_text().splitlines()
    of = [n for n, line in enumerate(lines) if json.loads(line)["kind"] == "checkpoint"]
    path.write_text("\n".join([*lines[: of[1]], *lines[of[1] + 1 :], ""]))
    assert "checkpoint 2 of the table: taken out of the file" in (await signed.verify()).faults
    path.write_text("\n".join([*lines[: of[2]], ""]))
    found = await signed.verify()
    assert (found.faults, found.remarks) == ([], ["checkpoint 3: not in the file"])


@pytest.mark.parametrize("role", ["biogate_evidence", "biogate_operator"])
async def test_who_verifies_may_read_all_that_the_trail_speaks_of(signed: Signing, role: str) -> None:
    """The signing process and the command have other logins than the owner."""
    async with signed.owner.acquire() as connection, connection.transaction():
        await connection.execute(f"set local role {role}")
        for kind, rows in ROWS.items():
            assert isinstance(await connection.fetch(rows, 1, 0, 1000, 10), list), kind
        for action, document in DOCUMENTS.items():
            assert isinstance(await connection.fetchval(document, "subject/0", "{}", 1), bool), action
        for kind, of in KINDS.items():
            assert isinstance(await connection.fetch(of.rows, 1), list), kind


SAID = {
    "signature": (
        "insert into signatures (organization_id, record, version, digest, meaning, name, who, user_id, at, form, text)"
        " select 1, 'sample/S-1', 1, record_digest('{}'), 'reviewed', 'Eva', email, user_id, '2026-03-01Z', '{}',"
        " record_json(jsonb_build_object('at', '2026-03-01T00:00:00Z', 'digest', record_digest('{}'), 'meaning',"
        " 'reviewed', 'name', 'Eva', 'record', 'sample/S-1', 'who', email)) from users limit 1;"
        "insert into audit (who, action, subject, new, why)"
        " select who, 'signature', record, text::jsonb, meaning from signatures",
        ("name = 'Ida'", "meaning = 'approved'", "form = '[]', digest = record_digest('[]')"),
        "signatures",
    ),
    "correction make": (
        "insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, value,"
        " who, why) select 1, 1, 1, 'make', 1, channel_id, '2026-03-01Z', '2026-03-02Z', 7, 'eva', 'y'"
        " from channels where name = 'ph';"
        "insert into audit (who, action, subject, new, why)"
        " select who, 'correction make', 'correction/1', correction_document(c), why from corrections c",
        ("value = 6", "ends = '2026-03-03Z'", "value = null, factor = 1, added = 0"),
        "corrections",
    ),
    "policy change": (
        "insert into policies (organization_id, passwords_kept) values (1, 3);"
        "insert into audit (who, action, subject, new, why) select 'eva', 'policy change', 'organization/main',"
        " to_jsonb(p) - 'organization_id', 'y' from policies p",
        ("passwords_kept = 0", "second_person = '{samples}'", "idle_minutes = 1"),
        "policies",
    ),
    "report make": (
        "insert into reports (report_id, organization_id, kind, title, subtitle, begins, ends, template,"
        " template_version, made_by, made_at, document, html, pdf)"
        " values (gen_random_uuid(), 1, 'shift', 't', 's', '2026-03-01Z', '2026-03-02Z', 'x', 0, 'eva', '2026-03-02Z',"
        " '{}', 'h', 'p');"
        "insert into audit (who, action, subject, new, why) select made_by, 'report make', 'report/' || report_id,"
        " jsonb_build_object('document_sha256', encode(sha256(document), 'hex'), 'html_sha256',"
        " encode(sha256(html), 'hex'), 'pdf_sha256', encode(sha256(pdf), 'hex')), 'y' from reports",
        ("pdf = 'q'", "html = 'i'", "pdf = null, no_pdf = 'x'"),
        "reports",
    ),
    "second person ask": (
        "insert into pending_acts (organization_id, kind, subject, request, who, why, expires_at)"
        " values (1, 'rules', 'alarm-rule/hot', '{\"limit\": 7}', 'eva', 'y', '2100-01-01Z');"
        "insert into audit (who, action, subject, new, why) select who, 'second person ask', subject,"
        " jsonb_build_object('act', act_id, 'kind', kind, 'request', request), why from pending_acts",
        ("request = '{}'", "kind = 'samples'"),
        "pending_acts",
    ),
}


@pytest.mark.parametrize("action", SAID)
async def test_a_row_that_an_event_tells_in_full_is_compared(signed: Signing, action: str) -> None:
    made, changes, table = SAID[action]
    await signed.owner.execute("alter table audit enable trigger all")
    await signed.owner.execute(
        "insert into users (email, name, password_hash) values ('eva@example.org', 'Eva', 'x') on conflict do nothing;"
        + made
    )
    await signed.sign()
    assert (await signed.verify()).faults == []
    await signed.owner.execute(f"alter table {table} disable trigger all")
    for change in (*(f"update {table} set {change}" for change in changes), f"delete from {table}"):
        async with signed.owner.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(change)
            check = RecordCheck(connection, 1)
            async for event in events(connection, 1):
                await check.event(event)
            await transaction.rollback()
        assert any(f"({action}) says of it was changed" in fault for fault in check.faults), change
