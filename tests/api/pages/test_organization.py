"""The pages of an organization and of a person."""

from __future__ import annotations

import re
from typing import Any

import asyncpg

from api.access.roles import Role
from tests.api.accounts import OWN_PAGE, PASSWORD, bearer, open_browser, organization, user
from tests.api.pages.conftest import Visitor, visiting
from tests.in_turn import in_turn

CODE = re.compile(r"Code: <b>([0-9A-Z-]+)</b>")
KEY = re.compile(r"<pre>(bgk_\S+)</pre>")


async def audited(sql: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await sql.fetch("select action, subject, why from audit order by at, n")
    return [(row["action"], row["subject"], row["why"]) for row in rows if row["action"] != "log in"]


async def test_an_admin_changes_what_the_organization_is_called(admin: Visitor, sql: asyncpg.Connection) -> None:
    done = await admin.post("organization", title="Plant North", contact="eva@example.org", why="renamed")
    assert (done.status_code, done.headers["location"]) == (303, "/app/main/organization")
    page = await admin.shown("organization")
    assert "<h1>Plant North</h1>" in page
    assert "eva@example.org" in page
    assert await audited(sql) == [("organization change", "organization/main", "renamed")]
    done = await admin.post("organization", htmx=True, title="Plant South", why="renamed")
    assert (done.status_code, done.headers["hx-trigger"]) == (
        204,
        '{"changed": {"said": "The organization is changed."}}',
    )
    for fields, told in (
        ({"title": "x"}, "why"),
        ({"why": "x"}, "say title"),
        ({"title": "x", "why": "y", "shoe": "7"}, "shoe"),
    ):
        refused = await admin.post("organization", htmx=True, **dict[str, Any](fields))
        assert (refused.status_code, refused.headers["hx-retarget"], told in refused.text.lower()) == (
            422,
            "#problem",
            True,
        )


async def test_members_get_roles_and_go(admin: Visitor, sql: asyncpg.Connection) -> None:
    eva = await user(sql, "eva@example.org", "main", Role.VIEWER)
    assert "<td>eva@example.org</td><td>eva</td><td>viewer</td>" in await admin.shown("organization")
    await admin.post(f"organization/members/{eva}", role="engineer", why="trained")
    assert await sql.fetchval("select role from memberships where user_id = $1", eva) == "engineer"
    await admin.post(f"organization/members/{eva}/remove", why="has left")
    assert not await sql.fetchval("select exists (select from memberships where user_id = $1)", eva)
    last = await admin.post("organization/members/1/remove", htmx=True, why="me too")
    assert (last.status_code, "last admin" in last.text) == (409, True)
    assert [action for action, _, _ in await audited(sql)] == ["member role", "member remove"]


async def test_who_is_invited_makes_an_account_and_is_in(admin: Visitor, sql: asyncpg.Connection) -> None:
    shown = await admin.post("organization/invitations", role="operator", uses="1", expires_in="7d")
    found = CODE.search(shown.text)
    assert found is not None
    assert f"/invited?code={found[1]}" in shown.text
    assert found[1] not in await admin.shown("organization"), "it is shown once"
    client = admin.client
    client.cookies.clear()
    assert f'value="{found[1]}"' in (await client.get(f"/invited?code={found[1]}")).text
    person = {"email": "ina@example.org", "name": "Ina", "password": "a new horse battery", "code": found[1]}
    for changed, told in (({"password": "short"}, "password"), ({"code": "AAAA-AAAA"}, "code")):
        again = await client.post("/invited/register", data={**person, **changed}, headers=OWN_PAGE)
        assert again.status_code in {404, 422}
        assert told in again.text.lower()
    made = await client.post("/invited/register", data=person, headers=OWN_PAGE)
    assert (made.status_code, 'value="ina@example.org"' in made.text) == (200, True)
    said = {"email": "ina@example.org", "password": "a new horse battery"}
    assert (await client.post("/login", data=said, headers=OWN_PAGE)).status_code == 303
    assert (await client.get("/app")).headers["location"] == "/app/main/plant"
    role = "select role from memberships join users using (user_id) where email = 'ina@example.org'"
    assert await sql.fetchval(role) == "operator"


async def test_a_known_person_joins_with_a_code(admin: Visitor, sql: asyncpg.Connection) -> None:
    found = CODE.search((await admin.post("organization/invitations", role="viewer", expires_in="1d")).text)
    assert found is not None
    await user(sql, "ina@example.org")
    client = admin.client
    client.cookies.clear()
    await open_browser(client, "ina@example.org")
    assert "a member of no organization" in (await client.get("/app")).text
    wrong = await client.post("/invited/join", data={"code": "AAAA-AAAA"}, headers=OWN_PAGE)
    assert (wrong.status_code, 'value="AAAA-AAAA"' in wrong.text) == (404, True)
    joined = await client.post("/invited/join", data={"code": found[1]}, headers=OWN_PAGE)
    assert joined.headers["location"] == "/app/main/plant"


async def test_a_key_is_shown_once_works_and_ends(admin: Visitor, sql: asyncpg.Connection) -> None:
    scopes = ["telemetry:read", "devices:read"]
    shown = await admin.post("organization/keys", name="notebook", role="viewer", scopes=scopes, expires_in="365d")
    found = KEY.search(shown.text)
    assert found is not None
    page = await admin.shown("organization")
    assert found[1] not in page
    assert "devices:read, telemetry:read" in page
    admin.client.cookies.clear()
    assert (await admin.client.get("/api/v1/devices", headers=bearer(found[1]))).status_code == 200
    assert (await admin.client.get("/api/v1/alarms", headers=bearer(found[1]))).status_code == 403
    await open_browser(admin.client, admin.email)
    await admin.post(f"organization/keys/{found[1].split('_')[1]}/end", why="no longer used")
    admin.client.cookies.clear()
    assert (await admin.client.get("/api/v1/devices", headers=bearer(found[1]))).status_code == 401
    assert [action for action, _, _ in await audited(sql)] == ["key create", "key end"]


async def test_a_hold_is_made_and_ended(admin: Visitor, sql: asyncpg.Connection) -> None:
    await sql.execute("insert into devices (name) values ('br-1')")
    assert (await admin.post("organization/holds", device="br-1", begins="2026-11-01", why="x")).status_code == 422
    assert (await admin.post("organization/holds", device="br-1", begins="-30d", why="inspected")).status_code == 303
    assert "inspected" in await admin.shown("organization")
    await admin.post("organization/holds/1/end", why="done")
    assert await sql.fetchval("select ended_at is not null from retention_holds")


async def test_only_who_runs_the_installation_sees_accounts(
    admin: Visitor, database_url: str, sql: asyncpg.Connection
) -> None:
    await organization(sql, "north")
    ina = await user(sql, "ina@example.org", "north")
    assert "Accounts of the installation" in await admin.shown("organization")
    assert (await admin.post(f"organization/accounts/{ina}", disabled="true", why="has left")).status_code == 303
    assert await sql.fetchval("select disabled from users where user_id = $1", ina)
    assert (await admin.post(f"organization/accounts/{ina}", disabled="false", why="is back")).status_code == 303
    shown = await admin.post(f"organization/accounts/{ina}/password-link", why="forgotten")
    assert "/reset#" in shown.text
    async with visiting(database_url, sql, "nora@example.org", organization="north") as other:
        page = await other.shown("organization")
        assert ("Accounts of the installation" in page, "olga@example.org" in page) == (False, False)
        assert (await other.post(f"organization/accounts/{ina}", disabled="true", why="x")).status_code == 403
        assert (await other.client.get("/app/main/organization")).status_code == 404


@in_turn(
    "act",
    [
        *("organization", "organization/members/1", "organization/invitations", "organization/invitations/1/end"),
        *("organization/keys", "organization/keys/k3jx7qwdm2vb/end", "organization/holds", "organization/holds/1/end"),
        *("organization/accounts/1", "organization/accounts/1/password-link"),
    ],
)
async def test_a_viewer_sees_no_acts_and_may_do_none(viewer: Visitor, sql: asyncpg.Connection, act: str) -> None:
    page = await viewer.shown("organization")
    assert "<details" not in page
    refused = await viewer.post(
        act, role="admin", why="x", title="x", name="x", scopes="telemetry:read", disabled="true"
    )
    assert refused.status_code == 403
    assert await audited(sql) == []


async def test_a_person_changes_the_password_and_ends_sessions(admin: Visitor, sql: asyncpg.Connection) -> None:
    page = await admin.shown("me")
    assert "olga@example.org" in page
    wrong = await admin.post("me/password", htmx=True, old="not this one", new="another horse battery")
    assert (wrong.status_code, "old password is wrong" in wrong.text) == (403, True)
    assert (await admin.post("me/password", old=PASSWORD, new="another horse battery")).status_code == 303
    other = await sql.fetchval(
        "insert into sessions (user_id, kind, token_hash, expires_at, agent)"
        " values (1, 'browser', $1, now() + interval '1 day', 'Firefox') returning session_id",
        b"x" * 32,
    )
    assert "Firefox" in await admin.shown("me")
    assert (await admin.post(f"me/sessions/{other}/end")).status_code == 303
    assert (await admin.post(f"me/sessions/{other}/end")).status_code == 404
    assert (await admin.post("me/log-out-everywhere")).headers["location"] == "/login"
    assert (await admin.get("me")).status_code == 303


async def test_who_belongs_to_two_organizations_switches(admin: Visitor, sql: asyncpg.Connection) -> None:
    await user(sql, admin.email, "north", Role.VIEWER)
    assert 'href="/app/north/plant"' in await admin.shown("me")
    assert (await admin.client.get("/app/north/plant")).status_code == 200
