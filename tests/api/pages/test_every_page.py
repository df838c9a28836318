"""Every page and every act on one: who may, and that nobody sees or touches another organization's things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.access import guard
from api.access.roles import ORDER, Role
from api.pages.page import ORGANIZATION
from tests.api.questions import asks_for, needs
from tests.api.tables import state
from tests.api.tenants import Tenant
from tests.api.test_isolation import Plantation, plantation

__all__ = ["plantation"]

OF_ANY_MEMBER = {
    "GET /app/{organization}/shell",
    "GET /app/{organization}/me",
    "POST /app/{organization}/me/password",
    "POST /app/{organization}/me/sessions/{session_id}/end",
    "POST /app/{organization}/me/log-out-everywhere",
}
"""What is a person's own, and what stands around each page."""
LEADS_ON = "GET /app/{organization}"
"""It only leads to the plant, and asks nobody."""
USUAL = {
    **{"why": "to see what happens", "role": "viewer", "title": "x", "name": "x", "scopes": "telemetry:read"},
    **{"disabled": "true"},
}
"""Fields that many forms have; those that are too many are refused, which is as good."""
ENROLLMENT, DEVICE, WHY = f"{ORGANIZATION}/enrollment", f"{ORGANIZATION}/devices/{{device}}", {"why": "to see"}
_LAST = {"version": "1", "why": "to see what happens"}
_RULE = _LAST | {"title": "x", "kind": "limit", "limit.channel": "ph", "limit.level": "high", "limit.limit": "9"}
RUN = f"{ORGANIZATION}/runs/{{run}}"
DEVIATION = f"{ORGANIZATION}/deviations/{{deviation}}"
VESSEL = f"{ORGANIZATION}/vessels/{{device}}"
EXACT: dict[str, dict[str, str]] = {
    f"{VESSEL}/setpoint": {"key": "k", "channel": "ph", "value": "7", "why": "x"},
    f"{VESSEL}/commands": {"key": "k", "name": "identify", "why": "x"},
    f"{VESSEL}/commands/{{command}}/cancel": {"why": "x"},
    f"{VESSEL}/corrections": {"channel": "ph", "from": "-2h", "to": "-1h", "quality": "1", "why": "x"},
    f"{VESSEL}/corrections/{{correction}}/withdraw": {"why": "x"},
    f"{VESSEL}/notes": {"begins": "now", "text": "x"},
    f"{VESSEL}/notes/{{number}}/withdraw": {"why": "x"},
    f"{VESSEL}/channels/{{channel}}": {"version": "1", "title": "x", "why": "x"},
    f"{ORGANIZATION}/channels/{{channel}}": {"version": "1", "title": "x", "why": "x"},
    f"{ORGANIZATION}/alarm-rules/{{rule}}": _RULE,
    f"{ORGANIZATION}/alarm-rules/{{rule}}/remove": _LAST,
    f"{ORGANIZATION}/alarm-routes/{{route}}": _LAST | {"time_zone": "UTC"},
    f"{ORGANIZATION}/alarm-routes/{{route}}/remove": _LAST,
    f"{ORGANIZATION}/alarm-routes/{{route}}/test": {"why": "to see what happens"},
    f"{ORGANIZATION}/samples/{{sample}}": WHY | {"version": "1", "note": "mine"},
    f"{ORGANIZATION}/samples/{{sample}}/approve": WHY | {"version": "1"},
    f"{ORGANIZATION}/samples/{{sample}}/withdraw": WHY,
    f"{ORGANIZATION}/materials/{{material}}": WHY | {"version": "1", "note": "mine"},
    f"{ORGANIZATION}/materials/{{material}}/withdraw": WHY,
    f"{ORGANIZATION}/shift-log": {"text": "x"},
    f"{ORGANIZATION}/devices-places": WHY | {"path": "mine", "kind": "site"},
    f"{DEVICE}/card": WHY | {"model": "mine", "version": "1"},
    f"{ORGANIZATION}/deviations": {"title": "x", "severity": "minor"},
    DEVIATION: _LAST | {"title": "x", "severity": "minor"},
    **{f"{DEVIATION}/{act}": WHY for act in ("assess", "close", "reopen", "links/{link}/withdraw")},
    f"{DEVIATION}/hold": {},
    f"{DEVIATION}/members": WHY | {"who": "eva@example.org", "role": "owner", "act": "add"},
    f"{DEVIATION}/links": WHY | {"type": "seen-in", "kind": "deviation", "reference": "DEV-2026-0101"},
    f"{DEVIATION}/comments": {"text": "x"},
    f"{DEVIATION}/comments/{{comment}}": WHY | {"text": "x"},
    DEVICE: WHY | {"title": "mine", "version": "1"},
    **{f"{DEVICE}/{act}": WHY for act in ("suspend", "resume", "rotate", "revoke", "retire", "reset")},
    f"{DEVICE}/commands/{{command}}/cancel": WHY,
    **{f"{ENROLLMENT}/{{txn}}/{act}": WHY for act in ("approve", "deny")},
    **{f"{ENROLLMENT}/serials/{{serial}}/{act}": WHY for act in ("block", "unblock")},
    f"{ENROLLMENT}/serials/add": WHY | {"serial": "S-9"},
    f"{ENROLLMENT}/serials/import": WHY | {"name": "lot", "rows": "serial\nS-9"},
    f"{ENROLLMENT}/switch": WHY | {"state": "closed"},
    f"{ORGANIZATION}/reports": {"kind": "shift", "from": "-8h"},
    f"{ORGANIZATION}/reviews": {"from": "-7d"},
    f"{ORGANIZATION}/reviews/{{review}}/looks": {"key": "0" * 16, "note": "mine"},
    f"{ORGANIZATION}/pending-acts/{{number}}/refuse": WHY,
    f"{ORGANIZATION}/pending-acts/{{number}}/confirm": WHY
    | {"digest": "0" * 64, "password": "a password that nobody has", "email": "eva@example.org"},
    f"{ORGANIZATION}/organization/policy": WHY | {"waiting_hours": "71"},
    f"{ORGANIZATION}/signatures": {
        **{"record": "deviation/DEV-2026-0101", "digest": "0" * 64, "meaning": "reviewed"},
        **{"password": "a password that nobody has", "email": "eva@example.org"},
    },
    RUN: _LAST | {"note": "x", "devices": ""},
    f"{RUN}/plan": _LAST | {"plan": "[]"},
    f"{RUN}/state": WHY | {"state": "held"},
    f"{RUN}/phases": _LAST | {"phase": "x", "begins": "2026-03-01T10:00:00Z"},
    f"{RUN}/phases/all": _LAST,
    f"{RUN}/phases/remove": _LAST | {"was": "2026-03-01T10:00:00Z"},
    f"{ORGANIZATION}/delivery/quarantine": WHY | {"act": "discard", "messages": "1,2,3"},
}
"""By path: the fields of a form that would be carried out if it were for one's own."""


