"""What is done to records (reports, deviations, samples, runs, signatures), and which events each of it leaves."""

from __future__ import annotations

import hashlib
import json

from tests.schema.audit_words import (
    AT,
    CLOSES,
    COMPUTED,
    CORRECTED,
    CORRECTION,
    DEVIATION,
    DEVICE,
    FEED,
    GATHERED,
    HASH,
    KEPT,
    KEYED,
    LACTATE,
    LAID_OUT,
    LATE,
    LINKED,
    MEASURED,
    NUMBER,
    PHASE,
    POLICY,
    RECORDED,
    REPORT,
    REPORTED,
    RUN,
    RUN_EVENT,
    SIGNED,
    TAKEN,
    THEN,
    WHO,
    Event,
)

RECORD_STEPS: list[tuple[str, list[Event]]] = [
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
    (
        f"select api.pending_act_ask('deviations', '{LATE}', '{json.dumps(CLOSES)}', 'ida', 'because', null, null);"
        " alter table pending_acts disable trigger all; update pending_acts set expires_at = now() where act_id = 3;"
        " alter table pending_acts enable trigger all; select pending_acts_expire()",
        [
            ("main", "second person ask", LATE, None, {"act": 3, "kind": "deviations", "request": CLOSES}),
            ("main", "second person expire", LATE, {"act": 3, "state": "waiting"}, {"act": 3, "state": "expired"}),
        ],
    ),
]
