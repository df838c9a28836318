"""What somebody would try who means harm: to come back, to be served first, to stop the others."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from api.access.passwords import Passwords
from api.access.roles import Role
from api.http.patience import MOST_OF_ONE
from api.problems import Unauthorized
from tests.api.accounts import (
    PASSWORD,
    QUICK_HASH,
    QUICK_ROUNDS,
    api_key,
    bearer,
    log_in,
    me,
    organization,
    serving,
    user,
)
from tests.api.plant import Plant
from tests.schema.logins import sql_login

EVA, IDA = "eva@example.org", "ida@example.org"
ANOTHER_HASH = QUICK_HASH[:-1] + ("a" if QUICK_HASH[-1] != "a" else "b")


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url, api_rate=0, api_anonymous_rate=0) as client:
        yield client


# To keep what was taken away


@pytest.mark.parametrize("taken", ["membership", "role", "key"])
async def test_nobody_comes_back_with_an_invitation_of_their_own(
    api: httpx2.AsyncClient, database: asyncpg.Connection, taken: str
) -> None:
    eva = await user(database, EVA, "main")
    await user(database, IDA)
    await user(database, "ada@example.org", "main")  # the last admin would stay
    key = await api_key(database)
    headers = bearer(key) if taken == "key" else (await log_in(api, EVA))["headers"]
    others = bearer(await api_key(database))
    invitation = {"role": "admin", "uses": 2, "expires_in": "90d"}
    codes = [
        (await api.post("/api/v1/organization/invitations", json=invitation, headers=one)).json()["code"]
        for one in (headers, others)
    ]
    if taken == "key":
        answer = await api.delete(f"/api/v1/organization/keys/{key.split('_')[1]}", headers=others)
    elif taken == "role":
        change = {"role": "viewer", "why": "x"}
        answer = await api.patch(f"/api/v1/organization/members/{eva}", json=change, headers=others)
    else:
        answer = await api.delete(f"/api/v1/organization/members/{eva}", headers=others)
    assert answer.status_code in {200, 204}, answer.text
    ida = (await log_in(api, IDA))["headers"]
    its, anothers = [
        (await api.post("/api/v1/organizations/join", json={"code": code}, headers=ida)).status_code for code in codes
    ]
    assert (its, anothers) == (404, 201)


class Slow(Passwords):
    """As with many in the queue: `reached` is set while a password is compared, and it goes on when told."""

    def __init__(self) -> None:
        super().__init__(QUICK_ROUNDS)
        self.reached, self.on = asyncio.Event(), asyncio.Event()

    async def matches(self, password: SecretStr, password_hash: str | None, rounds: int = 0) -> str | None:
        found = await super().matches(password, password_hash, rounds)
        self.reached.set()
        await self.on.wait()
        return found


@pytest.mark.parametrize("what", ["login", "password"])
async def test_a_password_that_is_changed_while_it_is_compared_opens_and_changes_nothing(
    database_url: str, database: asyncpg.Connection, what: str
) -> None:
    eva = await user(database, EVA)
    async with serving(database_url) as api:
        headers = (await log_in(api, EVA))["headers"]
        slow = Slow()
        api.app.state.services = dataclasses.replace(api.app.state.services, passwords=slow)
        body = {"email": EVA, "password": PASSWORD} if what == "login" else {"old": PASSWORD, "new": "of the thief"}
        asking = asyncio.create_task(api.post(f"/api/v1/auth/{what}", json=body, headers=headers))
        await slow.reached.wait()
        await database.execute("update users set password_hash = $2 where user_id = $1", eva, ANOTHER_HASH)
        slow.on.set()
        assert (await asking).status_code == (401 if what == "login" else 409)
    assert await database.fetchval("select count(*) from sessions") == 1  # the one it was asked in
    assert await database.fetchval("select password_hash from users") == ANOTHER_HASH


@pytest.mark.parametrize("path", ["audit.csv", "audit.jsonl"])
async def test_a_long_answer_breaks_off_when_its_key_has_ended(
    monkeypatch: pytest.MonkeyPatch, api: httpx2.AsyncClient, database: asyncpg.Connection, path: str
) -> None:
    monkeypatch.setattr("api.queries.audit.AT_A_TIME", 1)
    key = await api_key(database, "north")
    await database.execute(
        "insert into audit (organization_id, who, action, subject, why)"
        " select organization_id, 'x', 'x', 'x', 'x' from organizations, generate_series(1, 5) where name = 'north'"
    )
    whole = await api.get(f"/api/v1/{path}", headers=bearer(key))
    app = api._transport.app  # type: ignore[attr-defined]
    seen: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        seen.append(message)
        if message.get("body") and len(seen) == 2:
            await database.execute("update api_keys set ended_at = now()")
            app.state.services.identities.forget()

    head = [(b"host", b"api"), (b"authorization", f"Bearer {key}".encode())]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/api/v1/{path}",
        "query_string": b"",
    }
    scope |= {"headers": head, "scheme": "http", "client": ("::1", 1), "server": ("api", 80), "root_path": ""}
    with pytest.raises(RuntimeError) as ended:  # which ends the connection
        await app(scope | {"raw_path": scope["path"].encode()}, receive, send)
    assert isinstance(ended.value.__cause__, Unauthorized)
    assert sum(len(message.get("body", b"")) for message in seen) < len(whole.content)
    assert seen[-1]["more_body"]


# To reach into another organization


async def test_what_waits_for_a_device_is_not_for_who_has_it_now(plant: Plant, client: httpx2.AsyncClient) -> None:
    await plant.device("br-1")
    await organization(plant.sql, "north")
    order = {"name": "dose", "why": "feeding", "expires_in": "1d"}
    for key in ("sent", "waits"):
        answer = await client.post("/api/v1/devices/br-1/commands", json=order, headers={"Idempotency-Key": key})
        assert answer.status_code == 202, answer.text
    await plant.sql.execute("update commands set state = 'sent', sent_at = now() where idempotency_key = 'sent'")
    gift = {"organization": "north", "why": "sold"}
    assert (await client.post("/api/v1/devices/br-1/give", json=gift)).status_code == 200
    rows = await plant.sql.fetch("select idempotency_key, state, detail from commands order by 1")
    assert [tuple(row) for row in rows] == [("sent", "sent", None), ("waits", "cancelled", "the device was given away")]
    trail = await plant.sql.fetchrow("select organization_id, who from audit where action = 'command cancelled'")
    assert trail["organization_id"] == 1
    assert trail["who"].startswith("key ")
    assert await plant.sql.fetchval("select count(*) from audit_faults()") == 0


# To stop the others


async def test_a_query_of_ten_thousand_names_is_soon_refused(api: httpx2.AsyncClient) -> None:
    """Nobody has to log in for it, and all others wait meanwhile."""
    names = ("".join(letters) for letters in itertools.product("abcdefghijklmnop", repeat=3))
    for query in ("&".join(["tag"] * 8000), "&".join(itertools.islice(names, 4000))):
        begun = time.process_time()
        assert (await api.get(f"/api/v1/devices?{query}")).status_code in {401, 422}
        assert time.process_time() - begun < 0.3


async def test_a_body_that_is_nested_without_end_is_bad_input(client: httpx2.AsyncClient) -> None:
    for body in (b"[" * 20_000, b'[{"serial":' * 20_000):
        answer = await client.post(
            "/api/v1/serials?name=x&why=x", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, answer.text


async def test_the_description_is_encoded_once(api: httpx2.AsyncClient) -> None:
    first = await api.get("/openapi.json")
    begun = time.process_time()
    for _ in range(20):
        assert (await api.get("/openapi.json")).content == first.content
    assert time.process_time() - begun < 0.3  # 50 ms each when it was made anew


async def test_slow_queries_of_one_organization_leave_connections_to_others(
    database_url: str, database: asyncpg.Connection
) -> None:
    north, main = bearer(await api_key(database, "north")), bearer(await api_key(database))
    async with serving(database_url, api_pool_size=4, api_acquire_timeout=1) as api:
        assert await me(api, north) == await me(api, main) == 200
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            await holder.execute("lock table audit")
            slow = [asyncio.create_task(api.get("/api/v1/audit/verify", headers=north)) for _ in range(6)]
            await asyncio.sleep(0.2)
            assert (await api.get("/api/v1/devices", headers=main)).status_code == 200
            assert (await api.get("/ready")).status_code == 200
            assert (await api.get("/api/v1/devices", headers=north)).status_code == 503
        await holder.close()
        statuses = sorted([one.status_code for one in await asyncio.gather(*slow)])
        assert statuses == [200] * 2 + [503] * 4  # nothing of the share is lost
        assert (await api.get("/api/v1/devices", headers=north)).status_code == 200


async def test_one_organization_does_not_take_all_places_to_wait(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    addresses = []
    for name in ("main", "north"):
        number = await organization(database, name)
        await database.execute("insert into devices (name, organization_id) values ($1, $2)", f"of-{name}", number)
        headers = bearer(await api_key(database, name, Role.ENGINEER))
        answer = await api.post(
            f"/api/v1/devices/of-{name}/commands",
            json={"name": "dose", "why": "x"},
            headers=headers | {"Idempotency-Key": "1"},
        )
        addresses.append((answer.headers["location"], headers))

    async def wait(which: int, how_long: str) -> int:
        address, headers = addresses[which]
        return (await api.get(address, params={"wait": how_long}, headers=headers)).status_code

    many = {asyncio.create_task(wait(0, "60s")) for _ in range(MOST_OF_ONE + 1)}
    [refused], many = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    assert refused.result() == 429
    assert await wait(1, "10ms") == 200
    await database.execute("update commands set state = 'cancelled', ended_at = now()")
    assert await asyncio.gather(*many) == [200] * MOST_OF_ONE
    assert await wait(0, "10ms") == 200


async def test_no_login_for_sql_notifies_the_processes(database: asyncpg.Connection, database_url: str) -> None:
    """PostgreSQL lets it notify on every channel that it can name, and read the text of every function."""
    tell = "select notice_send('biogate_accounts', '')"
    async with serving(database_url) as api, sql_login(database, database_url) as url:

        async def heard(version: int) -> None:
            async with asyncio.timeout(20):
                while api.identities.version < version:
                    await asyncio.sleep(0.01)

        await heard(1)  # it listens
        before = api.identities.version
        login = await asyncpg.connect(url)
        sources = await login.fetch("select prosrc from pg_proc where pronamespace in ('api'::regnamespace, 2200)")
        channels = {word for row in sources for word in re.findall("biogate_[a-z]+", row[0])}
        assert "biogate_accounts" in channels
        for channel in channels:
            await login.execute(f"notify {channel}, 'x'")
        await login.close()
        await database.execute(tell)
        await heard(before + 1)
        assert api.identities.version == before + 1  # what was said before was heard before, or never
