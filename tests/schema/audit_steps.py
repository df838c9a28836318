"""What is done for the audit trail, and which events each of it leaves."""

from __future__ import annotations

import hashlib
import json

from tests.schema.audit_record_steps import RECORD_STEPS
from tests.schema.audit_words import (
    ACT,
    AT,
    DENIED,
    DEVICE,
    FROM,
    HANDSHAKE,
    JOB,
    KEY,
    OTHER_TXN,
    PROVED,
    ROUTE,
    RULE,
    THEN,
    TXN,
    WHO,
    Event,
)

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
        "update users set has_password = false where user_id = 1; select api.password_first(1, 'three', null)",
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
    *RECORD_STEPS,
]
