"""Every route with who may use it, and a question to it that names somebody's things. A new route belongs in here: the
tests of rights and of isolation ask each one, and fail by name for one that they cannot ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import Mount, Route

from api.access.roles import Role, Scope
from api.edge.headers import is_for_people
from api.edge.shortcuts import Fixed
from tests.api import alarms
from tests.api.tenants import Tenant

Body = Callable[[Tenant], Any]
Needs = tuple[Role, Scope] | Literal["member", "caller", "nobody"]
"""`member` of any organization in any role; `caller`: whoever has credentials; `nobody` needs any."""

WHY = {"why": "to see what happens"}
PLAIN = (
    "GET /openapi.json",
    "HEAD /openapi.json",
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /redoc",
)
"""What shows the description, which is the same for everyone."""
ASSETS = "/static-offline-docs"
FILES = "/static/{digest}/{name:path}"
"""What pages load: the same for everyone."""


@dataclass(frozen=True)
class Question:
    needs: Needs
    body: Body | None = None
    """That names the things of somebody."""
    query: Callable[[Tenant], dict[str, str]] | None = None
    headers: Callable[[Tenant], dict[str, str]] | None = None
    shows: bool = True
    """A GET of this has something of his own for its owner."""
    answered: int = 200
    """How a GET of this is answered to its owner."""
    people: bool = False
    """Only people may, no keys."""
    stricter: bool = False
    """It asks for more than role and scope: see its description."""
    refusal: int = 404
    """How it is refused to somebody else."""
    number: str = "quarantine"
    """What the path parameter `number` counts."""


def why(_: Tenant) -> dict[str, str]:
    return WHY


def correction(tenant: Tenant) -> dict[str, Any]:
    time = {"from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"}
    return {**WHY, **time, "channel": tenant.known["channel"], "quality": 1}


VIEWER, CONTROL_ROOM, OPERATOR, ENGINEER, ADMIN = Role
ALARMS, RULES = (VIEWER, Scope.ALARMS_READ), (ENGINEER, Scope.RULES_WRITE)
TELEMETRY = (VIEWER, Scope.TELEMETRY_READ)
DEVICES = (VIEWER, Scope.DEVICES_READ)
AUDIT = (OPERATOR, Scope.AUDIT_READ)
READS, CHANGES = (ADMIN, Scope.ORGANIZATION_READ), (ADMIN, Scope.ORGANIZATION_WRITE)
PASSWORD = "a password that nobody has"
QUESTIONS: dict[str, Question] = {
    "GET /health": Question("nobody", shows=False),
    "GET /ready": Question("nobody", shows=False),
    "GET /metrics": Question("nobody", shows=False),
    # what devices say
    "GET /api/v1/latest": Question(TELEMETRY, query=lambda t: {"channel": t.known["channel"]}),
    "GET /api/v1/devices/{device}/latest": Question(TELEMETRY),
    "GET /api/v1/devices/{device}/telemetry": Question(
        TELEMETRY,
        query=lambda t: {"channel": t.known["channel"], "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"},
    ),
    "GET /api/v1/telemetry": Question(
        TELEMETRY,
        query=lambda t: {"device": t.known["device"], "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"},
    ),
    "POST /api/v1/telemetry": Question(
        TELEMETRY,
        lambda t: {"device": [t.known["device"]], "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"},
    ),
    "GET /api/v1/devices/{device}/events": Question(TELEMETRY),
    "GET /api/v1/quarantine": Question(DEVICES, query=lambda t: {"device": t.known["device"]}),
    "GET /api/v1/quarantine/{number}": Question(DEVICES, number="quarantine"),
    **{
        f"POST /api/v1/quarantine-{act}s": Question(
            (ENGINEER, Scope.DEVICES_WRITE), lambda t: {"messages": [int(t.objects["quarantine"])]} | WHY
        )
        for act in ("replay", "discard")
    },
    "GET /api/v1/devices/{device}/annotations": Question(DEVICES),
    "POST /api/v1/devices/{device}/annotations": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda _: {"begins": "2026-03-01T10:00:00Z", "text": "mine"}
    ),
    "GET /api/v1/devices/{device}/annotations/{number}": Question(DEVICES, number="annotation"),
    "DELETE /api/v1/devices/{device}/annotations/{number}": Question(
        (OPERATOR, Scope.DEVICES_WRITE), query=why, number="annotation"
    ),
    "GET /api/v1/devices/{device}/corrections": Question(TELEMETRY),
    "POST /api/v1/devices/{device}/corrections": Question((ENGINEER, Scope.DEVICES_WRITE), correction),
    "GET /api/v1/devices/{device}/corrections/{correction}": Question(TELEMETRY),
    "PUT /api/v1/devices/{device}/corrections/{correction}": Question((ENGINEER, Scope.DEVICES_WRITE), correction),
    "POST /api/v1/devices/{device}/corrections/{correction}/withdraw": Question((ENGINEER, Scope.DEVICES_WRITE), why),
    **{
        f"GET /api/v1/devices/{{device}}/telemetry.{format_}": Question(
            TELEMETRY,
            query=lambda t: {
                "channel": t.known["channel"],
                "from": "2026-03-01T10:00:00Z",
                "to": "2026-03-01T11:00:00Z",
            },
        )
        for format_ in ("arrow", "parquet")
    },
    **{
        f"GET /api/v1/telemetry.{format_}": Question(TELEMETRY, query=lambda t: {"device": t.known["device"]})
        for format_ in ("arrow", "parquet")
    },
    **{
        f"POST /api/v1/telemetry.{format_}": Question(TELEMETRY, lambda t: {"device": [t.known["device"]]})
        for format_ in ("arrow", "parquet")
    },
    # jobs
    "POST /api/v1/exports": Question(TELEMETRY, lambda t: {"device": [t.known["device"]]}),
    "POST /api/v1/exports/estimate": Question(TELEMETRY, lambda t: {"device": [t.known["device"]]}),
    "GET /api/v1/exports/{job}/file": Question(TELEMETRY, answered=409),  # it runs
    "GET /api/v1/exports/{job}/manifest": Question(TELEMETRY, answered=409),
    "GET /api/v1/jobs": Question(TELEMETRY),
    "GET /api/v1/jobs/{job}": Question(TELEMETRY),
    "POST /api/v1/jobs/{job}/cancel": Question(TELEMETRY, why),
    "DELETE /api/v1/jobs/{job}/files": Question(TELEMETRY, query=why),
    "POST /api/v1/imports": Question(
        (ENGINEER, Scope.DEVICES_WRITE), query=lambda t: {**WHY, "file": "run-7.csv", "device": t.known["device"]}
    ),
    # samples and material
    "GET /api/v1/samples": Question(TELEMETRY, query=lambda t: {"device": t.known["device"]}),
    "POST /api/v1/samples": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda t: {"device": t.known["device"], "taken_at": "2026-03-01T10:00:00Z"}
    ),
    "GET /api/v1/samples/{sample}": Question(TELEMETRY),
    "GET /api/v1/samples/{sample}/versions": Question(TELEMETRY),
    "PATCH /api/v1/samples/{sample}": Question((OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "note": "mine"}),
    "POST /api/v1/samples/{sample}/approve": Question((ENGINEER, Scope.DEVICES_WRITE), why),
    "POST /api/v1/samples/{sample}/withdraw": Question((OPERATOR, Scope.DEVICES_WRITE), why),
    "GET /api/v1/sample-telemetry": Question(
        TELEMETRY, query=lambda t: {"device": t.known["device"], "channel": t.known["channel"]}
    ),
    "POST /api/v1/sample-imports": Question(
        (OPERATOR, Scope.DEVICES_WRITE), query=lambda t: {**WHY, "device": t.known["device"]}
    ),
    "POST /api/v1/material-imports": Question(
        (OPERATOR, Scope.DEVICES_WRITE), query=lambda t: {**WHY, "device": t.known["device"]}
    ),
    "GET /api/v1/materials": Question(TELEMETRY, query=lambda t: {"device": t.known["device"]}),
    "POST /api/v1/materials": Question(
        (OPERATOR, Scope.DEVICES_WRITE),
        lambda t: {
            **{"device": t.known["device"], "kind": "feed", "material": "mine", "quantity": 1, "unit": "mL"},
            "begins": "2026-03-01T10:00:00Z",
        },
    ),
    "GET /api/v1/materials/{number}": Question(TELEMETRY, number="material"),
    "GET /api/v1/materials/{number}/versions": Question(TELEMETRY, number="material"),
    "PATCH /api/v1/materials/{number}": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "note": "mine"}, number="material"
    ),
    "POST /api/v1/materials/{number}/withdraw": Question((OPERATOR, Scope.DEVICES_WRITE), why, number="material"),
    "GET /api/v1/material-sums": Question(TELEMETRY, query=lambda t: {"device": t.known["device"]}),
    "GET /api/v1/devices/{device}/material-balance": Question(
        TELEMETRY, query=lambda _: {"from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"}
    ),
    # devices
    "GET /api/v1/devices": Question(DEVICES, query=lambda t: {"q": t.known["device"]}),
    "GET /api/v1/devices/{device}": Question(DEVICES),
    "GET /api/v1/devices/{device}/channels": Question(DEVICES),
    "GET /api/v1/devices/{device}/channels/{channel}": Question(DEVICES),
    "PATCH /api/v1/devices/{device}/channels/{channel}": Question(
        (ENGINEER, Scope.DEVICES_WRITE), lambda _: {**WHY, "unit": "mine", "title": "mine"}
    ),
    "GET /api/v1/channels": Question(DEVICES),
    "GET /api/v1/channels/{channel}": Question(DEVICES),
    "PATCH /api/v1/channels/{channel}": Question(
        (ENGINEER, Scope.DEVICES_WRITE), lambda _: {**WHY, "unit": "mine", "title": "mine"}, refusal=200
    ),
    "POST /api/v1/channel-changes": Question(
        (ENGINEER, Scope.DEVICES_WRITE),
        lambda t: {**WHY, "channel": t.known["channel"], "model": t.objects["model"], "title": "mine"},
    ),
    "GET /api/v1/standard-channels": Question(DEVICES, shows=False),
    "GET /api/v1/standard-computed-channels": Question(DEVICES, shows=False),
    "GET /api/v1/computed-channels": Question(DEVICES),
    "GET /api/v1/computed-channels/{computed}": Question(DEVICES),
    "PUT /api/v1/computed-channels/{computed}": Question(
        (ENGINEER, Scope.DEVICES_WRITE),
        lambda _: {"formula": "ph + 1", "inputs": {"ph": "pH"}},
        why,
        lambda _: {"If-Match": '"1"'},
        refusal=412,
    ),
    "DELETE /api/v1/computed-channels/{computed}": Question((ENGINEER, Scope.DEVICES_WRITE), query=why),
    "GET /api/v1/devices/{device}/constants": Question(DEVICES),
    "PATCH /api/v1/devices/{device}/constants": Question(
        (ENGINEER, Scope.DEVICES_WRITE), lambda _: {**WHY, "constants": {"mine": 1}}
    ),
    "GET /api/v1/devices/{device}/status": Question(DEVICES),
    "PATCH /api/v1/devices/{device}": Question(
        (ENGINEER, Scope.DEVICES_WRITE), lambda t: {**WHY, "title": "mine", "tags": ["mine"]}
    ),
    "POST /api/v1/devices/{device}/give": Question(
        (ADMIN, Scope.DEVICES_WRITE), lambda t: {**WHY, "organization": t.name}
    ),
    **{
        f"POST /api/v1/devices/{{device}}/{action}": Question((role, Scope.DEVICES_WRITE), why)
        for action, role in {
            "suspend": ENGINEER,
            "resume": ENGINEER,
            "rotate": ENGINEER,
            "revoke": ADMIN,
            "retire": ADMIN,
            "reset": ADMIN,
        }.items()
    },
    # runs
    "GET /api/v1/runs": Question(DEVICES, query=lambda t: {"q": t.objects["run"]}),
    "POST /api/v1/runs": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda t: {**WHY, "run": "mine", "devices": [t.known["device"]]}
    ),
    "GET /api/v1/run-proposals": Question(DEVICES, shows=False),
    "GET /api/v1/runs/{run}": Question(DEVICES),
    "PATCH /api/v1/runs/{run}": Question((OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "note": "mine"}),
    "POST /api/v1/runs/{run}/states": Question((OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "state": "held"}),
    "GET /api/v1/runs/{run}/phases": Question(DEVICES),
    "POST /api/v1/runs/compare": Question(
        TELEMETRY, lambda t: {"runs": [t.objects["run"]], "channel": [t.known["channel"]]}
    ),
    "POST /api/v1/runs/envelope": Question(
        TELEMETRY, lambda t: {"references": [t.objects["run"]] * 2, "channel": [t.known["channel"]]}
    ),
    "GET /api/v1/runs/{run}/statistics": Question(TELEMETRY, query=lambda t: {"channel": t.known["channel"]}),
    "GET /api/v1/runs/{run}/plan": Question(TELEMETRY),
    "GET /api/v1/runs/{run}/proposals": Question(TELEMETRY),
    "PUT /api/v1/runs/{run}/phases": Question((OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "phases": []}),
    # alarms
    "GET /api/v1/alarm-rules": Question(ALARMS),
    "GET /api/v1/alarm-rules.yaml": Question(ALARMS),
    "POST /api/v1/alarm-rules.yaml": Question(
        RULES,
        lambda t: {"rules": [{"name": t.objects["rule"], **alarms.RULE, "scope": {"devices": [t.known["device"]]}}]},
        lambda _: {**WHY, "dry_run": "true"},
    ),
    "POST /api/v1/alarm-trials": Question(RULES, lambda t: {"rule": t.objects["rule"]}),
    "GET /api/v1/alarm-rules/{rule}": Question(ALARMS),
    "PUT /api/v1/alarm-rules/{rule}": Question(
        RULES, lambda _: alarms.RULE, why, lambda _: {"If-Match": '"1"'}, refusal=412
    ),
    "DELETE /api/v1/alarm-rules/{rule}": Question(RULES, query=why),
    "GET /api/v1/alarm-routes": Question((ADMIN, Scope.ALARMS_READ)),
    "GET /api/v1/alarm-routes/{route}": Question((ADMIN, Scope.ALARMS_READ)),
    "PUT /api/v1/alarm-routes/{route}": Question((ADMIN, Scope.RULES_WRITE), lambda _: {"enabled": False}, why),
    "DELETE /api/v1/alarm-routes/{route}": Question((ADMIN, Scope.RULES_WRITE), query=why),
    "POST /api/v1/alarm-routes/{route}/test": Question((ADMIN, Scope.RULES_WRITE), query=why),
    "GET /api/v1/alarms": Question(ALARMS, query=lambda t: {"device": t.known["device"]}),
    "GET /api/v1/alarms/silenced": Question(ALARMS, query=lambda t: {"device": t.known["device"]}),
    "GET /api/v1/devices/{device}/alarms": Question(ALARMS),
    "GET /api/v1/alarms/history": Question(ALARMS, query=lambda t: {"rule": t.objects["rule"]}),
    "GET /api/v1/alarms/stream": Question(ALARMS),
    "SOCKET /api/v1/ws/alerts": Question(ALARMS),
    "GET /api/v1/live-data": Question(TELEMETRY, query=lambda t: {"device": t.known["device"]}),
    "SOCKET /api/v1/ws/live-data": Question(TELEMETRY, query=lambda t: {"channel": t.known["channel"]}),
    "SOCKET /ws/live-data": Question(TELEMETRY),
    "GET /api/v1/device-status": Question(DEVICES, query=lambda t: {"device": t.known["device"]}),
    "SOCKET /api/v1/ws/device-status": Question(DEVICES),
    "SOCKET /ws/device-status": Question(DEVICES),
    "GET /api/v1/activity": Question(DEVICES, query=lambda t: {"device": t.known["device"]}),
    "GET /api/v1/activity/stream": Question(DEVICES, query=lambda t: {"device": t.known["device"]}),
    "SOCKET /api/v1/ws/activity": Question(DEVICES),
    "SOCKET /ws/activity": Question(DEVICES),
    "GET /api/v1/summary": Question(DEVICES, shows=False),
    "GET /api/v1/alarms/health": Question(ALARMS),
    "GET /api/v1/alarms/{device}/{rule}": Question(ALARMS),
    **{
        f"POST /api/v1/alarms/{{device}}/{{rule}}/{action}": Question((role, Scope.ALARMS_WRITE), why)
        for action, role in {
            "acknowledge": CONTROL_ROOM,
            "reset": OPERATOR,
            "unshelve": OPERATOR,
            "suppress": ENGINEER,
            "unsuppress": OPERATOR,
            "remove-from-service": ENGINEER,
            "return-to-service": ENGINEER,
        }.items()
    },
    "POST /api/v1/alarms/{device}/{rule}/shelve": Question(
        (OPERATOR, Scope.ALARMS_WRITE), lambda _: {**WHY, "duration_s": 60}
    ),
    "POST /api/v1/alarm-acts": Question(
        (CONTROL_ROOM, Scope.ALARMS_WRITE),
        lambda t: {
            **{**WHY, "action": "acknowledge"},
            "alarms": [{"device": t.known["device"], "rule": t.objects["rule"]}],
        },
    ),
    "GET /api/v1/alarm-acts/{number}": Question(ALARMS, number="act"),
    # commands
    "GET /api/v1/devices/{device}/commands": Question((VIEWER, Scope.COMMANDS_READ)),
    "POST /api/v1/devices/{device}/commands": Question(
        (ENGINEER, Scope.COMMANDS_WRITE),
        lambda t: {**WHY, "name": "identify", "precondition": {"channel": t.known["channel"]}},
        headers=lambda t: {"Idempotency-Key": t.known["idempotency"]},
    ),
    "GET /api/v1/commands/{command}": Question((VIEWER, Scope.COMMANDS_READ)),
    "POST /api/v1/commands/{command}/cancel": Question((ENGINEER, Scope.COMMANDS_WRITE), why),
    # enrollment
    "GET /api/v1/devices/{device}/logins": Question((OPERATOR, Scope.ENROLLMENT_READ)),
    "GET /api/v1/enrollments": Question(
        (OPERATOR, Scope.ENROLLMENT_READ), query=lambda t: {"serial": t.known["serial"]}
    ),
    "GET /api/v1/enrollments/{txn}": Question((OPERATOR, Scope.ENROLLMENT_READ)),
    "POST /api/v1/enrollments/{txn}/approve": Question(
        (ENGINEER, Scope.ENROLLMENT_WRITE), lambda t: {**WHY, "device": t.known["device"]}
    ),
    "POST /api/v1/enrollments/{txn}/deny": Question((ENGINEER, Scope.ENROLLMENT_WRITE), why),
    "GET /api/v1/enrollment": Question((OPERATOR, Scope.ENROLLMENT_READ), shows=False),
    "PUT /api/v1/enrollment": Question((ADMIN, Scope.ENROLLMENT_WRITE), lambda t: {**WHY, "open": False}),
    "GET /api/v1/serials": Question((OPERATOR, Scope.ENROLLMENT_READ)),
    "POST /api/v1/serials": Question(
        (ENGINEER, Scope.ENROLLMENT_WRITE),
        lambda t: [{"serial": t.known["serial"], "device": t.known["device"]}],
        query=lambda t: {"name": "delivery", "why": "to see what happens"},
    ),
    "POST /api/v1/serials/{serial}/block": Question((ENGINEER, Scope.ENROLLMENT_WRITE), why),
    "POST /api/v1/serials/{serial}/unblock": Question((ENGINEER, Scope.ENROLLMENT_WRITE), why),
    # audit
    "GET /api/v1/audit": Question(AUDIT, query=lambda t: {"subject": f"device/{t.known['device']}"}),
    "GET /api/v1/audit.jsonl": Question(AUDIT),
    "GET /api/v1/audit/verify": Question(AUDIT, shows=False),
    # evidence
    "GET /api/v1/evidence": Question(AUDIT),
    "GET /api/v1/evidence/verify.py": Question(AUDIT, shows=False),
    # accounts
    "POST /api/v1/auth/register": Question(
        "nobody", lambda t: {"email": t.known["email"], "name": "Visitor", "password": PASSWORD}
    ),
    "POST /api/v1/auth/login": Question("nobody", lambda t: {"email": t.known["email"], "password": PASSWORD}),
    "POST /api/v1/auth/refresh": Question("nobody", lambda t: {"refresh_token": t.known["token"]}),
    "POST /api/v1/auth/logout": Question("caller", people=True),
    "GET /api/v1/auth/me": Question("caller"),
    "POST /api/v1/auth/password": Question("caller", lambda _: {"old": PASSWORD, "new": PASSWORD}, people=True),
    "GET /api/v1/auth/sessions": Question("caller", shows=False, people=True),
    "DELETE /api/v1/auth/sessions/{session_id}": Question("caller", people=True),
    "POST /api/v1/auth/reset": Question("nobody", lambda _: {"code": "AAAA-AAAA-AAAA-AAAA", "password": PASSWORD}),
    "GET /api/v1/accounts": Question(READS, refusal=403),
    "PATCH /api/v1/accounts/{user_id}": Question(CHANGES, lambda _: {**WHY, "verified": True}, refusal=403),
    "POST /api/v1/accounts/{user_id}/password-link": Question(CHANGES, why, refusal=403, stricter=True),
    # organizations
    "GET /api/v1/organizations": Question("caller"),
    "POST /api/v1/organizations": Question("caller", lambda t: {"organization": t.name, "title": "Mine"}, people=True),
    "POST /api/v1/organizations/join": Question("caller", lambda _: {"code": "AAAA-AAAA-AAAA-AAAA"}, people=True),
    "GET /api/v1/organization": Question((VIEWER, Scope.ORGANIZATION_READ)),
    "PATCH /api/v1/organization": Question(CHANGES, lambda _: {**WHY, "title": "Mine"}),
    "GET /api/v1/organization/members": Question(READS),
    "PATCH /api/v1/organization/members/{user_id}": Question(
        CHANGES, lambda _: {**WHY, "role": "viewer"}, stricter=True
    ),
    "DELETE /api/v1/organization/members/{user_id}": Question((VIEWER, Scope.ORGANIZATION_WRITE), stricter=True),
    "GET /api/v1/organization/invitations": Question(READS),
    "POST /api/v1/organization/invitations": Question(CHANGES, lambda _: {"role": "viewer"}, stricter=True),
    "DELETE /api/v1/organization/invitations/{invitation_id}": Question(CHANGES),
    "GET /api/v1/organization/keys": Question(READS, query=lambda _: {"limit": "1000"}),
    "POST /api/v1/organization/keys": Question(
        CHANGES, lambda _: {"name": "mine", "role": "viewer", "scopes": ["organization:write"]}
    ),
    "DELETE /api/v1/organization/keys/{key_id}": Question(CHANGES),
    # reports
    "GET /api/v1/reports": Question(AUDIT),
    "POST /api/v1/reports": Question(AUDIT, lambda t: {"kind": "batch", "run": t.objects["run"]}),
    "GET /api/v1/reports/{report}": Question(AUDIT),
    **{f"GET /api/v1/reports/{{report}}/report.{form}": Question(AUDIT) for form in ("html", "pdf", "json")},
    **{f"GET /api/v1/reports/{{report}}/signed.{form}": Question(AUDIT) for form in ("html", "json", "pdf")},
    "GET /api/v1/report-templates": Question(AUDIT),
    "GET /api/v1/report-templates/{template}": Question(AUDIT),
    "PUT /api/v1/report-templates/{template}": Question(
        CHANGES,
        lambda _: {**WHY, "kind": "batch", "sections": [{"name": "notes"}]},
        headers=lambda _: {"If-Match": "*"},
        refusal=412,
    ),
    # reviews
    "GET /api/v1/reviews": Question(AUDIT),
    "POST /api/v1/reviews": Question(AUDIT, lambda t: {"run": t.objects["run"]}),
    "GET /api/v1/reviews/{review}": Question(AUDIT),
    "POST /api/v1/reviews/{review}/again": Question(AUDIT),
    "POST /api/v1/reviews/{review}/looks": Question(AUDIT, lambda t: {"key": t.known["exception"], "note": "mine"}),
    # signatures
    "GET /api/v1/signatures": Question(DEVICES, query=lambda t: {"record": f"deviation/{t.objects['deviation']}"}),
    "POST /api/v1/signatures": Question(
        (OPERATOR, Scope.DEVICES_WRITE),
        lambda t: {
            **{"record": f"deviation/{t.objects['deviation']}", "digest": "0" * 64, "meaning": "reviewed"},
            **{"password": PASSWORD, "email": t.known["email"]},
        },
        people=True,
    ),
    "GET /api/v1/pending-acts": Question(AUDIT),
    "GET /api/v1/pending-acts/{number}": Question(AUDIT, number="pending"),
    "POST /api/v1/pending-acts/{number}/confirm": Question(
        (ENGINEER, Scope.DEVICES_WRITE),
        lambda t: WHY | {"digest": "0" * 64, "password": PASSWORD, "email": t.known["email"]},
        number="pending",
        people=True,
    ),
    "POST /api/v1/pending-acts/{number}/refuse": Question((ENGINEER, Scope.DEVICES_WRITE), why, number="pending"),
    "GET /api/v1/organization/policy": Question((VIEWER, Scope.ORGANIZATION_READ)),
    "PUT /api/v1/organization/policy": Question(CHANGES, lambda _: WHY | {"waiting_hours": 71}),
    # deviations
    "GET /api/v1/deviations": Question(DEVICES, query=lambda t: {"device": t.known["device"]}),
    "POST /api/v1/deviations": Question(
        (OPERATOR, Scope.DEVICES_WRITE),
        lambda t: {"title": "x", "severity": "minor", "link": {"kind": "device", "reference": t.known["device"]}},
    ),
    "GET /api/v1/deviations/{deviation}": Question(DEVICES),
    "PATCH /api/v1/deviations/{deviation}": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda t: {**WHY, "title": "mine"}
    ),
    **{
        f"POST /api/v1/deviations/{{deviation}}/{act}": Question((ENGINEER, Scope.DEVICES_WRITE), why)
        for act in ("assess", "close", "reopen")
    },
    "POST /api/v1/deviations/{deviation}/hold": Question(CHANGES, lambda t: {"device": t.known["device"]}),
    "POST /api/v1/deviations/{deviation}/links": Question(
        (OPERATOR, Scope.DEVICES_WRITE),
        lambda t: {**WHY, "type": "seen-in", "kind": "device", "reference": t.known["device"]},
    ),
    "DELETE /api/v1/deviations/{deviation}/links/{link}": Question((OPERATOR, Scope.DEVICES_WRITE), query=why),
    "GET /api/v1/deviations/{deviation}/comments": Question(DEVICES),
    "POST /api/v1/deviations/{deviation}/comments": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda _: {"text": "mine"}
    ),
    "PUT /api/v1/deviations/{deviation}/comments/{comment}": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda _: {**WHY, "text": "mine"}
    ),
    "POST /api/v1/deviation-attachments": Question(
        (OPERATOR, Scope.DEVICES_WRITE), query=lambda t: {**WHY, "deviation": t.objects["deviation"], "name": "x"}
    ),
    "GET /api/v1/deviations/{deviation}/attachments/{attachment}": Question(DEVICES),
    "GET /api/v1/shift-log": Question(DEVICES),
    "POST /api/v1/shift-log": Question(
        (OPERATOR, Scope.DEVICES_WRITE), lambda t: {"text": "mine", "devices": [t.known["device"]]}
    ),
    "GET /api/v1/shift-log/{entry}": Question(DEVICES),
    "POST /api/v1/shift-log/{entry}/accept": Question((OPERATOR, Scope.DEVICES_WRITE), people=True),
    "GET /api/v1/devices/{device}/card": Question(DEVICES),
    "GET /api/v1/devices/{device}/clock": Question(DEVICES, shows=False),
    "PUT /api/v1/devices/{device}/card": Question((ENGINEER, Scope.DEVICES_WRITE), lambda _: {**WHY, "model": "mine"}),
    "GET /api/v1/locations": Question(DEVICES),
    "PUT /api/v1/locations": Question(
        (ENGINEER, Scope.DEVICES_WRITE), lambda _: {**WHY, "path": "mine", "kind": "site"}
    ),
    "DELETE /api/v1/locations": Question(
        (ENGINEER, Scope.DEVICES_WRITE), query=lambda t: {**WHY, "path": t.objects["path"]}
    ),
    "GET /api/v1/search": Question(DEVICES, query=lambda t: {"q": t.known["written"]}),
    "GET /api/v1/retention/holds": Question(READS),
    "POST /api/v1/retention/holds": Question(CHANGES, lambda t: {**WHY, "device": t.known["device"]}),
    "DELETE /api/v1/retention/holds/{hold_id}": Question(CHANGES, query=why),
}


ONLY_FIRST = {"POST /api/v1/serials", "PUT /api/v1/enrollment"} | {one for one in QUESTIONS if "/accounts" in one}
"""Of the organizations, only the one that runs the installation may."""


def name(method: str, path: str) -> str:
    return f"{method} {path.removesuffix('.csv')}"


Asked = APIRoute | APIWebSocketRoute
SOCKET = "SOCKET"
"""Instead of a method, for a WebSocket."""
SHOWING = frozenset({"GET", SOCKET})


def routes(app: FastAPI) -> Iterator[tuple[str, str, Asked]]:
    """Method, path and route of each that is for programs; what cannot be looked into must be one of the plain ones.
    Those for people are asked in tests/api/pages/test_every_page.py."""
    for route in app.routes:
        if isinstance(route, APIRoute | Route) and (is_for_people(route.path) or route.path == FILES):
            continue
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                if f"{method} {route.path}" not in PLAIN:
                    yield method, route.path_format, route
        elif isinstance(route, APIWebSocketRoute):
            yield SOCKET, route.path, route
        elif isinstance(route, Fixed):
            continue  # a constant, in the place of a route that is here, too
        elif isinstance(route, Mount):
            assert route.path == ASSETS, route.path
        else:
            assert isinstance(route, Route), f"{route}: has no question"
            for method in sorted(route.methods or ()):
                assert f"{method} {route.path}" in PLAIN, f"{method} {route.path}: has no question"


def needs(route: Asked) -> list[tuple[Role, Scope]]:
    """What the route itself says that it needs, by `allow`."""
    return [call.needs for call in _calls(route.dependant) if hasattr(call, "needs")]


def asks_for(route: Asked, dependency: Any) -> bool:
    return dependency in _calls(route.dependant)


def _calls(dependant: Dependant) -> list[Any]:
    return [dependant.call, *(call for one in dependant.dependencies for call in _calls(one))]
