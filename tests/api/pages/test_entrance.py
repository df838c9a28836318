"""How people come in by the pages, and what of it others could misuse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from api.access.tokens import code_hash
from api.pages.static import FOLDER
from tests.api.accounts import OWN_PAGE, PASSWORD, Served, open_browser, organization, serving, user
from tests.gateway.material import until
from tests.in_turn import in_turn

EVA = "eva@example.org"
FORM = {"email": EVA, "password": PASSWORD}
MOST_JAVASCRIPT = 900
"""Lines of ours: pages are made on the server, and a script does what these cannot."""


@pytest.fixture
async def site(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Served]:
    await user(sql, EVA, "main", Role.VIEWER)
    async with serving(database_url) as it:
        yield it


async def link(sql: asyncpg.Connection, code: str = "CODE", lasts: timedelta = timedelta(hours=1)) -> None:
    await sql.execute(
        "select log_in_link_make(user_id, $1, now() + $2, 'olga', 'first start') from users where email = $3",
        *(code_hash(code), lasts, EVA),
    )


async def actions(sql: asyncpg.Connection) -> list[str]:
    return [row["action"] for row in await sql.fetch("select action from audit order by n")]


async def test_who_is_not_logged_in_is_led_to_the_log_in_and_back(site: httpx2.AsyncClient) -> None:
    assert (await site.get("/")).headers["location"] == "/app"
    asked = await site.get("/app/main/plant?state=online")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/app/main/plant%3Fstate%3Donline")
    said = await site.post("/login", data={**FORM, "next": "/app/main/plant?state=online"}, headers=OWN_PAGE)
    assert (said.status_code, said.headers["location"]) == (303, "/app/main/plant?state=online")
    assert "HttpOnly" in said.headers["set-cookie"]
    assert "Max-Age" not in said.headers["set-cookie"], "it ends with the browser"
    assert (await site.get("/app/main/plant?state=online")).status_code == 200
    assert (await site.get("/login?next=/app/main/plant")).headers["location"] == "/app/main/plant"
    part = await site.get("/app/main/plant", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert part.text.lstrip().startswith('<p class="counts">')
    out = await site.post("/logout", headers=OWN_PAGE)
    assert out.headers["location"] == "/login"
    assert (await site.get("/app/main/plant")).status_code == 303
    part = await site.get("/app/main/plant", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (204, "/login")


async def test_a_remembered_log_in_outlives_the_browser(site: httpx2.AsyncClient) -> None:
    said = await site.post("/login", data={**FORM, "remember_me": "true"}, headers=OWN_PAGE)
    assert "Max-Age=2592000" in said.headers["set-cookie"]


@in_turn(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/app",
        "/app//evil.example",
        "/\\evil.example",
        "/login",
        "javascript:1",
        "/app\r\nX: y",
    ],
)
async def test_a_log_in_leads_nowhere_else(site: httpx2.AsyncClient, elsewhere: str) -> None:
    said = await site.post("/login", data={**FORM, "next": elsewhere}, headers=OWN_PAGE)
    assert (said.status_code, said.headers["location"]) == (303, "/app")
    page = await site.get("/login", params={"next": elsewhere})
    assert "evil" not in page.text


@in_turn(
    ("changed", "status", "told"),
    [
        ({"password": "wrong password"}, 401, "the password is wrong"),
        ({"email": "nobody@example.org"}, 401, "There is no such account"),
        ({"email": "eva"}, 422, "is not an e-mail address"),
        ({"password": ""}, 422, "Password: field required"),
        ({"password": "x" * 2000}, 422, "longer than a password"),
        ({"shoe": "7"}, 422, "Shoe:"),
    ],
)
async def test_a_log_in_that_fails_says_why_and_keeps_what_was_typed(
    site: httpx2.AsyncClient, changed: dict[str, str], status: int, told: str
) -> None:
    said = await site.post("/login", data={**FORM, "next": "/app/main/plant", **changed}, headers=OWN_PAGE)
    assert said.status_code == status, said.text
    assert told.lower() in said.text.lower()
    assert f'value="{changed.get("email", EVA)}"' in said.text
    assert 'value="/app/main/plant"' in said.text
    assert PASSWORD not in said.text
    assert "set-cookie" not in said.headers


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}])
async def test_no_foreign_page_logs_anybody_in_or_out(site: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    said = await site.post("/login", data=FORM, headers=headers)
    assert (said.status_code, said.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "set-cookie" not in said.headers
    await open_browser(site, EVA)
    assert (await site.post("/logout", headers=headers)).status_code == 403
    assert (await site.get("/app/main/plant")).status_code == 200


async def test_a_link_logs_in_once(site: httpx2.AsyncClient, sql: asyncpg.Connection) -> None:
    await link(sql)
    said = await site.get("/enter?code=CODE", headers={"Sec-Fetch-Site": "none"})
    assert (said.status_code, said.headers["location"]) == (303, "/app")
    assert (await site.get("/app/main/plant")).status_code == 200
    assert await actions(sql) == ["log-in link", "log in"]
    site.cookies.clear()
    again = await site.get("/enter?code=CODE")
    assert (again.status_code, "was used before" in again.text) == (404, True)
    assert (await site.get("/app/main/plant")).status_code == 303


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none", "Sec-Purpose": "prefetch;prerender"}]
)
async def test_a_link_that_no_person_has_opened_only_shows_a_button(
    site: httpx2.AsyncClient, sql: asyncpg.Connection, headers: dict[str, str]
) -> None:
    await link(sql)
    shown = await site.get("/enter?code=CODE", headers=headers)
    assert (shown.status_code, 'value="CODE"' in shown.text) == (200, True)
    assert "set-cookie" not in shown.headers
    assert (
        await site.post("/enter", data={"code": "CODE"}, headers={"Sec-Fetch-Site": "cross-site"})
    ).status_code == 403
    assert (await site.post("/enter", data={"code": "CODE"}, headers=OWN_PAGE)).headers["location"] == "/app"


async def test_an_old_link_and_one_of_a_disabled_account_are_none(
    site: httpx2.AsyncClient, sql: asyncpg.Connection
) -> None:
    await link(sql, "OLD", timedelta(seconds=-1))
    await link(sql, "NEW")
    assert (await site.get("/enter?code=OLD")).status_code == 404
    await user(sql, "olga@example.org", "main")
    await sql.execute("select account_change(user_id, true, null, 'olga', 'left') from users where email = $1", EVA)
    await sql.execute("select account_change(user_id, false, null, 'olga', 'is back') from users where email = $1", EVA)
    assert (await site.get("/enter?code=NEW")).status_code == 404, "neither when it is enabled again"


async def test_who_guesses_links_is_held_back(site: httpx2.AsyncClient) -> None:
    found = [(await site.get(f"/enter?code={number}")).status_code for number in range(12)]
    assert found[:10] == [404] * 10
    assert found[10:] == [429, 429]


async def test_a_page_is_of_the_organization_in_its_address_alone(site: Served, sql: asyncpg.Connection) -> None:
    await organization(sql, "other")
    await open_browser(site, EVA)
    for theirs in ("other", "nowhere", "%2e%2e", "x" * 100):
        found = await site.get(f"/app/{theirs}/plant")
        assert (found.status_code, "There is no such organization" in found.text) == (404, True), theirs
    version = site.identities.version
    await user(sql, EVA, "other", Role.VIEWER)
    await sql.execute("select notice_send('biogate_accounts', '')")
    await until(lambda: site.identities.version > version)
    assert (await site.get("/app/other/plant")).status_code == 200


async def test_errors_are_pages_for_people_and_parts_for_htmx(site: httpx2.AsyncClient) -> None:
    await open_browser(site, EVA)
    for path, status in (("/app/main/nothing", 404), ("/app/main/plant?nothing=1", 422)):
        page = await site.get(path)
        assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert "<h1>" in page.text
        part = await site.get(path, headers={"HX-Request": "true"})
        assert (part.headers["hx-retarget"], part.text.startswith('<p class="problem"')) == ("#problem", True)
    assert (await site.get("/api/v1/nothing")).headers["content-type"] == "application/problem+json"


async def test_what_a_page_may_load_is_ours(site: httpx2.AsyncClient) -> None:
    page = await site.get("/login")
    policy = page.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "same-origin")
    address = page.text.partition('<script src="')[2].partition('"')[0]
    packed = await site.get(address)
    assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (packed.headers["content-encoding"], packed.headers["content-type"]) == (
        "gzip",
        "text/javascript; charset=utf-8",
    )
    plain = await site.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content
    assert (await site.get(address.replace("/static/", "/static/0"))).status_code == 404
    for path in ("../page.py", "vendor/../../page.py", "%2e%2e/page.py", "vendor/stamp"):
        assert (await site.get(f"{address.rpartition('/vendor/')[0]}/{path}")).status_code == 404


def test_what_is_ours_of_javascript_stays_small() -> None:
    assert sum(path.read_text().count("\n") for path in FOLDER.glob("*.js")) <= MOST_JAVASCRIPT


async def test_a_text_of_a_device_is_a_text_on_the_page(site: httpx2.AsyncClient, sql: asyncpg.Connection) -> None:
    hostile = "<img src=x onerror=alert(1)>'\""
    await sql.execute(
        "insert into devices (name, title, location, tags) values ('br-1', $1, $1, array[$1])", hostile[:40]
    )
    await sql.execute(
        "insert into device_events values (now(), (select max(device_id) from devices), 'phase', $1, 1, now(), $2)",
        *(json.dumps({"phase": hostile}), b"x" * 32),
    )
    await open_browser(site, EVA)
    page = await site.get("/app/main/plant")
    assert "onerror" in page.text
    assert "<img" not in page.text
