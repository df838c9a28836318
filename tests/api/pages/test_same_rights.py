"""An act on a page is for whom it is by the API: the same role, and the same scope."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from api.pages import (
    activity,
    audit,
    delivery,
    devices,
    enrollment,
    evidence,
    lab_samples,
    materials,
    pending_acts,
    quarantine,
    reports,
    reviews,
    serials,
    signatures,
)
from tests.api.questions import QUESTIONS, needs

MODULES = (
    activity,
    audit,
    delivery,
    devices,
    enrollment,
    evidence,
    lab_samples,
    materials,
    pending_acts,
    quarantine,
    reports,
    reviews,
    serials,
    signatures,
)
DEVICE, SHAKE, SERIAL = "/devices/{device}", "/enrollments/{txn}", "/serials/{serial}"
SAME = {
    "GET /activity": "GET /activity",
    "GET /audit": "GET /audit",
    "GET /audit.csv": "GET /audit",
    "GET /audit/verify": "GET /audit/verify",
    "GET /delivery": "GET /summary",
    "GET /delivery/time": "GET /devices/{device}/status",
    "GET /delivery/quarantine": "GET /quarantine",
    "GET /delivery/quarantine/{number}": "GET /quarantine/{number}",
    "POST /delivery/quarantine": "POST /quarantine-discards",
    "GET /devices": "GET /devices",
    "GET /devices/{device}": "GET /devices/{device}",
    "POST /devices/{device}": "PATCH /devices/{device}",
    **{
        f"POST {DEVICE}/{act}": f"POST {DEVICE}/{act}"
        for act in ("suspend", "resume", "rotate", "revoke", "retire", "reset")
    },
    f"POST {DEVICE}/commands/{{command}}/cancel": "POST /commands/{command}/cancel",
    "GET /reports": "GET /reports",
    "POST /reports": "POST /reports",
    "GET /reports/{report}": "GET /reports/{report}",
    "GET /reports/{report}/signed.html": "GET /reports/{report}/signed.html",
    "GET /reports/{report}/signed.pdf": "GET /reports/{report}/signed.pdf",
    "POST /signatures": "POST /signatures",
    "GET /pending-acts": "GET /pending-acts",
    "GET /pending-acts/{number}": "GET /pending-acts/{number}",
    "POST /pending-acts/{number}/confirm": "POST /pending-acts/{number}/confirm",
    "POST /pending-acts/{number}/refuse": "POST /pending-acts/{number}/refuse",
    **{address: address for form in ("html", "pdf", "json") if (address := f"GET /reports/{{report}}/report.{form}")},
    "GET /evidence": "GET /evidence",
    "GET /evidence/verify.py": "GET /evidence/verify.py",
    "GET /reviews": "GET /reviews",
    "POST /reviews": "POST /reviews",
    "GET /reviews/{review}": "GET /reviews/{review}",
    **{f"POST /reviews/{{review}}/{act}": f"POST /reviews/{{review}}/{act}" for act in ("again", "looks")},
    "GET /samples": "GET /samples",
    "POST /samples": "POST /samples",
    "GET /samples/{sample}": "GET /samples/{sample}",
    "POST /samples/{sample}": "PATCH /samples/{sample}",
    "POST /samples/{sample}/approve": "POST /samples/{sample}/approve",
    "POST /samples/{sample}/withdraw": "POST /samples/{sample}/withdraw",
    "GET /sample-imports": "POST /sample-imports",
    "POST /sample-imports": "POST /sample-imports",
    "GET /material-imports": "POST /material-imports",
    "POST /material-imports": "POST /material-imports",
    "GET /materials": "GET /materials",
    "POST /materials": "POST /materials",
    "GET /materials/{material}": "GET /materials/{number}",
    "POST /materials/{material}": "PATCH /materials/{number}",
    "POST /materials/{material}/withdraw": "POST /materials/{number}/withdraw",
    "GET /enrollment": "GET /enrollments",
    "GET /enrollment/switch": "GET /enrollment",
    "POST /enrollment/switch": "PUT /enrollment",
    "POST /enrollment/{txn}/approve": f"POST {SHAKE}/approve",
    "POST /enrollment/{txn}/deny": f"POST {SHAKE}/deny",
    "GET /enrollment/serials": "GET /serials",
    "POST /enrollment/serials/add": "POST /serials",
    "POST /enrollment/serials/import": "POST /serials",
    "POST /enrollment/serials/{serial}/block": f"POST {SERIAL}/block",
    "POST /enrollment/serials/{serial}/unblock": f"POST {SERIAL}/unblock",
}
PAGES = {
    f"{method} {route.path.removeprefix('/app/{organization}')}": route
    for module in MODULES
    for route in module.router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}


def test_the_list_has_every_page() -> None:
    assert PAGES.keys() == SAME.keys()


@pytest.mark.parametrize("page", SAME)
def test_a_page_asks_for_what_its_route_asks_for(page: str) -> None:
    method, _, path = SAME[page].partition(" ")
    assert needs(PAGES[page]) == [QUESTIONS[f"{method} /api/v1{path}"].needs]
