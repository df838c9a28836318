"""What is done for the audit trail, and which events each of it leaves."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

Event = tuple[str, str, str, Any, Any]
"""Organization, action, subject, old, new."""
TXN, OTHER_TXN = "0" * 32, "1" * 32
JOB = "0b8f6f1e-3c55-4a7e-9c0c-1f2d3e4a5b6c"
IDENTITY = hashlib.sha256(b"i" * 32).hexdigest()
AT, THEN = "2026-03-01T10:00:00+00:00", "2026-03-01T11:00:00+00:00"
WHO = "'eva', 'because'"
KEY = "abcdefghijkl"
HANDSHAKE = (
    "insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript,"
    " proof) values ('{}', 'main', 'S-2', repeat('i', 32)::bytea, 1, 'awaiting', '', '', '', 'p')"
)
PROVED = {"txn": TXN, "identity": IDENTITY}
DENIED = {"txn": OTHER_TXN, "identity": IDENTITY}
CORRECTION = {"channel": "ph", "begins": AT, "ends": THEN, "quality": 1}
CORRECTED = {"device": "br-1", "version": 1}
DEVICE = "(select device_id from devices where name = 'br-1')"
NUMBER = f"DEV-{datetime.now(UTC).year}-0001"
DEVIATION = f"deviation/{NUMBER}"
LINKED = {"link": 1, "type": "seen-in", "kind": "device", "reference": "br-1"}
COMPUTED = {"formula": "ph + 1", "inputs": {"ph": None}}
RULE = {"enabled": True, "priority": "high", "title": "hot"}
ROUTE = {"enabled": True}
FROM = {"address": "192.0.2.1"}
ACT = (
    "insert into alarm_acts (rule_id, device_id, organization_id, action, until, who, why)"
    f" select rule_id, {DEVICE}, 1, '{{}}', {{}}, {WHO} from alarm_rules"
)
RUN = {"state": "running", "begins": AT, "strain": "CHO", "plan": [], "devices": ["br-1"]}
PHASE = {"name": "batch", "begins": AT, "ends": None, "origin": "person"}
RUN_EVENT = (
    "insert into device_events (time, received_at, device_id, type, data, boot, digest)"
    " select '2026-03-01 12:00+00', now(),"
    " device_id, 'run', '{0}', 1, sha256('{0}') from devices where name = 'br-1'"
)
TAKEN = {"device": "br-1", "taken_at": AT, "source": "person"}
LACTATE = {"value": 1, "status": "measured", "measured_by": "eva"}
MEASURED = TAKEN | {"analytes": {"lactate": LACTATE}}
FEED = {"kind": "feed", "material": "glucose", "quantity": 2, "unit": "mL", "begins": AT}
RECORDED = {"device": "br-1", "source": "person"}
KEYED = "0f3e6d8a1b2c4f5e"
EXCEPTIONS_DIGEST = hashlib.sha256(f'[{{"key": "{KEYED}"}}]'.encode()).hexdigest()
GATHERED = {"version": 1, "devices": ["br-1"], "begins": AT, "ends": THEN, "n": 1, "exceptions": 1}
GATHERED |= {"exceptions_sha256": EXCEPTIONS_DIGEST}
LAID_OUT = {"sections": [{"name": "notes"}]}
REPORT = "0b7e9c52-3d1f-4a86-9a2e-6f1c5d0e8b47"
REPORTED: dict[str, object] = {
    "kind": "shift",
    "title": "Shift",
    "subtitle": "x",
    "begins": AT,
    "ends": THEN,
    "no_pdf": "no Pango",
}
REPORTED |= {"template": "shift", "template_version": 0}
KEPT = {name: REPORTED[name] for name in ("kind", "begins", "ends", "template", "template_version")}
KEPT |= {"document_sha256": hashlib.sha256(b"x").hexdigest(), "html_sha256": hashlib.sha256(b"y").hexdigest()}
POLICY: dict[str, Any] = {"idle_minutes": None, "password_days": None, "passwords_kept": 0, "meanings": []}
POLICY |= {"second_person": ["deviations"], "waiting_hours": 72}
LATE, HASH = "deviation/DEV-2026-0077", "(select password_hash from users where user_id = 1)"
CLOSES = {"deviation": "DEV-2026-0077", "end_hold": False, "version": 1}
SIGNED = {"kind": "biogate signature 1", "name": "Eva", "who": "eva@x.org", "organization": 1}
"""What signatures have beside time and digest, which the test leaves out."""
STEPS: list[tuple[str, list[Event]]] = [
    # enrollment
    (
        f"select serials_import('{{S-1}}', '{{br-9}}', '{{1}}', array[null]::bytea[], 'lot', 5, {WHO}, null)",
        [("main", "serials import", "import/lot", None, {"serials": 1, "quota": 5})],
    ),
    (
        f"select serials_import('{{S-9}}', '{{br-8}}', '{{1}}', array[null]::bytea[], 'lot', null, {WHO}, 'north')",
        [
            ("main", "serials import", "import/lot", None, {"serials": 1, "quota": None}),
            ("north", "serials import", "import/lot", None, {"serials": 1}),
        ],
    ),
    (f"select serial_block('S-1', true, {WHO})", [("main", "serial block", "serial/S-1", False, True)]),
    (f"select serial_block('S-1', false, {WHO})", [("main", "serial unblock", "serial/S-1", True, False)]),
    (HANDSHAKE.format(TXN), [("main", "enrollment awaiting", "serial/S-2", None, PROVED)]),
    (
        f"select enrollment_approve('{TXN}', 'br-2', {WHO})",
        [("main", "enrollment approved", "serial/S-2", "awaiting", PROVED)],
    ),
    (HANDSHAKE.format(OTHER_TXN), [("main", "enrollment awaiting", "serial/S-2", None, DENIED)]),
    (
        f"select enrollment_deny('{OTHER_TXN}', {WHO})",
        [("main", "enrollment rejected", "serial/S-2", "awaiting", DENIED | {"reason": "denied"})],
    ),
    (f"select enrollment_switch('main', false, {WHO})", [("main", "enrollment close", "cell/main", True, False)]),
    (
        f"select enrollment_switch(null, true, {WHO})",
        [("main", "enrollment open", "cells", {"main": False, "other": True}, True)],
    ),
    (f"select enrollment_switch('main', true, {WHO})", [("main", "enrollment open", "cell/main", True, True)]),
    # devices and their logins
    *(
        (
            f"select device_command('br-1', '{action}', {WHO})",
            [("main", f"device {action}", "device/br-1", {"state": old}, new)],
        )
        for action, old, new in (
            ("suspend", "active", {"state": "suspended"}),
            ("resume", "suspended", {"state": "active"}),
            ("rotate", "active", {"state": "active", "renew": 2}),
            ("reset", "active", {"state": "active", "renew": 2}),
        )
    ),
    (
        f"select device_command('br-3', 'retire', {WHO})",
        [("main", "device retire", "device/br-3", {"state": "active"}, {"state": "retired"})],
    ),
    (
        f"select device_command('br-3', 'revoke', {WHO})",
        [("main", "device revoke", "device/br-3", {"state": "retired"}, {"state": "revoked"})],
    ),
    (
        f"""select device_login('br-1', 'main', 'c', '{{"generation": 7}}', {WHO})""",
        [("main", "device login", "device/br-1", None, {"username": "br-1.7"})],
    ),
    (
        f"select login_end('br-1.7', {WHO})",
        [("main", "login end", "device/br-1", "present", {"username": "br-1.7"})],
    ),
    (
        f"select api.device_change('br-1', 'Two', 'hall', '{{new}}', null, {WHO})",
        [
            (
                *("main", "device change", "device/br-1"),
                {"title": "One", "location": None, "tags": ["old"]},
                {"title": "Two", "location": "hall", "tags": ["new"]},
            )
        ],
    ),
    (
        f"select api.annotate('br-1', '{AT}', '{THEN}', 'foam', 'eva')",
        [("main", "annotation", "device/br-1", None, {"id": 1, "begins": AT, "ends": THEN, "text": "foam"})],
    ),
    (
        f"select api.annotation_withdraw('br-1', 1, {WHO})",
        [("main", "annotation withdraw", "device/br-1", None, 1)],
    ),
    (
        "insert into commands (command_id, organization_id, device_id, name, parameters, requested_by, why, expires_at)"
        f""" select '{"0" * 32}', 1, {DEVICE}, 'setpoint', '{{"ph": 7}}', {WHO}, now() + interval '1 h'""",
        [
            (
                *("main", "command request", "device/br-1", None),
                {
                    "command": "00000000-0000-0000-0000-000000000000",
                    "name": "setpoint",
                    "parameters": {"ph": 7},
                },
            )
        ],
    ),
    (
        "update commands set state = 'sent', detail = 'so'",
        [
            (
                *("main", "command sent", "device/br-1", "waiting"),
                {
                    "command": "00000000-0000-0000-0000-000000000000",
                    "name": "setpoint",
                    "parameters": {"ph": 7},
                    "detail": "so",
                },
            )
        ],
    ),
    # alarms
    (
        f"select api.alarm_rule_put('hot', '{json.dumps(RULE)}', null, {WHO})",
        [("main", "alarm rule create", "alarm-rule/hot", None, RULE)],
    ),
    (
        f"select api.alarm_rule_put('hot', '{json.dumps(RULE | {'priority': 'low'})}', null, {WHO})",
        [("main", "alarm rule change", "alarm-rule/hot", RULE, RULE | {"priority": "low"})],
    ),
    (
        "insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched,"
        " shelved_once, suppressed, out_of_service, state, priority, since, detail)"
        f" select rule_id, {DEVICE}, 1, 1, 'normal', false, true, false, false, false, false, 'shelved', 'low', now(),"
        " '' from alarm_rules",
        [],
    ),
    (
        "insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after, condition,"
        f" priority, detail) select rule_id, {DEVICE}, 1, 1, now(), 'shelve', 'normal', 'shelved', 'normal', 'low', ''"
        " from alarm_rules",
        [],
    ),
    (ACT.format("shelve", f"'{THEN}'"), []),  # until it is done
    (
        "update alarm_acts set done_at = now(), n = 1",
        [("main", "alarm shelve", "alarm/br-1/hot", "normal", {"state": "shelved", "until": THEN})],
    ),
    (ACT.format("acknowledge", "null"), []),
    (
        "update alarm_acts set done_at = now(), refused = 'no' where done_at is null",
        [("main", "alarm acknowledge refused", "alarm/br-1/hot", None, {"refused": "no"})],
    ),
    (
        f"select api.alarm_rule_remove('hot', null, {WHO})",
        [("main", "alarm rule remove", "alarm-rule/hot", RULE | {"priority": "low"}, None)],
    ),
    (
        f"select api.alarm_route_put('chat', '{json.dumps(ROUTE)}', 'sealed', 'mailto://a', null, {WHO})",
        [
            (
                *("main", "alarm route create", "alarm-route/chat", None),
                ROUTE | {"address": "mailto://a", "url_changed": True},
            )
        ],
    ),
    (
        f"""select api.alarm_route_put('chat', '{{"enabled": true, "tags": ["x"]}}', null, null, null, {WHO})""",
        [
            (
                *("main", "alarm route change", "alarm-route/chat", ROUTE | {"address": "mailto://a"}),
                ROUTE | {"tags": ["x"], "address": "mailto://a", "url_changed": False},
            )
        ],
    ),
    (
        f"select api.alarm_route_test('chat', {WHO})",
        [("main", "alarm route test", "alarm-route/chat", None, None)],
    ),
    (
        f"select api.alarm_route_remove('chat', null, {WHO})",
        [
            (
                *("main", "alarm route remove", "alarm-route/chat"),
                *(ROUTE | {"tags": ["x"], "address": "mailto://a"}, None),
            )
        ],
    ),
    # people
    (
        "select api.account_create('Olga@x.org', 'Olga', 'one', null)",
        [("main", "account create", "user/olga@x.org", None, None)],
    ),
    (
        "select api.password_change(1, 'one', 'two', null)",
        [("main", "password change", "user/eva@x.org", None, None)],
    ),
    (
        "select api.organization_create(1, 'south', 'South')",
        [("south", "organization create", "organization/south", None, "South")],
    ),
    (
        f"select api.organization_change('Centre', {WHO})",
        [("main", "organization change", "organization/main", "Main", "Centre")],
    ),
    (
        "select api.invitation_create('engineer', sha256('code'), 2, 'infinity', 'eva')",
        [
            (
                *("main", "invitation create", "invitation/1", None),
                {"role": "engineer", "uses": 2, "expires_at": "infinity"},
            )
        ],
    ),
    (
        "select api.invitation_use(2, sha256('code'))",
        [("main", "member join", "user/ida@x.org", None, {"role": "engineer"})],
    ),
    (f"select api.invitation_end(1, {WHO})", [("main", "invitation end", "invitation/1", None, None)]),
    (
        f"select api.member_change(2, 'viewer', {WHO})",
        [("main", "member role", "user/ida@x.org", "engineer", "viewer")],
    ),
    (
        f"select api.member_change(2, null, {WHO})",
        [("main", "member remove", "user/ida@x.org", "viewer", None)],
    ),
    (
        f"select api.key_create('{KEY}', sha256('x'), 'press', 'operator', '{{devices:read}}', '{THEN}', 'eva')",
        [
            (
                *("main", "key create", f"key/{KEY}", None),
                {"name": "press", "role": "operator", "scopes": ["devices:read"], "expires_at": THEN},
            )
        ],
    ),
    (f"select api.key_end('{KEY}', {WHO})", [("main", "key end", f"key/{KEY}", None, None)]),
    (
        f"select api.organization_describe(null, 'Halls', 'eva', {WHO})",
        [
            (
                *("main", "organization change", "organization/main"),
                {"title": "Centre", "description": "", "contact": ""},
                {"title": "Centre", "description": "Halls", "contact": "eva"},
            )
        ],
    ),
    (
        "select api.log_in_failed(3, '192.0.2.1')",
        [("main", "log-in failed", "user/olga@x.org", None, FROM | {"times": 1})],
    ),
    (
        "select api.log_in_failed(null, '192.0.2.1')",
        [("main", "log-in failed", "user/unknown", None, FROM | {"times": 1})],
    ),
    *(
        (
            f"select api.log_in(3, 'one', 'program', sha256('family{n}'), sha256('token{n}'), 'infinity', '',"
            " '192.0.2.1', '192.0.2.1')",
            [
                (
                    "main",
                    "log in",
                    "user/olga@x.org",
                    None,
                    FROM | {"session": n, "kind": "program", "failures": failures},
                )
            ],
        )
        for n, failures in ((1, 1), (2, 0), (3, 0))
    ),
    ("select api.session_end(3, 1)", [("main", "session end", "user/olga@x.org", None, {"sessions": [1]})]),
    ("select api.log_out(3, 2)", [("main", "log out", "user/olga@x.org", None, {"sessions": [2]})]),
    (
        "select * from api.session_renew(sha256('family3'), sha256('another'), sha256('next'), 'infinity')",
        [("main", "session end", "user/olga@x.org", None, {"sessions": [3]})],
    ),
    (
        f"select api.account_change(3, true, true, {WHO})",
        [
            ("main", f"account {action}", "user/olga@x.org", {what: False}, {what: True})
            for action, what in (("disable", "disabled"), ("verify", "verified"))
        ],
    ),
    (
        f"select api.account_change(3, false, false, {WHO})",
        [
            ("main", f"account {action}", "user/olga@x.org", {what: True}, {what: False})
            for action, what in (("enable", "disabled"), ("unverify", "verified"))
        ],
    ),
    (
        f"select api.password_reset_make(3, sha256('code'), 'infinity', {WHO})",
        [("main", "password link", "user/olga@x.org", None, {"expires_at": "infinity"})],
    ),
    (
        "select api.password_reset_use(sha256('code'), 'two')",
        [("main", "password reset", "user/olga@x.org", None, None)],
    ),
    (
        "select api.export_note('devices/br-1/telemetry', '{}', 'eva')",
        [("main", "export", "devices/br-1/telemetry", None, {"times": 1})],
    ),
    # jobs
    (
        f"select api.job_make('{JOB}', 'export', '{{}}', 7, 'eva')",
        [("main", "export", f"job/{JOB}", None, {})],
    ),
    (f"select api.job_cancel('{JOB}', {WHO})", [("main", "export cancel", f"job/{JOB}", {"state": "queued"}, None)]),
    (
        f"update jobs set files_expire_at = 'infinity'; select api.job_files_drop('{JOB}', {WHO})",
        [("main", "export files delete", f"job/{JOB}", {"bytes": 7}, None)],
    ),
    (
        f"select api.export_made('{JOB}', '{{\"file\": \"export.csv\"}}')",
        [("main", "export make", f"job/{JOB}", None, {"file": "export.csv"})],
    ),
    # quarantine
    (
        "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256)"
        " values (now(), 'br-1', 'x', 'too-old', '', 'xyz', sha256('xyz'));"
        f"select api.quarantine_discard('{{1}}', {WHO})",
        [
            (
                *("main", "quarantine.discard", "quarantine/1"),
                {
                    "state": "open",
                    "device": "br-1",
                    "reason": "too-old",
                    "bytes": 3,
                    "sha256": hashlib.sha256(b"xyz").hexdigest(),
                },
                {"state": "discarded"},
            )
        ],
    ),
    # retention
    (
        f"select retention_hold(1, {DEVICE}, '{AT}', '{THEN}', {WHO})",
        [("main", "retention hold", "hold/1", None, {"device": "br-1", "begins": AT, "ends": THEN})],
    ),
    (f"select retention_hold_end(1, null, {WHO})", [("main", "retention hold end", "hold/1", None, None)]),
    (
        f"select retention_note('frame', '{AT}', '{THEN}', '{{1, 2}}', '{{3, 4}}', 'old')",
        [
            ("main", "retention drop", "retention/frame", None, {"from": AT, "to": THEN, "rows": 3}),
            ("north", "retention drop", "retention/frame", None, {"from": AT, "to": THEN, "rows": 4}),
        ],
    ),
    # the installation
    (
        "insert into _pogo_migration (migration_hash, migration_id, applied, schema_name)"
        " values ('x', '9999_x', now(), 'public')",
        [("main", "migration", "migration/9999_x", False, True)],
    ),
    (
        "delete from _pogo_migration where migration_id = '9999_x'",
        [("main", "migration undo", "migration/9999_x", True, False)],
    ),
    (
        f"insert into backups (label, taken_at, bytes) values ('l', '{AT}', 3)",
        [("main", "backup take", "backup/l", None, {"bytes": 3, "taken_at": AT})],
    ),
    (
        "update backups set verified_at = now(), ok = true, detail = 'whole'",
        [("main", "backup verify", "backup/l", None, {"ok": True, "detail": "whole"})],
    ),
    # reports
    (
        f"select api.report_template_put('batch', 'batch', '{json.dumps(LAID_OUT)}', null, {WHO})",
        [("main", "report template", "report-template/batch", None, LAID_OUT)],
    ),
    (
        f"select api.report_template_put('batch', 'batch', '{json.dumps(LAID_OUT | {'header': 'x'})}', 1, {WHO})",
        [("main", "report template", "report-template/batch", LAID_OUT, LAID_OUT | {"header": "x"})],
    ),
    (
        f"select api.job_make('{REPORT}', 'report', '{{}}', 0, 'eva')",
        [("main", "report", f"job/{REPORT}", None, {})],
    ),
    (
        f"select api.report_keep('{REPORT}', null, '{json.dumps(REPORTED)}', 'x', 'y', null)",
        [("main", "report make", f"report/{REPORT}", None, KEPT)],
    ),
    # deviations
    (
        "select api.deviation_open('hot', 'very', 'minor', '{x}', '[]', null, null, 'eva')",
        [
            (
                *("main", "deviation open", DEVIATION, None),
                {"title": "hot", "description": "very", "severity": "minor", "tags": ["x"], "members": []},
            )
        ],
    ),
    (
        f"select api.deviation_change('{NUMBER}', '{{\"severity\": \"major\"}}', 1, {WHO})",
        [("main", "deviation change", DEVIATION, {"severity": "minor"}, {"severity": "major"})],
    ),
    (
        f"select api.deviation_hold('{NUMBER}', '{{\"device\": \"br-1\"}}', 'eva')",
        [
            ("main", "retention hold", "hold/2", None, {"device": "br-1"}),
            ("main", "deviation hold", DEVIATION, None, 2),
        ],
    ),
    (
        f"select api.deviation_link('{NUMBER}', 'seen-in', 'device', 'br-1', {WHO})",
        [("main", "deviation link", DEVIATION, None, LINKED)],
    ),
    (
        f"select api.deviation_unlink('{NUMBER}', 1, {WHO})",
        [("main", "deviation unlink", DEVIATION, LINKED, None)],
    ),
    (
        f"select api.deviation_comment('{NUMBER}', 'of', 'eva')",
        [("main", "deviation comment", DEVIATION, None, {"comment": 1, "text": "of"})],
    ),
    (
        f"select api.deviation_comment_edit('{NUMBER}', 1, 'off', {WHO})",
        [
            (
                *("main", "deviation comment edit", DEVIATION, {"comment": 1, "text": "of"}),
                {"comment": 1, "text": "off"},
            )
        ],
    ),
    (
        f"select api.deviation_attach('{NUMBER}', 'a.txt', 'text/plain', 'xyz', 3, {WHO})",
        [
            (
                *("main", "deviation attach", DEVIATION, None),
                {
                    **{"attachment": 1, "name": "a.txt", "media_type": "text/plain", "bytes": 3},
                    "sha256": hashlib.sha256(b"xyz").hexdigest(),
                },
            )
        ],
    ),
    *(
        (
            f"select api.deviation_move('{NUMBER}', '{state}', false, null, {WHO})",
            [("main", f"deviation {act}", DEVIATION, {"state": before}, {"state": state})],
        )
        for act, before, state in (
            ("assess", "open", "assessed"),
            ("close", "assessed", "closed"),
            ("reopen", "closed", "open"),
        )
    ),
    *(
        (
            f"select api.location_put('hall', '{kind}', '', {WHO})",
            [("main", f"location {act}", "location/hall", was, {"kind": kind, "description": ""})],
        )
        for act, kind, was in (
            ("create", "site", None),
            ("change", "hall", {"kind": "site", "description": ""}),
        )
    ),
    (
        f"select api.device_card_put('br-1', '{{\"model\": \"B\"}}', null, null, {WHO})",
        [("main", "device card", "device/br-1", None, {"model": "B"})],
    ),
    (
        "select api.shift_entry('quiet', 'hall', '{br-1}', 'eva@x.org', 'ida')",
        [
            (
                *("main", "shift entry", "shift/1", None),
                {"text": "quiet", "location": "hall", "devices": ["br-1"], "handed_to": "eva@x.org"},
            )
        ],
    ),
    (
        "select api.shift_accept(1, 'eva@x.org')",
        [("main", "shift accept", "shift/1", {"accepted": False}, {"accepted": True})],
    ),
    (
        f"update devices set location = null; select api.location_remove('hall', {WHO})",
        [("main", "location remove", "location/hall", {"kind": "hall", "description": ""}, None)],
    ),
    (
        f"""with added as (insert into layouts (channel_ids) select array[channel_id] from channels where name = 'ph'
                           returning layout_id)
            insert into device_layouts select device_id, 1, layout_id from added, devices where name = 'br-1';
            select api.correction_put('br-1', null, null, 'make', '{json.dumps(CORRECTION)}', {WHO})""",
        [("main", "correction make", "correction/1", None, CORRECTION | CORRECTED)],
    ),
    (
        f"select api.correction_put('br-1', 1, 1, 'withdraw', '{{}}', {WHO})",
        [
            (
                "main",
                "correction withdraw",
                "correction/1",
                CORRECTION | CORRECTED,
                CORRECTION | CORRECTED | {"version": 2},
            )
        ],
    ),
    # samples and material
    *(
        (
            f"select lab_sample_put(1, {DEVICE}, 'S-1', {version}, '{act}', '{{\"taken_at\": \"{AT}\"}}',"
            f" '{json.dumps(analytes)}', 'person', null, {WHO})",
            [("main", f"sample {act}", "sample/S-1", was, becomes)],
        )
        for version, act, analytes, was, becomes in (
            (0, "take", [], None, TAKEN | {"version": 1}),
            (1, "measure", [{"analyte": "lactate", **LACTATE}], TAKEN | {"version": 1}, MEASURED | {"version": 2}),
        )
    ),
    (
        f"select material_put(1, {DEVICE}, null, 0, 'add', '{json.dumps(FEED)}', 'person', null, {WHO})",
        [("main", "material add", "material/1", None, FEED | RECORDED | {"version": 1})],
    ),
    (
        f"select material_put(1, {DEVICE}, 1, 1, 'withdraw', '{json.dumps(FEED | {'withdrawn': True})}', 'person',"
        f" null, {WHO})",
        [
            (
                *("main", "material withdraw", "material/1", FEED | RECORDED | {"version": 1}),
                FEED | RECORDED | {"version": 2, "withdrawn": True},
            )
        ],
    ),
    (
        f"select api.device_give('br-1', 'north', {WHO})",
        [
            ("main", "device give", "device/br-1", "main", "north"),
            ("north", "device give", "device/br-1", "main", "north"),
        ],
    ),
    # channels
    (
        f"select channel_describe(1, null, 'ph', '{{\"title\": \"acidity\"}}', null, null, {WHO})",
        [("main", "channel change", "channel/ph", {"channel": "ph"}, {"channel": "ph", "title": "acidity"})],
    ),
    (
        f"select channels_claim({DEVICE}, '{{\"ph\": {{\"decimals\": 2}}}}', 'because')",
        [("north", "channel change", "device/br-1", {"channel": "ph"}, {"channel": "ph", "decimals": 2})],
    ),
    *(
        (
            f"select computed_channel_put(1, 'our', '{json.dumps(becomes)}', null, {WHO})",
            [("main", f"computed channel {action}", "computed-channel/our", was, becomes)],
        )
        for action, was, becomes in (("create", None, COMPUTED), ("change", COMPUTED, COMPUTED | {"unit": "1/h"}))
    ),
    (
        f"select computed_channel_remove(1, 'our', 2, {WHO})",
        [("main", "computed channel remove", "computed-channel/our", COMPUTED | {"unit": "1/h"}, None)],
    ),
    (
        f'select computed_constants_set(2, {DEVICE}, \'{{"volume": 2, "other": null}}\', null, {WHO})',
        [("north", "device constants", "device/br-1", {}, {"volume": 2})],
    ),
    (
        f"select computed_constants_set(2, {DEVICE}, '{{\"volume\": null}}', 2, {WHO})",
        [("north", "device constants", "device/br-1", {"volume": 2}, {})],
    ),
    # reviews
    (
        "select api.review_put(null, null, '{br-1}', '2026-03-01T10:00Z', '2026-03-01T11:00Z', 1,"
        f" '[{{\"key\": \"{KEYED}\"}}]', '{{}}', 'eva')",
        [("main", "review gather", "review/1", None, GATHERED)],
    ),
    (
        f"select api.review_look(1, '{KEYED}', 'because', 'eva')",
        [("main", "review look", "review/1", None, {"key": KEYED})],
    ),
    # runs
    (
        f"select run_create(2, 'B-1', array[{DEVICE}], '{AT}', '{{\"strain\": \"CHO\"}}', {WHO})",
        [("north", "run create", "run/B-1", None, RUN)],
    ),
    (
        f"select run_change(2, 'B-1', null, '{{\"strain\": \"HEK\"}}', 1, {WHO})",
        [("north", "run change", "run/B-1", RUN, RUN | {"strain": "HEK"})],
    ),
    (
        f"select run_phases_put(2, 'B-1', '[{json.dumps(PHASE)}]', 2, {WHO})",
        [("north", "run phases", "run/B-1", [], [PHASE])],
    ),
    (
        f"select run_step(2, 'B-1', 'held', '{THEN}', 3, {WHO})",
        [("north", "run held", "run/B-1", {"state": "running"}, {"state": "held", "at": THEN})],
    ),
    (
        f"select run_automation(2, true, {WHO})",
        [("north", "run automation", "organization/north", False, True)],
    ),
    (
        RUN_EVENT.format(json.dumps({"run": "B-1", "state": "stopped"})),
        [
            (
                "north",
                "run stopped",
                "run/B-1",
                {"state": "held"},
                {"state": "stopped", "at": "2026-03-01T12:00:00+00:00"},
            )
        ],
    ),
    (
        RUN_EVENT.format(json.dumps({"run": "B-1", "state": "running"})),
        [("north", "run refuse", "device/br-1", None, {"run": "B-1", "state": "running"})],
    ),
    # signatures
    (
        f"select api.policy_put('{json.dumps(POLICY)}', {WHO})",
        [("main", "policy change", "organization/main", None, POLICY)],
    ),
    (
        f"select api.policy_put('{json.dumps(POLICY | {'password_days': 9})}', {WHO})",
        [("main", "policy change", "organization/main", POLICY, POLICY | {"password_days": 9})],
    ),
    (
        "insert into deviations (organization_id, year, n, title, severity, opened_by, state)"
        " values (1, 2026, 77, 'Late', 'minor', 'eva', 'assessed');"
        "insert into sessions (user_id, kind, token_hash, expires_at)"
        " values (1, 'browser', sha256('signs'), now() + interval '1 h');"
        f"select api.signature_put(max(session_id), {HASH}, 'eva@x.org', '{LATE}', digest, 'reviewed')"
        f" from sessions, api.record_state('{LATE}') group by digest",
        [("main", "signature", LATE, None, {"record": LATE, "meaning": "reviewed", **SIGNED})],
    ),
    (
        f"select api.pending_act_ask('deviations', '{LATE}', '{json.dumps(CLOSES)}', 'ida', 'because', null, null)",
        [("main", "second person ask", LATE, None, {"act": 1, "kind": "deviations", "request": CLOSES})],
    ),
    (
        "select api.pending_act_refuse(1, 'eva', 'because')",
        [("main", "second person refuse", LATE, {"act": 1, "state": "waiting"}, {"act": 1, "state": "refused"})],
    ),
    (
        f"select api.pending_act_ask('deviations', '{LATE}', '{json.dumps(CLOSES)}', 'ida', 'because', null, null)",
        [("main", "second person ask", LATE, None, {"act": 2, "kind": "deviations", "request": CLOSES})],
    ),
    (
        f"select api.pending_act_confirm(2, max(session_id), {HASH}, null, digest, 'because')"
        " from sessions, api.record_state('act/2') group by digest",
        [
            ("main", "signature", "act/2", None, {"record": "act/2", "meaning": "approved", **SIGNED}),
            ("main", "deviation close", LATE, {"state": "assessed"}, {"state": "closed"}),
            ("main", "second person confirm", LATE, {"act": 2, "state": "waiting"}, {"act": 2, "state": "done"}),
        ],
    ),
]
