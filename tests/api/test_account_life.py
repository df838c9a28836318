"""The life of an account: who may make one, whose it is, who vouches for it, and its end."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from api.shapes import installation as shapes
from tests.api.accounts import PASSWORD, Served, api_key, bearer, log_in, me, refresh, serving, user
from tests.api.conform import conforms
from tests.api.people import ADA, EVA, IDA, ada, api, attempt, trail

__all__ = ["ada", "api"]


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
