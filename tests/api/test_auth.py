"""Accounts, logging in and out, passwords."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr, ValidationError

from api.access.passwords import Passwords, hash_now
from api.problems import Busy
from api.settings import ApiSettings
from api.shapes import accounts as shapes_accounts
from tests.api.accounts import (
    OWN_PAGE,
    PASSWORD,
    QUICK_ROUNDS,
    api_key,
    bearer,
    log_in,
    me,
    organization,
    refresh,
    serving,
    until_is,
    user,
)
from tests.api.conform import conforms
from tests.in_turn import in_turn

EVA = "eva@example.org"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url) as client:
        yield client


async def register(client: httpx2.AsyncClient, **changed: Any) -> httpx2.Response:
    body = {"email": EVA, "name": "Eva", "password": PASSWORD} | changed
    return await client.post("/api/v1/auth/register", json=body)


def logins(result: str) -> float:
    return REGISTRY.get_sample_value("biogate_api_logins_total", {"result": result}) or 0


# Making an account


async def test_who_registers_can_log_in_and_sees_nothing_yet(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    answer = await register(api, email=" Eva@Example.ORG ")
    assert answer.status_code == 201, answer.text
    made = conforms(shapes_accounts.Account, answer.json())
    assert (made.email, made.organization) == (EVA, None)
    session = await log_in(api, "EVA@example.org")
    mine = conforms(shapes_accounts.Me, (await api.get("/api/v1/auth/me", headers=session["headers"])).json())
    assert (mine.who, mine.kind, mine.role, mine.organizations) == (f"{EVA} (unverified)", "program", None, [])
    answer = await api.get("/api/v1/devices", headers=session["headers"])
    assert (answer.status_code, "member of no organization" in answer.json()["detail"]) == (403, True)


@in_turn(
    ("changed", "parameter"),
    [
        ({"password": "ninechars"}, "password"),
        ({"password": "ü" * 36 + "x"}, "password"),
        ({"password": "a nul \0 in it"}, "password"),
        ({"email": "no address"}, "email"),
        ({"email": "a@b@c"}, "email"),
        ({"email": "a" * 250 + "@b.de"}, "email"),
        ({"email": "ü@example.org"}, "email"),
        ({"name": ""}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"role": "admin"}, "role"),
        ({"password": None}, "password"),
    ],
)
async def test_what_makes_no_account_is_named_and_never_repeated(
    api: httpx2.AsyncClient, database: asyncpg.Connection, changed: dict[str, Any], parameter: str
) -> None:
    answer = await register(api, **changed)
    assert answer.status_code == 422, answer.text
    assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]
    if isinstance(password := changed.get("password"), str):
        assert password not in answer.text
    assert await database.fetchval("select count(*) from users") == 0


async def test_72_bytes_are_a_password_and_each_of_them_counts(api: httpx2.AsyncClient) -> None:
    longest = "Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich, so müde"
    assert len(longest.encode()) == 72
    assert (await register(api, password=longest)).status_code == 201
    wrong = await api.post("/api/v1/auth/login", json={"email": EVA, "password": longest[:-1] + "n"})
    right = await api.post("/api/v1/auth/login", json={"email": EVA, "password": longest})
    assert (wrong.status_code, right.status_code) == (401, 200)


async def test_an_address_has_one_account(api: httpx2.AsyncClient) -> None:
    assert (await register(api)).status_code == 201
    answer = await register(api, email=EVA.upper(), name="Another", password="another password")
    assert (answer.status_code, "already" in answer.json()["detail"]) == (409, True)


async def test_registration_can_be_closed_or_for_who_is_invited(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with serving(database_url, api_registration="closed") as client:
        assert (await register(client)).status_code == 403
    key = await api_key(database, "north")
    async with serving(database_url, api_registration="invitation") as client:
        assert (await register(client)).status_code == 403
        assert (await register(client, code="AAAA-BBBB-CCCC-DDDD")).status_code == 404
        assert await database.fetchval("select count(*) from users") == 0
        made = await client.post("/api/v1/organization/invitations", json={"role": "engineer"}, headers=bearer(key))
        code = made.json()["code"]
        answer = await register(client, code=code.lower().replace("-", " "))
        assert (answer.status_code, answer.json()["organization"]) == (201, "north")
        assert (await register(client, code=code, email="ida@example.org")).status_code == 404  # was used
    assert await database.fetchval("select role from memberships") == "engineer"


# Logging in


async def test_a_wrong_password_and_no_account_look_the_same_and_take_as_long(database_url: str) -> None:
    """By the processor's time: on a busy machine a clock says nothing."""

    async def attempt(client: httpx2.AsyncClient, email: str) -> tuple[int, Any, float]:
        begun = time.process_time()
        answer = await client.post("/api/v1/auth/login", json={"email": email, "password": "not the password"})
        return answer.status_code, answer.json(), time.process_time() - begun

    async with serving(database_url, api_password_rounds=12) as client:
        await register(client)
        failures = logins("failure")
        known = [await attempt(client, EVA) for _ in range(3)]
        unknown = [await attempt(client, "ida@example.org") for _ in range(3)]
    assert {status for status, _, _ in known + unknown} == {401}
    assert known[0][1] == unknown[0][1]
    shorter, longer = sorted(min(seconds for _, _, seconds in some) for some in (known, unknown))
    assert shorter > 0.05, "nothing was hashed"
    assert longer < 3 * shorter  # without a hash it would be a fiftieth
    assert logins("failure") - failures == 6