def pages(app: FastAPI) -> Iterator[tuple[str, str, APIRoute]]:
    """Method, path and route of everything below the address of an organization."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path.startswith(ORGANIZATION):
            for method in sorted(route.methods or ()):
                if f"{method} {route.path}" != LEADS_ON:
                    yield method, route.path_format, route


def address(path: str, organization: str, things: Tenant) -> str:
    counted = "pending" if "/pending-acts/" in path else "quarantine"
    number = {"number": things.objects[counted], "session_id": "1"}
    return path.replace("{organization}", organization).format_map(things.objects | things.known | number)


async def ask(plantation: Plantation, method: str, path: str, headers: dict[str, str]) -> httpx2.Response:
    fields: dict[str, Any] = EXACT.get(path, USUAL) if method == "POST" else {}
    return await plantation.client.request(method, path, headers=headers, data=fields or None)


def test_each_page_says_who_may(plantation: Plantation) -> None:
    for method, path, route in pages(plantation.app):
        said = needs(route)
        if f"{method} {path}" in OF_ANY_MEMBER:
            assert said == [], path
            assert asks_for(route, guard._caller), path
        else:
            assert said, f"{method} {path}"  # a page that shows what several routes do has their needs


async def test_who_is_not_logged_in_is_led_to_the_log_in(plantation: Plantation) -> None:
    alpha = plantation.tenants["alpha"]
    for method, path, _ in pages(plantation.app):
        for headers in ({}, {"Cookie": "__Host-biogate=wrong", "Sec-Fetch-Site": "same-origin"}):
            answer = await ask(plantation, method, address(path, "alpha", alpha), headers)
            assert answer.status_code == 303, f"{method} {path}: {answer.status_code}"
            assert answer.headers["location"].startswith("/login"), path


async def test_a_lesser_role_may_not(plantation: Plantation) -> None:
    alpha, visits = plantation.tenants["alpha"], plantation.visitor("alpha")
    for method, path, route in pages(plantation.app):
        for least, _ in needs(route):
            below = [role for role in Role if ORDER[role] < ORDER[least]]
            for role in below:
                headers = dict(await visits.headers("browser", role))
                answer = await ask(plantation, method, address(path, "alpha", alpha), headers)
                assert answer.status_code == 403, f"{method} {path} as {role}: {answer.status_code} {answer.text}"


async def test_an_act_of_a_foreign_page_is_refused(plantation: Plantation) -> None:
    alpha = plantation.tenants["alpha"]
    headers = dict(await plantation.visitor("alpha").headers("browser")) | {"Sec-Fetch-Site": "cross-site"}
    for method, path, _ in pages(plantation.app):
        if method == "POST":
            answer = await ask(plantation, method, address(path, "alpha", alpha), headers)
            assert answer.status_code == 403, f"{path}: {answer.status_code}"


@pytest.mark.parametrize("organization", ["alpha", "beta"])
async def test_nobody_sees_or_changes_what_is_of_another_organization(
    plantation: Plantation, organization: str
) -> None:
    """`alpha`'s admin asks for the things of `beta`, by the address of his own organization and by that of theirs."""
    beta = plantation.tenants["beta"]
    before = await state(plantation.sql, [beta])
    for method, path, _ in pages(plantation.app):
        headers = dict(await plantation.visitor("alpha").headers("browser"))
        asked = address(path, organization, beta)
        answer = await ask(plantation, method, asked, headers)
        if organization == "beta":
            assert answer.status_code == 404, f"{method} {asked}: {answer.status_code}"
        elif "{" in path.replace("{organization}", "") and "session_id" not in path:
            assert answer.status_code in {403, 404, 409, 422}, f"{method} {asked}: {answer.status_code} {answer.text}"
        assert not beta.shown(answer.text, asked), f"{method} {asked}: {answer.text}"
    assert await state(plantation.sql, [beta]) == before


