"""Serials imported over HTTP: with the checks of the command, sealed to a key that the API cannot open."""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from schema.sealed import unseal
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant
from tests.api.test_enrollments import operator

__all__ = ["operator"]

ASKED = ORDER | {"name": "plant-north"}
MANY = 10_000


@pytest.fixture
async def vault(plant: Plant) -> X25519PrivateKey:
    private = X25519PrivateKey.generate()
    await plant.sql.execute("insert into vault (public_key) values ($1)", private.public_key().public_bytes_raw())
    return private


async def post(operator: Operator, content: object, kind: str | None = None, **asked: Any) -> httpx2.Response:
    given: dict[str, Any] = {"json": content} if kind is None else {"content": content}
    headers = operator.headers | ({} if kind is None else {"Content-Type": kind})
    return await operator.client.post("/api/v1/serials", params=ASKED | asked, headers=headers, **given)


async def test_rows_come_as_json_or_csv_and_keys_are_sealed(
    plant: Plant, operator: Operator, vault: X25519PrivateKey
) -> None:
    key = secrets.token_hex(32)
    items = [{"serial": "S-1", "claim_key": key, "device": None}, {"serial": "S-2", "device": "br-2", "version": 1}]
    answer = await post(operator, items, quota=5)
    assert answer.json() == {"import": "plant-north", "new": 2, "known": 0, "keys_not_kept": 0}
    answer = await post(operator, b"serial,device\r\nS-2,br-2\r\nS-3,\r\n", "text/csv; charset=utf-8")
    assert answer.json() == {"import": "plant-north", "new": 1, "known": 1, "keys_not_kept": 0}
    page = await operator.get("/serials", "Serials")
    assert [(item["serial"], item["device"], item["claim_version"], item["import"]) for item in page["serials"]] == [
        ("S-1", "S-1", 0, "plant-north"),
        ("S-2", "br-2", 1, "plant-north"),
        ("S-3", "S-3", 1, "plant-north"),
    ]
    assert key not in str(page)
    sealed = await plant.sql.fetchval("select claim_key from serials where serial = 'S-1'")
    assert unseal(vault, sealed, "serials/S-1").hex() == key
    first = await operator.get("/serials", "Serials", limit=2, **{"import": "plant-north"})
    rest = await operator.get("/serials", "Serials", limit=2, cursor=first["next"], **{"import": "plant-north"})
    assert [item["serial"] for item in first["serials"] + rest["serials"]] == ["S-1", "S-2", "S-3"]
    assert (await operator.get("/serials", **{"import": "other"}))["serials"] == []
    event = await plant.sql.fetchrow("select who, action, subject, why from audit order by n limit 1")
    assert tuple(event) == (operator.who, "serials import", "import/plant-north", "as the test says")
    assert (await operator.post("/serials/S-1/block", "Serial"))["blocked"] is True
    assert (await operator.post("/serials/S-1/unblock", "Serial"))["blocked"] is False
    assert await operator.refused("/serials/S-9/block") == (404, "there is no serial S-9")


async def test_bad_rows_are_named_and_nothing_is_imported(
    plant: Plant, operator: Operator, vault: X25519PrivateKey
) -> None:
    key = secrets.token_hex(32)
    items = [{"serial": "S-1"}, {"serial": "S/2"}, {"serial": "S-3", "claim_key": key[1:]}, {"serial": "S-1"}]
    answer = await post(operator, items)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["detail"] == "3 rows are bad, nothing was imported"
    assert [error["parameter"] for error in problem["errors"]] == ["line 2", "line 3", "line 4"]
    assert key[1:] not in answer.text
    for content, kind, asked, status, words in (
        ([{"device": "x"}], None, {}, 422, "1 rows"),
        ([{"serial": 7}], None, {}, 422, "1 rows"),
        ([{"serial": "S-1", "version": True}], None, {}, 422, "1 rows"),
        ([{"serial": "S-1", "serail": "x"}], None, {}, 422, "1 rows"),
        ([], None, {}, 422, "0 rows"),
        ({"serial": "S-1"}, None, {}, 422, "a list of objects"),
        (b"[", "application/json", {}, 422, "a list of objects"),
        (b"serial\n\xff\n", "text/csv", {}, 422, "UTF-8"),
        (b"serial\nS-1\n", "application/x-www-form-urlencoded", {}, 415, "text/csv"),
        (b"serial\nS-1\n", "text/csv", {"quota": -1}, 422, "quota"),
        (b"serial\nS-1\n", "text/csv", {"name": ""}, 422, "name"),
        (b"serial\nS-1\n", "text/csv", {"nmae": "x"}, 422, "did you mean name?"),
        (b"x" * (16 * 2**20 + 1), "text/csv", {}, 413, "bytes"),
    ):
        answer = await post(operator, content, kind, **asked)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"], answer.text
    assert await plant.sql.fetchval("select count(*) from serials") == 0
    assert await plant.sql.fetchval("select count(*) from audit") == 0


async def test_without_a_vault_keys_are_not_taken(plant: Plant, operator: Operator) -> None:
    answer = await post(operator, [{"serial": "S-1", "claim_key": secrets.token_hex(32)}])
    assert answer.status_code == 409
    assert "BIOGATE_SECRETS_DIR" in answer.json()["detail"]
    assert (await post(operator, [{"serial": "S-1"}])).status_code == 200


async def test_ten_thousand_are_imported_in_seconds(plant: Plant, operator: Operator, vault: X25519PrivateKey) -> None:
    items = [{"serial": f"S-{n:05}", "claim_key": secrets.token_hex(32)} for n in range(MANY)]
    begun = time.monotonic()
    answer = await post(operator, items)
    seconds = time.monotonic() - begun
    print(f"{MANY} claim keys imported in {seconds:.1f} s")
    assert answer.json()["new"] == MANY
    assert seconds < 30


async def test_claim_keys_that_cannot_be_checked_here_are_counted_in_the_answer(
    operator: Operator, vault: X25519PrivateKey
) -> None:
    items = [{"serial": "S-1", "claim_key": secrets.token_hex(32), "version": 1}, {"serial": "S-2"}]
    assert (await post(operator, items)).json()["keys_not_kept"] == 1
