"""What operators see and do over HTTP: handshakes, devices, logins, the kill switch; and nobody else does."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from api.access.roles import Role, Scope
from schema.enrollment import fingerprint
from tests.api.accounts import api_key, bearer
from tests.api.operators import ORDER, Operator, handshake, login_of
from tests.api.plant import Plant, text

READ, WRITE = Scope.ENROLLMENT_READ, Scope.ENROLLMENT_WRITE
ROUTES = [
    ("GET", "/enrollments", Role.OPERATOR, READ),
    ("GET", "/enrollments.csv", Role.OPERATOR, READ),
    ("GET", f"/enrollments/{'0' * 32}", Role.OPERATOR, READ),
    ("POST", f"/enrollments/{'0' * 32}/approve", Role.ENGINEER, WRITE),
    ("POST", f"/enrollments/{'0' * 32}/deny", Role.ENGINEER, WRITE),
    ("GET", "/enrollment", Role.OPERATOR, READ),
    ("GET", "/enrollment.csv", Role.OPERATOR, READ),
    ("PUT", "/enrollment", Role.ADMIN, WRITE),
    ("GET", "/serials", Role.OPERATOR, READ),
    ("GET", "/serials.csv", Role.OPERATOR, READ),
    ("POST", "/serials", Role.ENGINEER, WRITE),
    ("POST", "/serials/S-1/block", Role.ENGINEER, WRITE),
    ("POST", "/serials/S-1/unblock", Role.ENGINEER, WRITE),
    ("GET", "/devices/br-1/logins", Role.OPERATOR, READ),
    ("GET", "/devices/br-1/logins.csv", Role.OPERATOR, READ),
    *(
        ("POST", f"/devices/br-1/{name}", Role.ENGINEER, Scope.DEVICES_WRITE)
        for name in ("suspend", "resume", "rotate")
    ),
    *(
        ("POST", f"/devices/br-1/{name}", Role.ADMIN, Scope.DEVICES_WRITE)
        for name in ("revoke", "retire", "reset", "give")
    ),
]


@pytest.fixture
async def operator(client: httpx2.AsyncClient, plant: Plant) -> Operator:
    """An admin of the organization that runs the installation."""
    return Operator(client, await api_key(plant.sql))


async def audit(plant: Plant) -> list[tuple[str, str, str, str]]:
    assert await plant.sql.fetch("select audit_faults()") == []
    return [tuple(row) for row in await plant.sql.fetch("select who, action, subject, why from audit order by n")]


async def test_each_route_asks_for_a_role_and_a_scope_before_it_looks_at_anything(
    plant: Plant, operator: Operator
) -> None:
    await handshake(plant.sql, "S-1")
    for method, path, role, scope in ROUTES:
        lower = [one for one in Role if not one.covers(role)]
        others = [one for one in Scope if one is not scope]
        for key, status, words in (
            (None, 401, "Authorization: Bearer"),
            ((await api_key(plant.sql))[:-1] + "?", 401, "is unknown"),
            (await api_key(plant.sql, role=role, scopes=others), 403, scope),
            *[(await api_key(plant.sql, role=one), 403, role) for one in lower],
        ):
            headers = {"Authorization": "" if key is None else f"Bearer {key}"}
            answer = await operator.client.request(method, f"/api/v1{path}", headers=headers, content=b"{" * 10)
            assert answer.status_code == status, (method, path, role, answer.text)
            assert words in answer.json()["detail"], (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        allowed = bearer(await api_key(plant.sql, role=role, scopes=[scope]))
        answer = await operator.client.request(method, f"/api/v1{path}", headers=allowed, content=b"{" * 10)
        assert answer.status_code in {200, 404, 422}, (method, path, answer.text)
    assert [event[1] for event in await audit(plant)] == ["enrollment awaiting"]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_handshakes_come_newest_first_by_state_and_serial(plant: Plant, operator: Operator, limit: int) -> None:
    states = ("awaiting", "active", "rejected")
    made = [await handshake(plant.sql, f"S-{n % 2}", n // 2, states[n % 3]) for n in range(7)]

    async def found(**asked: object) -> list[str]:
        items: list[str] = []
        page: dict[str, Any] = {"next": None}
        while True:
            cursor: dict[str, Any] = {} if page["next"] is None else {"cursor": page["next"]}
            page = await operator.get("/enrollments", "Enrollments", limit=limit, **asked, **cursor)
            items += [item["txn"] for item in page["enrollments"]]
            if page["next"] is None:
                return items

    everything = await found()
    assert sorted(everything) == sorted(made)
    assert everything[0] == made[6]
    assert set(everything[-2:]) == set(made[:2])
    assert await found(state="awaiting") == [made[6], made[3], made[0]]
    assert set(await found(state=["active", "rejected"])) == {made[n] for n in (1, 2, 4, 5)}
    assert await found(serial="S-1") == [made[5], made[3], made[1]]
    assert await found(serial="S-1", state="rejected") == [made[5]]


async def test_a_handshake_is_shown_with_its_fingerprint_and_without_keys(plant: Plant, operator: Operator) -> None:
    await plant.sql.execute("insert into serials (serial, device) values ('S-1', 'br-1')")
    txn = await handshake(plant.sql, "S-1")
    item = await operator.get(f"/enrollments/{txn}", "Enrollment")
    key = await plant.sql.fetchval("select identity_key from enrollments")
    assert item == {
        "txn": txn,
        "cell": "main",
        "serial": "S-1",
        "device": "br-1",
        "fingerprint": fingerprint(key),
        "state": "awaiting",
        "reason": "unknown-serial",
        "claim_version": 1,
        "hardware": "rev C",
        "firmware": None,
        "channels": ["ph", "temperature"],
        "username": None,
        "created_at": text(0),
        "changed_at": item["changed_at"],
        "expires_at": None,
    }
    answer = await operator.client.get("/api/v1/enrollments.csv", headers=operator.headers)
    assert answer.text.splitlines()[1].startswith(f"{txn},main,S-1,br-1,{fingerprint(key)},awaiting,unknown-serial,1,")
    assert '"[""ph"",""temperature""]"' in answer.text


async def test_approval_and_denial_work_once_and_are_written_down(plant: Plant, operator: Operator) -> None:
    first, second = await handshake(plant.sql, "S-1"), await handshake(plant.sql, "S-2", 1)
    mark = (await operator.get(f"/enrollments/{first}"))["fingerprint"]
    approve = f"/enrollments/{first}/approve"
    status, detail = await operator.refused(approve, fingerprint="AAAA BBBB CCCC")
    assert (status, mark in detail) == (409, True)
    assert (await operator.refused(approve, device="br/1"))[0] == 422
    assert (await operator.post(approve, "Enrollment", device="br-1", fingerprint=mark.lower()))["state"] == "approved"
    assert (await operator.refused(approve))[0] == 409
    assert await operator.refused(f"/enrollments/{second}/approve", device="br-1") == (409, "that name is taken")
    assert (await operator.post(f"/enrollments/{second}/deny", "Enrollment"))["reason"] == "denied"
    assert (await operator.refused(f"/enrollments/{second}/deny"))[0] == 409
    for action in ("approve", "deny"):
        assert (await operator.refused(f"/enrollments/{'0' * 32}/{action}"))[0] == 404
    assert (await operator.refused("/enrollments/xyz/deny"))[0] == 422
    assert (await audit(plant))[2:] == [
        (operator.who, "enrollment approved", "serial/S-1", "as the test says"),
        (operator.who, "enrollment rejected", "serial/S-2", "as the test says"),
    ]


async def test_devices_are_commanded_and_their_logins_shown_without_secrets(plant: Plant, operator: Operator) -> None:
    for generation in (1, 2):
        await login_of(plant.sql, "br-1", generation)
    page = await operator.get("/devices/br-1/logins", "Logins")
    assert [(item["username"], item["applied"]) for item in page["logins"]] == [
        ("br-1.2", "present"),
        ("br-1.1", "present"),
    ]
    assert "secret" not in str(page)
    states = [
        (await operator.post(f"/devices/br-1/{action}", "DeviceDetail"))["state"]
        for action in ("suspend", "resume", "rotate", "reset", "retire", "revoke")
    ]
    assert states == ["suspended", "active", "active", "active", "retired", "revoked"]
    page = await operator.get("/devices/br-1/logins", "Logins")
    assert {(item["wanted"], item["applied"]) for item in page["logins"]} == {("absent", "present")}
    assert await operator.refused("/devices/br-1/suspend") == (
        *(409, "device br-1 is revoked: suspend needs it to be active or pending"),
    )
    assert await operator.refused("/devices/br-9/suspend") == (404, "there is no device br-9")
    assert (await operator.refused("/devices/-/suspend"))[0] == 422
    answer = await operator.client.get("/api/v1/devices/br-9/logins", headers=operator.headers)
    assert answer.status_code == 404
    assert [event[1] for event in await audit(plant)] == [
        f"device {action}" for action in ("suspend", "resume", "rotate", "reset", "retire", "revoke")
    ]


async def test_the_kill_switch(plant: Plant, operator: Operator) -> None:
    await plant.sql.execute("insert into cells values ('main', 'a'), ('north', 'b'), ('replay', 'c')")

    async def put(**body: object) -> httpx2.Response:
        return await operator.client.put("/api/v1/enrollment", json=ORDER | body, headers=operator.headers)

    answer = await put(open=False)
    cells = [{"cell": "main", "open": False, "applied": None}, {"cell": "north", "open": False, "applied": None}]
    assert answer.json()["cells"] == cells
    assert (await put(open=True, cell="north")).status_code == 200
    page = await operator.get("/enrollment", "Switches")
    assert [cell["open"] for cell in page["cells"]] == [False, True]
    assert (await put(open=True, cell="south")).status_code == 404
    assert (await put()).status_code == 422
    assert [event[:3] for event in await audit(plant)] == [
        (operator.who, "enrollment close", "cells"),
        (operator.who, "enrollment open", "cell/north"),
    ]


async def test_a_body_that_cannot_be_used_is_told_why(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    for content, status, words in (
        (b"", 422, "is not JSON"),
        (b"{", 422, "is not JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "why: "),
        (b'{"why": " "}', 422, "why: "),
        (b'{"why": "a\\u0000"}', 422, "cannot be printed"),
        (b'{"why": "\\ud800"}', 422, "JSON"),
        (b'{"why": "x", "who": "somebody else"}', 422, "who"),
        (b'{"why": "' + b"x" * 70_000 + b'"}', 413, "65536"),
    ):
        answer = await operator.client.post("/api/v1/devices/br-1/suspend", content=content, headers=operator.headers)
        assert answer.status_code == status, (content[:40], answer.text)
        assert words in answer.json()["detail"], (content[:40], answer.text)
    assert await audit(plant) == []


async def test_reading_routes_still_cannot_write(plant: Plant, operator: Operator, database_url: str) -> None:
    await plant.device("br-1")
    await operator.post("/devices/br-1/suspend")
    rows = await plant.sql.fetch(
        "select state from pg_stat_activity where application_name = 'biogate-api' and datname = current_database()"
    )
    assert {row["state"] for row in rows} == {"idle"}
    assert (await operator.get("/devices/br-1", "DeviceDetail"))["state"] == "suspended"