async def test_everybody_sees_the_own_things_and_a_page_never_breaks(plantation: Plantation) -> None:
    alpha, beta = plantation.tenants["alpha"], plantation.tenants["beta"]
    headers = dict(await plantation.visitor("alpha").headers("browser"))
    for method, path, _ in pages(plantation.app):
        if method == "GET":
            asked = address(path, "alpha", alpha)
            answer = await ask(plantation, method, asked, headers)
            assert answer.status_code in {200, 303}, f"{asked}: {answer.status_code} {answer.text}"
            assert not beta.shown(answer.text, asked), asked


async def test_numbers_beyond_what_can_be_are_refused_in_words(plantation: Plantation) -> None:
    alpha = plantation.tenants["alpha"]
    headers = dict(await plantation.visitor("alpha").headers("browser"))
    for day in ("9999-12-31", "0001-01-01"):
        answer = await plantation.client.get(f"/app/alpha/delivery/time?day={day}", headers=headers)
        assert (answer.status_code, "Day:" in answer.text or "day:" in answer.text) == (422, True), answer.text
    fields = {"version": "99999999999999999999", "title": "x", "why": "x"}
    for path in (f"devices/{alpha.known['device']}", f"vessels/{alpha.known['device']}/channels/ph"):
        answer = await plantation.client.post(f"/app/alpha/{path}", data=fields, headers=headers)
        assert answer.status_code == 422, answer.text
