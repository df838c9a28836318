"""Log-ins: what the audit trail has of them, whom a guesser keeps out, and browsers that are remembered."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from api.shapes import accounts as shapes_accounts
from tests.api.accounts import OWN_PAGE, PASSWORD, Served, log_in, serving, user
from tests.api.conform import conforms
from tests.api.people import EVA, IDA, api, attempt, trail

__all__ = ["api"]


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


async def test_who_guesses_at_a_known_address_uses_up_what_the_address_has_for_others(
    api: Served, database: asyncpg.Connection
) -> None:
    for email in (EVA, IDA):
        await user(database, email)
    await log_in(api, EVA)
    assert [await attempt(api, EVA) for _ in range(10)] == [401] * 10
    assert await attempt(api, IDA, PASSWORD) == 429
    api.move("192.0.2.99")
    assert await attempt(api, IDA, PASSWORD) == 200
