"""The life of an account: who may make one, whose it is, its log-ins in the audit trail, its reset and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import bcrypt
import httpx2
import pytest

from api.access.roles import Role, Scope
from api.shapes import accounts as shapes_accounts
from api.shapes import installation as shapes
from tests.api.accounts import (
    OWN_PAGE,
    PASSWORD,
    Served,
    api_key,
    bearer,
    log_in,
    me,
    refresh,
    serving,
    user,
)
from tests.api.conform import conforms

ADA, EVA, IDA = "ada@example.org", "eva@example.org", "ida@example.org"
ANOTHER = "another horse battery"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    async with serving(database_url) as client:
        yield client


@pytest.fixture
async def ada(api: Served, database: asyncpg.Connection) -> dict[str, str]:
    """The headers of an admin of the organization that runs the installation."""
    await user(database, ADA, "main")
    headers: dict[str, str] = (await log_in(api, ADA))["headers"]
    return headers


async def trail(sql: asyncpg.Connection, subject: str, organization: str = "main") -> list[tuple[str, str, str]]:
    rows = await sql.fetch(
        "select who, action, why from audit join organizations using (organization_id)"
        " where name = $1 and subject = $2 order by n",
        *(organization, subject),
    )
    return [tuple(row) for row in rows]


async def attempt(client: httpx2.AsyncClient, email: str, password: str = "not the password") -> int:
    body = {"email": email, "password": password}
    return (await client.post("/api/v1/auth/login", json=body)).status_code


async def change(client: httpx2.AsyncClient, headers: dict[str, str], user_id: int, **body: Any) -> httpx2.Response:
    return await client.patch(f"/api/v1/accounts/{user_id}", json={"why": "has left"} | body, headers=headers)


# The list


async def test_all_accounts_are_listed_with_their_roles_and_last_log_in(
    api: Served, database: asyncpg.Connection, ada: dict[str, str]
) -> None:
    await user(database, EVA, "north", Role.ENGINEER)
    await user(database, IDA)
    await log_in(api, EVA)
    listed = (await api.get("/api/v1/accounts", headers=ada)).json()["accounts"]
    found = {one.email: one for one in (conforms(shapes.InstallationAccount, each) for each in listed)}
    assert set(found) == {ADA, EVA, IDA}
    assert [(one.organization, one.role) for one in found[EVA].organizations] == [("north", "engineer")]
    assert found[IDA].organizations == []
    assert [found[email].last_login_at is None for email in (ADA, EVA, IDA)] == [False, False, True]
    table = await api.get("/api/v1/accounts.csv", headers=ada)
    assert table.text.splitlines()[0].startswith("user_id,email,name,disabled,verified")


@pytest.mark.parametrize(("organization", "role", "status"), [("north", "admin", 403), ("main", "engineer", 403)])
async def test_only_an_admin_of_the_installation_sees_and_changes_accounts(
    api: Served, database: asyncpg.Connection, organization: str, role: str, status: int
) -> None:
    await user(database, EVA, organization, Role(role))
    number = await user(database, IDA)
    headers = (await log_in(api, EVA))["headers"]
    assert (await api.get("/api/v1/accounts", headers=headers)).status_code == status
    assert (await change(api, headers, number, disabled=True)).status_code == status
    link = await api.post(f"/api/v1/accounts/{number}/password-link", json={"why": "x"}, headers=headers)
    assert link.status_code == status


# Disabling


async def test_who_has_left_is_disabled_and_everything_of_theirs_ends(
    api: Served, database: asyncpg.Connection, ada: dict[str, str]
) -> None:
    number = await user(database, EVA, "north")
    session = await log_in(api, EVA)
    await api.post("/api/v1/organization/invitations", json={"role": "admin"}, headers=session["headers"])
    answer = await change(api, ada, number, disabled=True)
    assert conforms(shapes.InstallationAccount, answer.json()).disabled
    assert await me(api, session["headers"]) == 401
    assert await attempt(api, EVA, PASSWORD) == 401
    assert await database.fetchval("select uses from invitations") == 0
    assert (await change(api, ada, number, disabled=False, why="is back")).status_code == 200
    assert await me(api, session["headers"]) == 401, "a session that was ended stays ended"
    assert (await refresh(api, session["refresh_token"])).status_code == 401
    await log_in(api, EVA)
    found = [(who, action, why) for who, action, why in await trail(database, f"user/{EVA}", "north") if who == ADA]
    assert found == [
        (ADA, "session end", "has left"),
        (ADA, "account disable", "has left"),
        (ADA, "account enable", "is back"),
    ]


async def test_nobody_locks_the_installation(api: Served, database: asyncpg.Connection, ada: dict[str, str]) -> None:
    her_number = await user(database, ADA)
    assert (await change(api, ada, her_number, disabled=True)).status_code == 409
    key = bearer(await api_key(database))
    assert (await change(api, key, her_number, disabled=True)).status_code == 409, "the last admin"
    number = await user(database, EVA, "main")
    assert (await change(api, ada, number, disabled=True)).status_code == 200
    assert (await change(api, key, her_number, disabled=True)).status_code == 409, "the only one who can log in"
    path = f"/api/v1/organization/members/{her_number}"
    assert (await api.delete(path, headers=ada)).status_code == 409
    assert (await change(api, ada, number + 1, disabled=True)).status_code == 404
    assert (await change(api, ada, number)).status_code == 422


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


# Passwords that are guessed first


@pytest.mark.parametrize(
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


# Who may make an account, and whose it is


async def test_anybody_registers_until_there_is_an_admin_and_then_who_is_invited(
    api: Served, database: asyncpg.Connection
) -> None:
    async def register(email: str, **more: str) -> httpx2.Response:
        return await api.post("/api/v1/auth/register", json={"email": email, "name": "x", "password": PASSWORD} | more)

    assert (await register(IDA)).status_code == 201
    await user(database, ADA, "main")
    ada = (await log_in(api, ADA))["headers"]
    assert [(await register(email)).status_code for email in (EVA, IDA)] == [403, 403]
    wrong = {"code": "AAAA-BBBB-CCCC-DDDD"}
    assert [(await register(email, **wrong)).status_code for email in (EVA, IDA)] == [404, 404], (
        "nobody learns who is there"
    )
    made = await api.post("/api/v1/organization/invitations", json={"role": "viewer"}, headers=ada)
    assert (await register(EVA, code=made.json()["code"])).status_code == 201


@pytest.mark.parametrize(
    ("organization", "invited", "who"),
    [
        ("main", EVA, EVA),
        ("main", None, f"{EVA} (unverified)"),
        ("north", EVA, f"{EVA} (unverified)"),
    ],
)
async def test_the_trail_marks_an_address_that_nobody_of_the_installation_vouches_for(
    api: Served, database: asyncpg.Connection, organization: str, invited: str | None, who: str
) -> None:
    await user(database, ADA, organization)
    headers = (await log_in(api, ADA))["headers"]
    asked = {"role": "operator", "email": invited}
    code = (await api.post("/api/v1/organization/invitations", json=asked, headers=headers)).json()["code"]
    body = {"name": "Eva", "password": PASSWORD, "code": code}
    if invited is not None:
        answer = await api.post("/api/v1/auth/register", json=body | {"email": IDA})
        assert answer.status_code == 404, "it is for somebody else"
    answer = await api.post("/api/v1/auth/register", json=body | {"email": EVA})
    assert answer.status_code == 201, answer.text
    eva = (await log_in(api, EVA))["headers"]
    assert (await api.get("/api/v1/auth/me", headers=eva)).json()["who"] == who
    found = await trail(database, f"user/{EVA}", organization)
    assert [(name, action) for name, action, _ in found][-2:] == [(who, "member join"), (who, "log in")]


async def test_who_has_an_account_joins_by_an_invitation_for_its_own_address_alone(
    api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    await user(database, IDA)
    await database.execute("update users set verified = false where email in ($1, $2)", EVA, IDA)
    asked = {"role": "admin", "email": EVA}
    code = (await api.post("/api/v1/organization/invitations", json=asked, headers=ada)).json()["code"]
    joined = {}
    for email in (IDA, EVA, IDA):
        headers = (await log_in(api, email))["headers"]
        answer = await api.post("/api/v1/organizations/join", json={"code": code}, headers=headers)
        joined[email] = answer.status_code
        assert await database.fetchval("select uses from invitations") == (EVA not in joined)
    assert joined == {IDA: 404, EVA: 201}
    verified = "select array_agg(email) from users where verified"
    assert sorted(await database.fetchval(verified)) == [ADA, EVA]


async def test_an_admin_vouches_for_an_address_and_takes_it_back(
    database_url: str, database: asyncpg.Connection
) -> None:
    async with serving(database_url, api_registration="open") as api:
        await user(database, ADA, "main")
        ada = (await log_in(api, ADA))["headers"]
        answer = await api.post("/api/v1/auth/register", json={"email": EVA, "name": "x", "password": PASSWORD})
        number = answer.json()["user_id"]
        eva = (await log_in(api, EVA))["headers"]
        names = [(await api.get("/api/v1/auth/me", headers=eva)).json()["who"]]
        for verified in (True, False):
            await change(api, ada, number, verified=verified)
            names.append((await api.get("/api/v1/auth/me", headers=eva)).json()["who"])
    assert names == [f"{EVA} (unverified)", EVA, f"{EVA} (unverified)"]


async def test_an_invitation_of_who_is_unverified_ends_with_the_role(api: Served, database: asyncpg.Connection) -> None:
    await user(database, ADA, "north")
    number = await user(database, EVA, "north")
    await database.execute("update users set verified = false where email = $1", EVA)
    eva, ada = [(await log_in(api, email))["headers"] for email in (EVA, ADA)]
    made = await api.post("/api/v1/organization/invitations", json={"role": "admin"}, headers=eva)
    assert made.json()["invited_by"] == f"{EVA} (unverified)"
    await api.delete(f"/api/v1/organization/members/{number}", headers=ada)
    assert await database.fetchval("select uses from invitations") == 0


# The audit trail


async def test_log_ins_and_their_ends_are_in_the_trail_of_each_organization_of_the_person(
    api: Served, database: asyncpg.Connection
) -> None:
    for organization in ("north", "south"):
        await user(database, EVA, organization)
    first, second, third = [await log_in(api, EVA) for _ in range(3)]
    await api.delete(f"/api/v1/auth/sessions/{first['session_id']}", headers=second["headers"])
    await api.post("/api/v1/auth/logout", headers=second["headers"])
    await api.post("/api/v1/auth/logout", json={"all": True}, headers=third["headers"])
    for organization in ("north", "south"):
        found = await trail(database, f"user/{EVA}", organization)
        assert [action for _, action, _ in found] == ["log in"] * 3 + ["session end", "log out", "log out"]
        assert {who for who, _, _ in found} == {EVA}
    assert await trail(database, f"user/{EVA}") == []
    new = json.loads(await database.fetchval("select new from audit where action = 'log in' limit 1"))
    assert new == {"session": first["session_id"], "kind": "program", "address": "127.0.0.1", "failures": 0}
    assert await database.fetchval("select count(*) from audit_faults(2)") == 0


@pytest.mark.parametrize("email", [EVA, IDA])
async def test_failed_log_ins_are_in_the_trail_in_sums(api: Served, database: asyncpg.Connection, email: str) -> None:
    await user(database, EVA)
    for number in range(12):
        api.move(f"192.0.2.{number}")
        if number == 10:  # the account's minute is over
            api.app.state.services.attempts.__init__()
        assert await attempt(api, email) == 401
    rows = await database.fetch("select who, subject, new from audit where action = 'log-in failed' order by n")
    subject = f"user/{EVA}" if email == EVA else "user/unknown"
    assert [(row["who"], row["subject"]) for row in rows] == [("somebody", subject)] * 2
    assert [json.loads(row["new"]) for row in rows] == [
        {"times": 1, "address": "192.0.2.0"},
        {"times": 10, "address": "192.0.2.9"},
    ]
    if email == EVA:
        await log_in(api, EVA)
        new = await database.fetchval("select new from audit where action = 'log in'")
        assert json.loads(new)["failures"] == 12
        assert await attempt(api, EVA) == 401
        times = "select new->>'times' from audit where action = 'log-in failed' order by n desc limit 1"
        assert await database.fetchval(times) == "1", "the sum begins anew"


# Log-ins that let the innocent in


async def test_correct_log_ins_at_once_wait_and_all_succeed(api: Served, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    sessions = await asyncio.gather(*(log_in(api, EVA) for _ in range(20)))
    assert len({session["session_id"] for session in sessions}) == 20


async def test_registrations_have_a_budget_of_their_own(database_url: str, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    async with serving(database_url, api_registration="open") as api:
        statuses = []
        for number in range(11):
            body = {"email": f"p{number}@example.org", "name": "x", "password": PASSWORD}
            answer = await api.post("/api/v1/auth/register", json=body)
            statuses.append(answer.status_code)
        assert statuses == [201] * 10 + [429]
        assert "registrations" in answer.json()["detail"]
        await log_in(api, EVA)


async def test_strangers_do_not_lock_an_owner_out_of_an_address_that_is_known(
    api: Served, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    api.move("2001:db8:1:2::1")
    await log_in(api, EVA)
    for number in range(10):
        api.move(f"192.0.2.{number}")
        assert await attempt(api, EVA) == 401
    api.move("192.0.2.99")
    assert await attempt(api, EVA, PASSWORD) == 429
    api.move("2001:db8:1:2::5")
    await log_in(api, EVA)  # the same network
    for number in range(10):  # colleagues behind the same address
        assert await attempt(api, f"nobody-{number}@example.org") == 401
    assert await attempt(api, IDA) == 429
    await log_in(api, EVA)
    statuses = [await attempt(api, EVA) for _ in range(11)]
    assert statuses == [401] * 10 + [429], "at a known address nobody guesses more often"


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


# Browsers


@pytest.mark.parametrize(("remember_me", "attribute", "days"), [(True, f"Max-Age={30 * 86400}", 30), (False, None, 1)])
async def test_a_browser_is_remembered_if_it_is_asked_for(
    api: Served, database: asyncpg.Connection, remember_me: bool, attribute: str | None, days: int
) -> None:
    await user(database, EVA)
    body = {"email": EVA, "password": PASSWORD, "kind": "browser", "remember_me": remember_me}
    answer = await api.post("/api/v1/auth/login", json=body, headers=OWN_PAGE)
    given = answer.headers["set-cookie"].split("; ")
    assert next((one for one in given if one.startswith(("Max-Age", "expires"))), None) == attribute
    shown = conforms(shapes_accounts.LoggedIn, answer.json())
    assert (shown.user.email, shown.user.name) == (EVA, "eva")
    left = await database.fetchval("select round(extract(epoch from expires_at - now()) / 86400) from sessions")
    assert left == days


async def test_the_page_of_the_link_is_there_and_loads_nothing_from_elsewhere(api: Served) -> None:
    page = await api.get("/reset")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'sha256-" in policy
    assert "http" not in page.text.replace("http-equiv", "")
