"""What an organization demands: sessions end when nobody does anything, passwords age and do not come back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from tests.api.accounts import OWN_PAGE, PASSWORD, Served, log_in, me, open_browser, organization, serving, user
from tests.api.people import ADA, EVA, ada, api, trail

__all__ = ["ada", "api"]
NEW = "another horse battery"
POLL = {"Sec-Fetch-Mode": "cors", "HX-Request": "true", **OWN_PAGE}
OPENED = {"Sec-Fetch-Mode": "navigate"}


async def demand(api: Served, headers: dict[str, str], **policy: Any) -> None:
    answer = await api.put("/api/v1/organization/policy", json=policy | {"why": "QA"}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json().items() >= policy.items()


async def change_password(api: Served, headers: dict[str, str], old: str, new: str) -> int:
    body = {"old": old, "new": new}
    return (await api.post("/api/v1/auth/password", json=body, headers=headers)).status_code


async def test_it_is_changed_by_admins_and_audited(
    api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    usual = (await api.get("/api/v1/organization/policy", headers=ada)).json()
    assert usual == {
        **{"idle_minutes": None, "password_days": None, "passwords_kept": 0, "meanings": [], "second_person": []},
        "waiting_hours": 72,
    }
    await demand(api, ada, idle_minutes=15, meanings=["witnessed"])
    await demand(api, ada, idle_minutes=15, meanings=["witnessed"])  # changes nothing
    assert await trail(database, "organization/main") == [(ADA, "policy change", "QA")]
    for wrong in ({"idle_minutes": 0}, {"meanings": ["A\nB"]}, {"second_person": ["everything"]}):
        answer = await api.put("/api/v1/organization/policy", json={"why": "x"} | wrong, headers=ada)
        assert answer.status_code == 422, wrong


async def test_a_session_in_which_nobody_does_anything_ends_whatever_its_pages_ask_by_themselves(
    database_url: str, api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    await demand(api, ada, idle_minutes=15)
    async with serving(database_url) as browser:
        await open_browser(browser, ADA)
        number = await database.fetchval("select max(session_id) from sessions")
        seen = "select seen_at > now() - interval '1 minute' from sessions where session_id = $1"
        back = "update sessions set seen_at = now() - $2 * interval '1 minute' where session_id = $1"

        async def ask(headers: dict[str, str], minutes: int) -> tuple[int, bool]:
            await database.execute(back, number, minutes)
            browser.app.state.services.identities.forget()
            browser.app.state.services.identities._seen.clear()
            answer = await browser.get("/app/main/plant", headers=headers)
            return answer.status_code, await database.fetchval(seen, number)

        assert await ask(POLL, 14) == (200, False)
        assert await ask(OPENED, 14) == (200, True)
        status, _ = await ask(POLL, 16)
        assert status == 204  # htmx is led to the log-in
        assert (await browser.get("/app/main/plant", headers=OPENED)).headers["location"].startswith("/login")
        assert ("somebody", "session end", "nobody did anything for 15 minutes") in await trail(database, f"user/{ADA}")
        assert await database.fetchval("select ended_at is not null from sessions where session_id = $1", number)
    assert await me(api, ada) == 200  # another session goes on


async def test_a_program_that_asks_is_not_idle(api: Served, ada: dict[str, str], database: asyncpg.Connection) -> None:
    await demand(api, ada, idle_minutes=1)
    await database.execute("update sessions set seen_at = now() - interval '50 s'")
    api.identities._seen.clear()
    assert await me(api, ada) == 200
    assert await database.fetchval("select seen_at > now() - interval '40 s' from sessions")


async def test_a_password_that_is_too_old_may_only_be_changed(
    api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    await demand(api, ada, password_days=90)
    assert (await api.get("/api/v1/devices", headers=ada)).status_code == 200
    await database.execute("update users set password_at = now() - interval '91 days'")
    api.identities.forget()
    refused = await api.get("/api/v1/devices", headers=ada)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:biogate:problem:password-expired")
    again = (await log_in(api, ADA))["headers"]
    assert (await api.get("/api/v1/devices", headers=again)).status_code == 403
    assert await me(api, again) == 200
    await open_browser(api, ADA)
    led = await api.get("/app/main/plant", headers=OWN_PAGE)
    assert (led.status_code, led.headers["location"]) == (303, "/app/main/me")
    shown = await api.get("/app/main/me", headers=OWN_PAGE)
    assert (shown.status_code, "has expired" in shown.text) == (200, True)
    assert await change_password(api, again, PASSWORD, NEW) == 204
    assert (await api.get("/api/v1/devices", headers=again)).status_code == 200


async def test_former_passwords_do_not_come_back(
    api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    for kept in (1, 2):
        await demand(api, ada, passwords_kept=kept)
        assert await change_password(api, ada, PASSWORD, PASSWORD) == 422
    chain = [PASSWORD, NEW, "a third horse battery", "a fourth horse battery"]
    for old, new in pairwise(chain):
        assert await change_password(api, ada, old, new) == 204
    assert await change_password(api, ada, chain[-1], chain[1]) == 422
    assert await change_password(api, ada, chain[-1], chain[2]) == 422
    assert await change_password(api, ada, chain[-1], chain[0]) == 204


async def test_the_same_password_hashed_anew_is_no_new_one(database_url: str, database: asyncpg.Connection) -> None:
    await user(database, EVA, "main")
    await database.execute("update users set password_at = now() - interval '9 days'")
    async with serving(database_url, api_password_rounds=10) as client:
        await log_in(client, EVA)
    assert await database.fetchval("select password_hash like '$2b$10$%' from users")
    assert await database.fetchval("select password_at < now() - interval '8 days' from users")
    assert await database.fetchval("select count(*) from former_passwords") == 0


async def test_of_several_organizations_the_strictest_holds(
    api: Served, ada: dict[str, str], database: asyncpg.Connection
) -> None:
    await user(database, ADA, "other")
    await database.execute(
        "insert into policies (organization_id, idle_minutes, passwords_kept) values ($1, 5, 1)",
        await organization(database, "other"),
    )
    await demand(api, ada, idle_minutes=15, password_days=30)
    found = await database.fetchrow("select (user_policy(user_id)).* from users")
    assert tuple(found) == (5, 30, 1)


@pytest.mark.parametrize("path", ["/app/main/plant", "/api/v1/devices"])
async def test_without_a_policy_no_session_ends(
    api: Served, ada: dict[str, str], database: asyncpg.Connection, path: str
) -> None:
    await database.execute("update sessions set seen_at = now() - interval '9 h'")
    await database.execute("update users set password_at = now() - interval '999 days'")
    api.identities.forget()
    assert (await api.get(path, headers=ada)).status_code == 200
