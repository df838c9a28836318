"""What is sent in another form than ours: byte order marks are taken, and a wrong text is told in words."""

from __future__ import annotations

import codecs
import json
from typing import Any

import httpx2
import pytest

from tests.api import alarms
from tests.api.plant import Plant
from tests.in_turn import in_turn

WHY = {"why": "tests"}
REGISTRATION = {"email": "eva@example.org", "name": "Eva", "password": "correct horse battery"}
WRONG: list[tuple[str, str, Any, str]] = [
    # method, address, body, what the detail must say
    *[
        ("POST", "auth/register", REGISTRATION | {"email": email}, "in ASCII")
        for email in (
            "eva@exämple.org",
            "jürgen@example.org",
            "eva",
            "a b@example.org",
            "@example.org",
            "a" * 255 + "@b.de",
        )
    ],
    ("POST", "auth/login", {"email": "jürgen@example.org", "password": "x"}, "without umlauts"),
    ("POST", "organization/invitations", {"role": "viewer", "email": "jürgen@example.org"}, "without umlauts"),
    ("POST", "devices/br-1/give", WHY | {"organization": "Nörd"}, "small letters"),
    ("POST", "devices/br-1/commands", WHY | {"name": "Set It"}, "the first is a letter"),
    ("DELETE", "organization/keys/NOT-A-KEY", None, "list of keys"),
    ("GET", "enrollments/xyz", None, "list of handshakes"),
    ("PUT", "alarm-rules/Too%20Hot?why=tests", alarms.RULE, "small letters"),
    ("PUT", "alarm-routes/Shift%20A?why=tests", {"enabled": False}, "small letters"),
    (
        "PUT",
        "alarm-routes/shift?why=tests",
        {"url": "mailto://x@y.example", "hours": [{"days": ["mon"], "begins": "6:30"}]},
        "06:30",
    ),
    (
        "POST",
        "alarm-rules.yaml?why=tests",
        {"rules": [{"name": "Too Hot", **alarms.RULE}]},
        "small letters",
    ),
]


@pytest.fixture
async def device(plant: Plant) -> int:
    return await plant.device("br-1")


@in_turn(("method", "path", "body", "said"), WRONG)
async def test_a_text_that_cannot_be_used_is_told_in_words(
    device: int, client: httpx2.AsyncClient, method: str, path: str, body: Any, said: str
) -> None:
    answer = await client.request(method, f"/api/v1/{path}", json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422, answer.text
    assert "pattern" not in answer.text
    assert "[a-z" not in answer.text
    assert said in answer.text, answer.text


async def test_a_byte_order_mark_before_a_body_is_taken(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    note = {"begins": "2026-03-01T10:00:00Z", "text": "x"}
    rule = json.dumps(alarms.RULE).encode()
    yaml = json.dumps({"rules": [{"name": "too-warm", **alarms.RULE}]}).encode()
    for method, path, kind, body in (
        ("POST", "auth/register", "application/json", json.dumps(REGISTRATION).encode()),
        ("POST", "devices/br-1/annotations", "application/json", json.dumps(note).encode()),
        ("PUT", "alarm-rules/too-hot?why=tests", "application/json", rule),
        ("POST", "alarm-rules.yaml?why=tests", "application/yaml", yaml),
        ("POST", "serials?name=a&why=tests", "application/json", b'[{"serial": "S-1", "device": "br-7"}]'),
        ("POST", "serials?name=b&why=tests", "text/csv", b"serial,device\nS-2,br-8\n"),
    ):
        headers = {"Content-Type": kind}
        answer = await client.request(method, f"/api/v1/{path}", content=codecs.BOM_UTF8 + body, headers=headers)
        assert answer.status_code in {200, 201}, f"{path}: {answer.text}"
