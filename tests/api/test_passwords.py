"""Passwords: the link that resets one, which are refused, and how they are composed and hashed."""

from __future__ import annotations

import asyncio

import asyncpg
import bcrypt
import pytest

from api.access.roles import Scope
from api.shapes import installation as shapes
from tests.api.accounts import PASSWORD, Served, api_key, bearer, log_in, me, serving, user
from tests.api.conform import conforms
from tests.api.people import EVA, ada, api, attempt, trail
from tests.in_turn import in_turn

__all__ = ["ada", "api"]

ANOTHER = "another horse battery"


# The link


async def test_a_password_is_reset_once_by_a_link(
    api: Served, database: asyncpg.Connection, ada: dict[str, str]
) -> None:
    number = await user(database, EVA, "north")
    session = await log_in(api, EVA)
    path = f"/api/v1/accounts/{number}/password-link"
    first, second = [
        conforms(shapes.PasswordLink, (await api.post(path, json={"why": "forgot it"}, headers=ada)).json())
        for _ in range(2)
    ]
    assert second.link == f"https://api/reset#{second.code}"
    assert second.code not in repr(await database.fetch("select * from password_resets"))

    async def reset(code: str, password: str = ANOTHER) -> int:
        return (await api.post("/api/v1/auth/reset", json={"code": code, "password": password})).status_code

    assert await reset(first.code) == 404, "an earlier link has ended"
    assert await reset(second.code, "password1234") == 422, "and the link is not used up by that"
    assert await reset(second.code.lower().replace("-", " ")) == 204
    assert await reset(second.code) == 404
    assert await me(api, session["headers"]) == 401
    assert [await attempt(api, EVA, password) for password in (PASSWORD, ANOTHER)] == [401, 200]
    actions = [action for _, action, _ in await trail(database, f"user/{EVA}", "north")]
    assert actions[:4] == ["log in", "password link", "password link", "password reset"]


@pytest.mark.parametrize(
    "change_",
    [
        "update password_resets set expires_at = now() - interval '1 s'",
        "update users set disabled = true",
        "delete from password_resets",
        f"select account_change(user_id, true, null, 'ada', 'x'), account_change(user_id, false, null, 'ada', 'x')"
        f" from users where email = '{EVA}'",
        f"select api.password_change(user_id, password_hash, '$2b$', null) from users where email = '{EVA}'",
    ],
)
async def test_a_link_that_does_not_hold_any_more_changes_nothing(
    api: Served, database: asyncpg.Connection, ada: dict[str, str], change_: str
) -> None:
    number = await user(database, EVA)
    path = f"/api/v1/accounts/{number}/password-link"
    code = (await api.post(path, json={"why": "forgot it"}, headers=ada)).json()["code"]
    await database.execute(change_)
    before = await database.fetch("select password_hash from users order by user_id")
    answer = await api.post("/api/v1/auth/reset", json={"code": code, "password": ANOTHER})
    assert answer.status_code == 404
    assert await database.fetch("select password_hash from users order by user_id") == before


async def test_a_link_is_not_guessed_and_a_key_of_few_scopes_makes_none(
    api: Served, database: asyncpg.Connection, ada: dict[str, str]
) -> None:
    number = await user(database, EVA)
    key = bearer(await api_key(database, scopes=[Scope.ORGANIZATION_WRITE]))
    path = f"/api/v1/accounts/{number}/password-link"
    assert (await api.post(path, json={"why": "x"}, headers=key)).status_code == 403
    body = {"code": "AAAA-BBBB-CCCC-DDDD", "password": ANOTHER}
    statuses = [(await api.post("/api/v1/auth/reset", json=body)).status_code for _ in range(11)]
    assert statuses == [404] * 10 + [429]
    await log_in(api, EVA)  # which has a budget of its own


async def test_the_page_of_the_link_is_there_and_loads_nothing_from_elsewhere(api: Served) -> None:
    page = await api.get("/reset")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "http" not in page.text.replace("http-equiv", "")


# Passwords that are guessed first


@in_turn(
    "password",
    [
        *("aaaaaaaaaaaa", "password123", "qwertyuiop", "1234567890", "abcabcabcabc", "Passw0rd2026"),
        *("eva@example.org", "Biogate2026", "ＰＡＳＳword123456"[8:]),
    ],
)
async def test_a_password_that_is_guessed_first_is_refused_wherever_one_is_set(
    api: Served, database: asyncpg.Connection, password: str
) -> None:
    body = {"email": EVA, "name": "Eva", "password": password}
    answer = await api.post("/api/v1/auth/register", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "password"), answer.text
    assert "several words" in answer.text or "characters" in answer.text
    await user(database, EVA)
    headers = (await log_in(api, EVA))["headers"]
    answer = await api.post("/api/v1/auth/password", json={"old": PASSWORD, "new": password}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "new")


COMPOSED, DECOMPOSED = "Crème brûlée für Åsa", "Cre\u0300me bru\u0302le\u0301e fu\u0308r A\u030asa"


@pytest.mark.parametrize(("first", "then"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (DECOMPOSED, DECOMPOSED)])
async def test_a_password_is_the_same_however_a_keyboard_composes_it(
    api: Served, database: asyncpg.Connection, first: str, then: str
) -> None:
    body = {"email": EVA, "name": "Eva", "password": first}
    assert (await api.post("/api/v1/auth/register", json=body)).status_code == 201
    assert await attempt(api, EVA, then) == 200
    assert await attempt(api, EVA, then[:-1]) == 401


@pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED])
async def test_a_password_from_before_it_was_composed_still_counts(
    api: Served, database: asyncpg.Connection, typed: str
) -> None:
    await user(database, EVA)
    old = bcrypt.hashpw(DECOMPOSED.encode(), bcrypt.gensalt(4)).decode()
    await database.execute("update users set password_hash = $1", old)
    assert await attempt(api, EVA, typed) == 200


@pytest.mark.parametrize("setting", [5, 4])
async def test_a_hash_takes_the_work_of_the_setting_from_the_next_log_in_on(
    database_url: str, database: asyncpg.Connection, setting: int
) -> None:
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(9 - setting)).decode()
    await user(database, EVA)
    await database.execute("update users set password_hash = $1", old)
    async with serving(database_url) as api:
        api.app.state.services.passwords._rounds = setting
        assert await attempt(api, EVA) == 401
        assert await database.fetchval("select password_hash from users") == old
        sessions = await asyncio.gather(*(log_in(api, EVA) for _ in range(4)))
        assert {await me(api, session["headers"]) for session in sessions} == {200}
    assert (await database.fetchval("select password_hash from users")).startswith(f"$2b${setting:02}$")
