"""Deviations: opened, changed, assessed, closed and opened again, with every change in the trail; comments; holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from tests.api.accounts import api_key, user
from tests.api.conform import conforms
from tests.api.operators import ORDER, Operator, shape
from tests.api.plant import Plant
from tests.api.test_devices import north, operator
from tests.api.test_lists import everything, table

__all__ = ["north", "operator"]

FIRST = f"DEV-{datetime.now(UTC).year}-0001"


async def opened(caller: Operator, title: str = "Too hot", severity: str = "minor", **more: Any) -> dict[str, Any]:
    body = {"title": title, "severity": severity} | more
    answer = await caller.client.post("/api/v1/deviations", json=body, headers=caller.headers)
    assert answer.status_code == 201, answer.text
    made = dict(answer.json())
    conforms(shape("DeviationDetail"), made)
    assert answer.headers["location"] == f"/api/v1/deviations/{made['deviation']}"
    return made


async def send(caller: Operator, method: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
    headers = caller.headers | options.pop("headers", {})
    return await caller.client.request(method, f"/api/v1{path}", json=body, headers=headers, **options)


async def events(caller: Operator, deviation: str = FIRST) -> list[tuple[str, Any, Any, str]]:
    found = await caller.get("/audit", subject=f"deviation/{deviation}", order="asc")
    return [(one["action"], one["old"], one["new"], one["why"]) for one in found["events"]]


async def test_numbers_count_up_by_organization(operator: Operator, north: Operator) -> None:
    numbers = [(await opened(caller))["deviation"][-4:] for caller in (operator, operator, north)]
    assert numbers == ["0001", "0002", "0001"]
    assert (await operator.get(f"/deviations/{FIRST}"))["deviation"] == FIRST


async def test_each_change_is_in_the_trail_with_what_was_and_what_is(operator: Operator) -> None:
    await opened(operator, tags=["b", "a", "b"])
    changed = await send(
        operator,
        "PATCH",
        f"/deviations/{FIRST}",
        ORDER | {"severity": "critical", "tags": ["c"]},
        headers={"If-Match": '"1"'},
    )
    assert (changed.status_code, changed.headers["etag"], changed.json()["title"]) == (200, '"2"', "Too hot")
    late = await send(operator, "PATCH", f"/deviations/{FIRST}", ORDER | {"title": "x"}, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    same = await send(operator, "PATCH", f"/deviations/{FIRST}", ORDER | {"severity": "critical"})
    assert same.headers["etag"] == '"2"'
    assert (await events(operator))[1:] == [
        (
            "deviation change",
            {"severity": "minor", "tags": ["a", "b"]},
            {"severity": "critical", "tags": ["c"]},
            ORDER["why"],
        )
    ]


async def test_it_goes_from_open_by_assessed_to_closed_and_back(operator: Operator) -> None:
    await opened(operator)
    path = f"/deviations/{FIRST}"
    for act, status, state in (
        ("close", 409, "open"),
        ("reopen", 409, "open"),
        ("assess", 200, "assessed"),
        ("assess", 409, "assessed"),
        ("close", 200, "closed"),
        ("assess", 409, "closed"),
        ("reopen", 200, "open"),
        ("assess", 200, "assessed"),
        ("reopen", 200, "open"),
    ):
        answer = await send(operator, "POST", f"{path}/{act}", ORDER)
        assert answer.status_code == status, (act, answer.text)
        found = await operator.get(path)
        assert (found["state"], found["closed_at"] is not None) == (state, state == "closed")
        if state == "closed":
            link = {"type": "seen-in", "kind": "device", "reference": "br-1"}
            for method, below, body in (
                ("PATCH", "", ORDER | {"title": "x"}),
                ("POST", "/links", ORDER | link),
                ("POST", "/comments", {"text": "late"}),
                ("POST", "/hold", {}),
            ):
                refused = await send(operator, method, f"{path}{below}", body)
                assert (refused.status_code, "reopen it first" in refused.text) == (409, True), (below, refused.text)
    assert [event[:3] for event in await events(operator)][1:3] == [
        ("deviation assess", {"state": "open"}, {"state": "assessed"}),
        ("deviation close", {"state": "assessed"}, {"state": "closed"}),
    ]


async def test_lists_by_state_severity_tag_and_what_is_mine(plant: Plant, operator: Operator) -> None:
    await user(plant.sql, "eva@example.org", "main", Role.VIEWER)
    other = Operator(operator.client, await api_key(plant.sql))
    first = await opened(operator, tags=["cooling"], members=[{"who": "Eva@example.org", "role": "owner"}])
    second = await opened(other, "Foam", "major", tags=["cooling", "foam"])
    await send(operator, "POST", f"/deviations/{first['deviation']}/assess", ORDER)

    async def found(**asked: Any) -> list[str]:
        rows = await everything(operator.client, "/deviations", "deviations", limit=1, **asked)
        return [one["deviation"] for one in rows]

    one, two = first["deviation"], second["deviation"]
    assert await found() == [two, one] == [row["deviation"] for row in await table(operator.client, "/deviations")]
    assert (await found(state="assessed"), await found(state=["open", "closed"])) == ([one], [two])
    assert (await found(severity="major"), await found(tag=["cooling", "foam"])) == ([two], [two])
    assert (await operator.get("/deviations", mine=True))["deviations"] == [
        (await operator.get("/deviations"))["deviations"][1]
    ]
    assert first["members"] == [{"who": "eva@example.org", "role": "owner"}]
    refused = await send(
        operator, "PATCH", f"/deviations/{one}", ORDER | {"members": [{"who": "x@y.z", "role": "owner"}]}
    )
    assert (refused.status_code, "x@y.z" in refused.json()["detail"]) == (422, True)


async def test_an_edited_comment_has_all_its_versions_and_is_its_author_s(plant: Plant, operator: Operator) -> None:
    await opened(operator)
    path = f"/deviations/{FIRST}/comments"
    made = await send(operator, "POST", path, {"text": "it was of"})
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    await send(operator, "POST", path, {"text": "second"})
    edited = await send(operator, "PUT", f"{path}/{number}", {"text": "it was off", "why": "misspelt"})
    conforms(shape("Comment"), edited.json())
    assert [one["text"] for one in edited.json()["versions"]] == ["it was of", "it was off"]
    assert [one["text"] for one in await everything(operator.client, path, "comments", limit=1)] == [
        *("it was off", "second")
    ]
    other = Operator(operator.client, await api_key(plant.sql))
    assert (await send(other, "PUT", f"{path}/{number}", {"text": "no", "why": "x"})).status_code == 409
    assert (await send(operator, "PUT", f"{path}/{number + 9}", {"text": "no", "why": "x"})).status_code == 404
    assert (await send(operator, "DELETE", f"{path}/{number}")).status_code == 405
    assert (await events(operator))[-1] == (
        "deviation comment edit",
        {"comment": number, "text": "it was of"},
        {"comment": number, "text": "it was off"},
        "misspelt",
    )
    assert (await operator.get(f"/deviations/{FIRST}"))["comments"] == 2


async def test_a_hold_is_made_with_it_and_ends_with_it_by_choice(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    made = await opened(operator, hold={"device": "br-1", "begins": "2026-03-01T00:00:00Z"})
    [hold] = (await operator.get("/retention/holds"))["holds"]
    assert (hold["hold_id"], hold["device"], hold["why"]) == (made["hold"], "br-1", f"deviation {FIRST}")
    path = f"/deviations/{FIRST}"
    assert (await send(operator, "POST", f"{path}/hold", {})).status_code == 409
    engineer = Operator(operator.client, await api_key(plant.sql, role=Role.ENGINEER))
    refused = await send(engineer, "POST", "/deviations", {"title": "x", "severity": "minor", "hold": {}})
    assert refused.status_code == 403
    for end, ended in ((False, False), (True, True)):
        await send(operator, "POST", f"{path}/assess", ORDER)
        assert (await send(engineer, "POST", f"{path}/close", ORDER | {"end_hold": True})).status_code == 403
        assert (await send(operator, "POST", f"{path}/close", ORDER | {"end_hold": end})).status_code == 200
        found = await operator.get(path)
        assert (found["hold_ended_at"] is not None) is ended
        await send(operator, "POST", f"{path}/reopen", ORDER)
    assert (await send(operator, "POST", f"{path}/hold", {})).status_code == 201
    assert (await operator.get(path))["hold"] != made["hold"]


@pytest.mark.parametrize(
    ("role", "acts"),
    [
        (Role.VIEWER, {"": 403, "/comments": 403, "/assess": 403}),
        (Role.OPERATOR, {"": 201, "/comments": 201, "/assess": 403}),
        (Role.ENGINEER, {"": 201, "/comments": 201, "/assess": 200}),
    ],
)
async def test_operators_write_and_engineers_decide(
    plant: Plant, operator: Operator, role: Role, acts: dict[str, int]
) -> None:
    await opened(operator)
    caller = Operator(operator.client, await api_key(plant.sql, role=role))
    bodies = {"": {"title": "x", "severity": "minor"}, "/comments": {"text": "x"}, "/assess": ORDER}
    for path, status in acts.items():
        address = f"/deviations/{FIRST}{path}" if path else "/deviations"
        assert (await send(caller, "POST", address, bodies[path])).status_code == status, path
    assert (await caller.get(f"/deviations/{FIRST}", "DeviationDetail"))["deviation"] == FIRST


async def test_another_organization_s_is_not_there(operator: Operator, north: Operator) -> None:
    await opened(operator)
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", ORDER),
        ("POST", "/assess", ORDER),
        ("GET", "/comments", None),
        ("POST", "/comments", {"text": "x"}),
    ):
        answer = await send(north, method, f"/deviations/{FIRST}{path}", body)
        assert answer.status_code == 404, (method, path, answer.text)
    assert (await north.get("/deviations"))["deviations"] == []