@pytest.mark.parametrize("others", [7, 11])
async def test_an_answer_costs_the_same_whatever_the_work_of_the_accounts_own_hash(others: int) -> None:
    """By the processor's time. Otherwise the time would tell old accounts from new ones and from none."""
    old = hash_now("the password", others)

    async def cost(passwords: Passwords, password_hash: str | None) -> float:
        spent = []
        for _ in range(3):
            begun = time.process_time()
            assert not await passwords.matches(SecretStr("not the password"), password_hash, max(others, 9))
            spent.append(time.process_time() - begun)
        return min(spent)

    with Passwords(9) as passwords:
        costs = [await cost(passwords, password_hash) for password_hash in (old, hash_now("another", 9), None)]
    assert max(costs) < 2 * min(costs), costs


async def test_a_disabled_account_cannot_log_in_and_its_sessions_are_over(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    assert await me(api, session["headers"]) == 200
    await database.execute("update users set disabled = true")
    await until_is(api, session["headers"], 401)
    answer = await api.post("/api/v1/auth/login", json={"email": EVA, "password": PASSWORD})
    assert answer.status_code == 401
    answer = await api.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert answer.status_code == 401


async def test_ten_failures_a_minute_of_an_account_and_then_not_even_the_password_is_looked_at(
    database_url: str, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    await user(database, "ida@example.org")
    limited = logins("limited")
    async with serving(database_url) as client:
        for number in range(10):
            # from ten addresses
            client.move(f"10.0.0.{number}")
            answer = await client.post("/api/v1/auth/login", json={"email": EVA, "password": "not the password"})
            assert answer.status_code == 401
        client.move("10.0.1.1")
        answer = await client.post("/api/v1/auth/login", json={"email": EVA.upper(), "password": PASSWORD})
        assert answer.status_code == 429
        assert 50 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["content-type"] == "application/problem+json"
        await log_in(client, "ida@example.org")
    assert logins("limited") - limited == 1


async def test_ten_failures_a_minute_of_an_address_and_others_still_log_in(
    database_url: str, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    async with serving(database_url, "2001:db8:1:2::1") as client:
        for number in range(10):
            body = {"email": f"nobody-{number}@example.org", "password": "not the password"}
            client.move(f"2001:db8:1:2::{number:x}")
            await client.post("/api/v1/auth/login", json=body)
        answer = await client.post("/api/v1/auth/login", json={"email": EVA, "password": PASSWORD})
        assert answer.status_code == 429
        client.move("2001:db8:1:3::1")
        await log_in(client, EVA)


async def test_successes_are_not_limited(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    for _ in range(15):
        await log_in(api, EVA)


async def test_guesses_at_once_are_no_more_than_one_after_the_other(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    answers = await asyncio.gather(
        *(api.post("/api/v1/auth/login", json={"email": EVA, "password": f"guess number {n}"}) for n in range(30))
    )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (10, 20)


async def test_other_requests_are_answered_while_passwords_are_hashed(
    database_url: str, database: asyncpg.Connection
) -> None:
    answered = 0
    async with serving(database_url, api_password_rounds=12) as api:
        hashing = [asyncio.create_task(register(api, email=f"p{n}@example.org")) for n in range(3)]
        while not all(one.done() for one in hashing):
            assert (await api.get("/health")).status_code == 200
            answered += 1
            await asyncio.sleep(0.001)
        assert [one.result().status_code for one in hashing] == [201] * 3
    assert answered > 20, "each hash takes 0.2 s, and was waited for"
    hashes = await database.fetch("select password_hash from users")
    assert {row["password_hash"][:7] for row in hashes} == {"$2b$12$"}


def test_no_installation_may_have_passwords_that_are_cheap_to_guess() -> None:
    with pytest.raises(ValidationError):
        ApiSettings(database_url="postgresql://user@127.0.0.1/name", api_password_rounds=9)


async def test_when_too_many_wait_to_log_in_the_others_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.access.passwords.MOST_WAITING", 3)
    with Passwords(QUICK_ROUNDS) as passwords:
        password = SecretStr(PASSWORD)
        results = await asyncio.gather(*(passwords.matches(password, None) for _ in range(5)), return_exceptions=True)
        assert [type(one) for one in results] == [bool] * 3 + [Busy] * 2
        assert isinstance(results[4], Busy)
        assert results[4].headers["Retry-After"] == "5"
        assert await passwords.matches(password, None) is None  # there is room again


async def test_no_secret_is_in_the_log(
    api: httpx2.AsyncClient, database: asyncpg.Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    await api.post("/api/v1/auth/login", json={"email": EVA, "password": "the wrong password"})
    await api.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]})
    await api.get("/api/v1/auth/me", headers=session["headers"])
    await api.get("/api/v1/auth/me", params={"access_token": session["access_token"]})
    await api.post("/api/v1/auth/login", content=b'{"password": "' + PASSWORD.encode() + b'"')
    captured = capfd.readouterr()
    said = captured.out + captured.err
    assert "log-in failed" in said
    for secret in (PASSWORD, "the wrong password", session["access_token"], session["refresh_token"]):
        assert secret not in said


# Logging out, and the password


async def test_logging_out_ends_this_session_or_all(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    await user(database, "ida@example.org")
    one, two, three = [await log_in(api, EVA) for _ in range(3)]
    hers = await log_in(api, "ida@example.org")
    assert (await api.post("/api/v1/auth/logout", headers=one["headers"])).status_code == 204
    assert [await me(api, session["headers"]) for session in (one, two, three)] == [401, 200, 200]
    assert (await refresh(api, one["refresh_token"])).status_code == 401
    answer = await api.post("/api/v1/auth/logout", json={"all": True}, headers=two["headers"])
    assert answer.status_code == 204
    assert [await me(api, session["headers"]) for session in (two, three, hers)] == [401, 401, 200]


async def test_a_new_password_ends_all_other_sessions(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    mine, other = await log_in(api, EVA), await log_in(api, EVA)
    new = "a new password"
    for body, status in (
        ({"old": "the wrong one", "new": new}, 403),
        ({"old": PASSWORD, "new": "short"}, 422),
        ({"old": PASSWORD, "new": new}, 204),
    ):
        answer = await api.post("/api/v1/auth/password", json=body, headers=mine["headers"])
        assert answer.status_code == status, answer.text
    assert [await me(api, session["headers"]) for session in (mine, other)] == [200, 401]
    statuses = [
        (await api.post("/api/v1/auth/login", json={"email": EVA, "password": password})).status_code
        for password in (PASSWORD, new)
    ]
    assert statuses == [401, 200]
    assert await database.fetchval("select count(*) from audit where action = 'password change'") == 1


async def test_the_old_password_cannot_be_guessed_with_a_stolen_session(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    statuses = [
        (
            await api.post(
                "/api/v1/auth/password",
                json={"old": f"guess number {n}", "new": PASSWORD},
                headers=session["headers"],
            )
        ).status_code
        for n in range(12)
    ]
    assert statuses == [403] * 10 + [429] * 2


async def test_a_key_is_nobodys_account(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    key = bearer(await api_key(database, "north"))
    await organization(database, "south")
    content = (await api.get("/api/v1/auth/me", headers=key)).json()
    mine = conforms(shapes_accounts.Me, content)
    assert (mine.kind, mine.organization, mine.role, mine.user_id) == ("key", "north", "admin", None)
    assert [one.organization for one in mine.organizations] == ["north"]
    for method, path in (
        ("POST", "/auth/logout"),
        ("POST", "/auth/password"),
        ("GET", "/auth/sessions"),
        ("DELETE", "/auth/sessions/1"),
        ("POST", "/organizations"),
        ("POST", "/organizations/join"),
    ):
        answer = await api.request(method, f"/api/v1{path}", headers=key)
        assert answer.status_code == 403, (path, answer.text)


async def test_a_cookie_is_no_bearer_token_and_a_refresh_token_neither(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    assert await me(api, bearer(session["refresh_token"])) == 401
    answer = await api.post(
        "/api/v1/auth/login", json={"email": EVA, "password": PASSWORD, "kind": "browser"}, headers=OWN_PAGE
    )
    cookie = answer.cookies["__Host-biogate"]
    api.cookies.clear()
    assert await me(api, bearer(cookie)) == 401
    assert await me(api, {"Cookie": f"__Host-biogate={session['access_token']}"}) == 401
    assert await me(api, {"Cookie": f"__Host-biogate={cookie}"}) == 200
