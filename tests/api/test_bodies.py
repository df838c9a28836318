"""Bodies of requests: a key that stands twice is refused by every route that takes JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.plant import Plant

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
SESSIONS_ALONE = {
    f"/api/v1/{path}"
    for path in (
        *("auth/logout", "auth/password", "organizations", "organizations/join"),
        *("signatures", "pending-acts/{number}/confirm"),
    )
}
"""Routes that no key may use; they read their bodies by the same function."""
TAKES_JSON = [
    (method, path)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {}) and path not in SESSIONS_ALONE
]


def twice(content: dict[str, Any]) -> bytes:
    """The JSON with its first key repeated."""
    key, value = next(iter(content.items()))
    return b"{%s: %s, %s" % (json.dumps(key).encode(), json.dumps(value).encode(), json.dumps(content).encode()[1:])


async def fill(plant: Plant) -> None:
    await plant.device("br-1")


@pytest.mark.parametrize(("method", "path"), TAKES_JSON)
async def test_a_key_that_stands_twice_is_refused(reader: httpx2.AsyncClient, method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    parameters = operation.get("parameters", [])
    places = {one["name"]: one["schema"]["examples"][0] for one in parameters if one["in"] == "path"}
    asked = {one["name"]: "tested" for one in parameters if one["in"] == "query" and one["required"]}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    content = twice(schema.get("example", {"why": "tested"}))
    answer = await reader.request(
        method.upper(),
        path.format_map(places),
        params=asked,
        content=b"[%s]" % content if schema.get("type") == "array" else content,
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert "stands twice" in answer.json()["detail"]
