"""API keys: what they can do, and who can make which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role, Scope
from api.shapes import accounts as shapes_accounts
from api.shapes import organizations as shapes_organizations
from tests.api.accounts import api_key, bearer, log_in, serving, user
from tests.api.conform import conforms
from tests.api.operators import shape
from tests.api.test_organizations import Person, person, trail

EVA = "eva@example.org"
KEYS = "/organization/keys"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url) as client:
        yield client


async def test_a_key_is_shown_once_and_does_what_it_is_for(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA, "north")
    given: dict[str, Any] = {
        "name": "dash",
        "role": "viewer",
        "scopes": ["telemetry:read", "telemetry:read"],
        "expires_in": "90d",
    }
    made = conforms(shapes_organizations.MadeKey, await eva("POST", KEYS, 201, **given))
    assert made.key.startswith(f"bgk_{made.key_id}_")
    assert made.scopes == ["telemetry:read"]
    secret = made.key.rpartition(made.key_id)[2][1:]
    assert len(secret) >= 43  # 256 bits
    assert secret not in repr(await database.fetch("select * from api_keys"))
    page = await eva("GET", KEYS)
    conforms(shape("Keys"), page)
    listed = page["keys"]
    assert [one["key_id"] for one in listed] == [made.key_id]
    assert secret not in repr(listed)

    key = Person(api, 0, bearer(made.key))
    await key("GET", "/latest")
    for method, path in (("GET", "/devices"), ("GET", KEYS), ("GET", "/organization")):
        await key(method, path, 403)
    mine = conforms(shapes_accounts.Me, await key("GET", "/auth/me"))
    assert (mine.who, mine.role, mine.scopes) == (f"key {made.key_id} (dash)", "viewer", ["telemetry:read"])
    assert mine.expires_at == made.expires_at

    await eva("DELETE", f"{KEYS}/{made.key_id}", 204)
    await key("GET", "/latest", 401)
    await eva("DELETE", f"{KEYS}/{made.key_id}", 404)
    assert (await eva("GET", KEYS))["keys"][0]["ended_at"] is not None
    assert await trail(database, "north") == [
        (EVA, "key create", f"key/{made.key_id}"),
        (EVA, "key end", f"key/{made.key_id}"),
    ]


async def test_a_key_is_nothing_but_what_was_shown(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    key = await api_key(database, "north")
    other = await api_key(database, "south")
    _, key_id, secret = key.split("_", 2)
    _, _, others = other.split("_", 2)
    assert (await api.get("/api/v1/latest", headers=bearer(key))).status_code == 200
    wrong = f"{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}"
    for bad in (
        f"bgk_{key_id}_{wrong}",
        f"bgk_{key_id}_{others}",
        f"bgk_{key_id}_",
        f"bgk_{key_id}",
        f"bgk__{secret}",
        f"BGK_{key_id}_{secret}",
        f"{key}x",
        secret,
    ):
        assert (await api.get("/api/v1/latest", headers=bearer(bad))).status_code == 401, bad
    assert (await api.get("/api/v1/latest", params={"key": key})).status_code == 401


async def test_a_key_expires_though_it_is_remembered(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    key = bearer(await api_key(database, "north"))
    assert (await api.get("/api/v1/latest", headers=key)).status_code == 200
    await database.execute("update api_keys set expires_at = now() - interval '1 s'")
    await database.execute("select notice_send('biogate_accounts', '')")
    other = bearer(await api_key(database, "north"))
    await database.execute("update api_keys set expires_at = now() + interval '1.5 s' where expires_at is null")
    assert (await api.get("/api/v1/latest", headers=other)).status_code == 200
    await asyncio.sleep(1.6)  # of the 10 s for which it could have been remembered
    assert (await api.get("/api/v1/latest", headers=other)).status_code == 401
    assert (await api.get("/api/v1/latest", headers=key)).status_code == 401


SENSELESS: list[dict[str, Any]] = [
    {"role": "owner"},
    {"scopes": []},
    {"scopes": ["everything"]},
    {"name": ""},
    {"expires_in": "0s"},
    {"expires_in": "3661d"},
    {"organization": "south"},
    {"created_by": "somebody"},
]


async def test_a_key_that_makes_no_sense_is_refused(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    for bad in SENSELESS:
        await eva("POST", KEYS, 422, **({"name": "dash", "role": "viewer", "scopes": ["telemetry:read"]} | bad))


async def test_a_key_makes_keys_that_can_do_no_more_and_hold_no_longer(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    scopes = {Scope.ORGANIZATION_READ, Scope.ORGANIZATION_WRITE, Scope.TELEMETRY_READ}
    maker = Person(api, 0, bearer(await api_key(database, "north", Role.ADMIN, scopes)))
    given: dict[str, Any] = {"name": "child", "role": "admin", "scopes": ["telemetry:read"]}
    child = await maker("POST", KEYS, 201, **given)
    assert child["created_by"].startswith("key ")
    await maker("POST", KEYS, 403, **(given | {"scopes": ["telemetry:read", "devices:read"]}))
    await database.execute("update api_keys set expires_at = now() + interval '1 h' where created_by = 'test'")
    await maker("POST", KEYS, 403, **given)
    await maker("POST", KEYS, 403, **given, expires_in="2h")
    await maker("POST", KEYS, 201, **given, expires_in="30m")
    await Person(api, 0, bearer(child["key"]))("POST", KEYS, 403, **given)  # without organization:write
    reader = Person(api, 0, bearer(await api_key(database, "north", Role.ADMIN, {Scope.ORGANIZATION_READ})))
    await reader("POST", KEYS, 403, **given)
    engineer = Person(api, 0, bearer(await api_key(database, "north", Role.ENGINEER)))
    await engineer("POST", KEYS, 403, **given)


async def test_another_organizations_keys_are_not_there(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    other = await api_key(database, "south")
    assert (await eva("GET", KEYS))["keys"] == []
    await eva("DELETE", f"{KEYS}/{other.split('_')[1]}", 404)
    await eva("DELETE", f"{KEYS}/not-a-key", 422)
    assert (await api.get("/api/v1/latest", headers=bearer(other))).status_code == 200


async def test_two_organizations_of_one_person_have_each_their_keys(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA, "north")
    await user(database, EVA, "south")
    eva = Person(api, 0, (await log_in(api, EVA))["headers"])
    made = await eva("POST", KEYS, 201, within="south", name="s", role="viewer", scopes=["devices:read"])
    assert (await eva("GET", KEYS))["keys"] == []
    assert len((await eva("GET", KEYS, within="south"))["keys"]) == 1
    mine = await Person(api, 0, bearer(made["key"]))("GET", "/auth/me")
    assert mine["organization"] == "south"


async def test_the_keys_of_an_organization_are_bounded(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva, other = await person(api, database, EVA, "north"), await person(api, database, "jan@example.org", "south")
    north = await database.fetchval("select organization_id from organizations where name = 'north'")
    await database.execute(
        "insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by)"
        " select translate(lpad(n::text, 12, '0'), '0123456789', 'abcdefghij'), $1, 'old', 'viewer',"
        " '{telemetry:read}', sha256(n::text::bytea), 'test'"
        " from generate_series(1, 199) n",
        north,
    )
    wanted: dict[str, Any] = {"name": "one", "role": "viewer", "scopes": ["telemetry:read"]}
    await eva("POST", KEYS, 201, **wanted)
    refused = await eva("POST", KEYS, 409, **wanted)
    assert refused["detail"] == "there are 200 keys that can be used already: end one"
    await other("POST", KEYS, 201, **wanted)
    await database.execute("update api_keys set ended_at = now() where key_id = 'aaaaaaaaaaab'")
    await database.execute("update api_keys set expires_at = now() where key_id = 'aaaaaaaaaaac'")
    for status in (201, 201, 409):
        await eva("POST", KEYS, status, **wanted)
