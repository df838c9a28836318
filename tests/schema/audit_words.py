"""What the steps of audit_steps.py and audit_record_steps.py name."""

from __future__ import annotations

import hashlib
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
