"""What operators see and do over HTTP: handshakes, devices, logins, the kill switch; and nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from api.app import create_app
from api.settings import Settings
from schema.enrollment import fingerprint
from tests.api.operators import SIGNED, TOKEN, Operator, handshake, login_of
from tests.api.plant import Plant, text

ROUTES = [
    ("GET", "/enrollments"),
    ("GET", "/enrollments.csv"),
    ("GET", f"/enrollments/{'0' * 32}"),
    ("POST", f"/enrollments/{'0' * 32}/approve"),
    ("POST", f"/enrollments/{'0' * 32}/deny"),
    ("GET", "/enrollment"),
    ("PUT", "/enrollment"),
    ("GET", "/serials"),
    ("POST", "/serials"),
    ("POST", "/serials/S-1/block"),
    ("POST", "/serials/S-1/unblock"),
    ("GET", "/devices/br-1/logins"),
    *(("POST", f"/devices/br-1/{action}") for action in ("suspend", "resume", "revoke", "retire", "rotate", "reset")),
]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "operator.token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
async def operator(database_url: str, token_file: Path) -> AsyncIterator[Operator]:
    app = create_app(Settings(database_url=database_url, api_operator_token_file=token_file))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://api") as it:
        yield Operator(it)


async def audit(plant: Plant) -> list[tuple[str, str, str, str]]:
    assert await plant.sql.fetch("select audit_faults()") == []
    return [tuple(row) for row in await plant.sql.fetch("select who, action, subject, why from audit order by n")]


async def test_all_routes_need_the_token_before_they_look_at_anything(plant: Plant, operator: Operator) -> None:
    await handshake(plant.sql, "S-1")
    for method, path in ROUTES:
        for headers in (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
        ):
            answer = await operator.client.request(method, f"/api/v1{path}", headers=headers, content=b"{" * 10)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="biogate operators"')
            told = "invalid_token" in answer.headers["www-authenticate"]
            assert told == headers.get("Authorization", "").startswith(f"Bearer {TOKEN[:-1]}")
            assert answer.headers["content-type"] == "application/problem+json"
            assert TOKEN not in answer.text
    assert (await operator.client.get("/api/v1/devices")).status_code == 200
    assert [event[1] for event in await audit(plant)] == ["enrollment awaiting"]


async def test_without_a_token_file_nobody_is_an_operator_and_the_setting_is_named(client: httpx2.AsyncClient) -> None:
    for method, path in ROUTES:
        answer = await client.request(method, f"/api/v1{path}", headers={"Authorization": "Bearer "})
        assert answer.status_code == 403, path
        assert "BIOGATE_API_OPERATOR_TOKEN_FILE" in answer.json()["detail"]


def test_a_token_that_others_can_read_or_guess_is_refused_at_the_start(token_file: Path, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ValidationError) as caught:
            Settings(database_url="postgresql://u@h/n", api_operator_token_file=path)
        return str(caught.value)

    token_file.chmod(0o644)
    assert "kept from others" in refusal(token_file)
    token_file.chmod(0o600)
    for content in ("", "short", "two words of more than thirty-two characters"):
        token_file.write_text(content)
        assert "one word of 32 characters" in refusal(token_file)
    assert "cannot be read" in refusal(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env={**os.environ, "BIOGATE_DATABASE_URL": "postgresql://u@h/n", "BIOGATE_API_OPERATOR_TOKEN_FILE": "/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("BIOGATE_API_OPERATOR_TOKEN_FILE: ")


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
        ("eva", "enrollment approved", "serial/S-1", "as the test says"),
        ("eva", "enrollment rejected", "serial/S-2", "as the test says"),
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
        (await operator.post(f"/devices/br-1/{action}", "Device"))["state"]
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
        return await operator.client.put("/api/v1/enrollment", json=SIGNED | body, headers=operator.headers)

    answer = await put(open=False)
    cells = [{"cell": "main", "open": False, "applied": None}, {"cell": "north", "open": False, "applied": None}]
    assert answer.json()["cells"] == cells
    assert (await put(open=True, cell="north")).status_code == 200
    page = await operator.get("/enrollment", "Switches")
    assert [cell["open"] for cell in page["cells"]] == [False, True]
    assert (await put(open=True, cell="south")).status_code == 404
    assert (await put()).status_code == 422
    assert [event[:3] for event in await audit(plant)] == [
        ("eva", "enrollment close", "cells"),
        ("eva", "enrollment open", "cell/north"),
    ]


async def test_a_body_that_cannot_be_used_is_told_why(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    for content, status, words in (
        (b"", 422, "is not JSON"),
        (b"{", 422, "is not JSON"),
        (b"[]", 422, "object"),
        (b'{"who": "eva"}', 422, "why: field required"),
        (b'{"who": "eva", "why": " "}', 422, "why: "),
        (b'{"who": "eva", "why": "a\\u0000"}', 422, "cannot be printed"),
        (b'{"who": "eva", "why": "\\ud800"}', 422, "JSON"),
        (b'{"who": "eva", "why": "x", "whom": "y"}', 422, "whom"),
        (b'{"who": "eva", "why": "' + b"x" * 70_000 + b'"}', 413, "65536"),
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
    assert (await operator.get("/devices/br-1", "Device"))["state"] == "suspended"
