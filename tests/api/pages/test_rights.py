"""Who may do what on the pages of devices, their delivery and their past: exactly who may by the API."""

from __future__ import annotations

from fastapi.routing import APIRoute

from api.access.roles import Role, Scope
from api.pages import activity, audit, delivery, devices, enrollment, quarantine, serials
from tests.api.accounts import Served, api_key, bearer
from tests.api.operators import handshake
from tests.api.plant import Plant, at

VIEWER, OPERATOR, ENGINEER, ADMIN = Role
READ, WRITE = Scope.ENROLLMENT_READ, Scope.ENROLLMENT_WRITE
MODULES = (activity, audit, delivery, devices, enrollment, quarantine, serials)
CANCEL = "POST /devices/{device}/commands/{command}/cancel"
PAGES: dict[str, tuple[Role, Scope]] = {
    "GET /activity": (VIEWER, Scope.DEVICES_READ),
    "GET /audit": (OPERATOR, Scope.AUDIT_READ),
    "GET /audit.csv": (OPERATOR, Scope.AUDIT_READ),
    "GET /audit/verify": (OPERATOR, Scope.AUDIT_READ),
    "GET /delivery": (VIEWER, Scope.DEVICES_READ),
    "GET /delivery/time": (VIEWER, Scope.DEVICES_READ),
    "GET /delivery/quarantine": (VIEWER, Scope.DEVICES_READ),
    "GET /delivery/quarantine/{number}": (VIEWER, Scope.DEVICES_READ),
    "POST /delivery/quarantine": (ENGINEER, Scope.DEVICES_WRITE),
    "GET /devices": (VIEWER, Scope.DEVICES_READ),
    "GET /devices/{device}": (VIEWER, Scope.DEVICES_READ),
    "POST /devices/{device}": (ENGINEER, Scope.DEVICES_WRITE),
    **{f"POST /devices/{{device}}/{name}": (ENGINEER, Scope.DEVICES_WRITE) for name in ("suspend", "resume", "rotate")},
    **{f"POST /devices/{{device}}/{name}": (ADMIN, Scope.DEVICES_WRITE) for name in ("revoke", "retire", "reset")},
    CANCEL: (ENGINEER, Scope.COMMANDS_WRITE),
    "GET /enrollment": (OPERATOR, READ),
    "GET /enrollment/switch": (OPERATOR, READ),
    "POST /enrollment/switch": (ADMIN, WRITE),
    "POST /enrollment/{txn}/approve": (ENGINEER, WRITE),
    "POST /enrollment/{txn}/deny": (ENGINEER, WRITE),
    "GET /enrollment/serials": (OPERATOR, READ),
    "POST /enrollment/serials/add": (ENGINEER, WRITE),
    "POST /enrollment/serials/import": (ENGINEER, WRITE),
    "POST /enrollment/serials/{serial}/block": (ENGINEER, WRITE),
    "POST /enrollment/serials/{serial}/unblock": (ENGINEER, WRITE),
}
WHY = {"why": "to see what happens"}
FIELDS: dict[str, dict[str, str]] = {
    "POST /delivery/quarantine": {"act": "discard", "messages": "{number}"},
    "POST /devices/{device}": {"version": "1", "title": "mine"},
    "POST /enrollment/switch": {"state": "closed"},
    "POST /enrollment/serials/add": {"serial": "S-9"},
    "POST /enrollment/serials/import": {"name": "lot", "rows": "serial\nS-9"},
}
"""What a form has beside the reason."""


def test_the_list_has_every_page() -> None:
    found = {
        f"{method} {route.path.removeprefix('/app/{organization}')}"
        for module in MODULES
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert found == PAGES.keys()


async def test_each_page_asks_for_a_role_and_a_scope_and_hides_what_is_others(site: Served, plant: Plant) -> None:
    device = await plant.device("kettle-7")
    number = await plant.quarantine(at(0), "kettle-7", "malformed", b"secret-bytes")
    txn = await handshake(plant.sql, "SER-1")
    await plant.sql.execute("insert into serials (serial, device) values ('SER-7', 'kettle-8')")
    await plant.sql.execute(
        """insert into commands (command_id, organization_id, device_id, name, parameters, requested_by, why, expires_at)
           values (gen_random_uuid(), 1, $1, 'feed', '{}', 'eva', 'secret-why', now() + '1 hour')""",
        device,
    )
    command = await plant.sql.fetchval("select command_id from commands")
    named = {"device": "kettle-7", "number": number, "txn": txn, "serial": "SER-7", "command": command}
    before = await _everything(plant)
    for name, (role, scope) in PAGES.items():
        method, _, path = name.partition(" ")
        path = path.format(**named)
        fields = {field: value.format(**named) for field, value in FIELDS.get(name, {}).items()}
        content = WHY | fields if method == "POST" else None
        for key, status in (
            (await api_key(plant.sql, role=role, scopes=[one for one in Scope if one is not scope]), 403),
            *[(await api_key(plant.sql, role=one), 403) for one in Role if not one.covers(role)],
        ):
            answer = await site.request(method, f"/app/main{path}", headers=bearer(key), data=content)
            assert answer.status_code == status, (name, answer.text)
        theirs = bearer(await api_key(plant.sql, "other"))
        answer = await site.request(method, f"/app/other{path}", headers=theirs, data=content)
        if "{" in name or name == "POST /delivery/quarantine":
            assert answer.status_code == 404, (name, answer.text)
        elif method == "POST":
            assert answer.status_code == 403, (name, answer.text)
        else:
            assert answer.status_code == 200, (name, answer.text)
            for word in ("kettle-7", "kettle-8", "SER-1", "SER-7", "secret", "closed"):
                assert word not in answer.text, (name, word)
        assert await _everything(plant) == before, name


async def _everything(plant: Plant) -> list[str]:
    found = await plant.sql.fetch(
        """select row(d.name, d.state, d.title)::text from devices d union all select state from quarantine
            union all select state from enrollments union all select row(serial, blocked)::text from serials
            union all select state from commands union all select enrollment_open::text from cells
            union all select job_id::text from jobs order by 1"""
    )
    return [row[0] for row in found]
