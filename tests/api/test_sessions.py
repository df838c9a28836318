"""Sessions of browsers, whose cookie works from our own pages only; and that what has ended has ended everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from api.shapes import accounts as shapes_accounts
from tests.api.accounts import (
    OWN_PAGE,
    PASSWORD,
    Served,
    api_key,
    bearer,
    log_in,
    open_browser,
    serving,
    until_is,
    user,
)
from tests.api.conform import conforms
from tests.gateway.cell import eventually
from tests.locks import waits_at_a_lock

EVA = "eva@example.org"
NAME = "__Host-biogate"


@pytest.fixture
async def api(database_url: str, database: asyncpg.Connection) -> AsyncIterator[httpx2.AsyncClient]:
    await user(database, EVA, "main")
    async with serving(database_url) as client:
        yield client


async def me(client: httpx2.AsyncClient, headers: dict[str, str] | None = None) -> int:
    return (await client.get("/api/v1/auth/me", headers=headers)).status_code


# The cookie


async def test_a_browser_gets_a_cookie_for_this_host_alone_and_no_token(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    body = {"email": EVA, "password": PASSWORD, "kind": "browser"}
    answer = await api.post("/api/v1/auth/login", json=body, headers=OWN_PAGE)
    [given] = answer.headers.get_list("set-cookie")
    pair, *attributes = given.split("; ")
    name, _, value = pair.partition("=")
    assert name == NAME
    assert {one.lower() for one in attributes} == {
        *("httponly", "secure", "path=/", "samesite=lax"),
    }
    assert value not in answer.text
    content = conforms(shapes_accounts.LoggedIn, answer.json())
    assert (content.access_token, content.refresh_token) == (None, None)
    assert await me(api) == 200
    assert (await api.get("/api/v1/devices")).status_code == 200
    stored = await database.fetchrow("select * from sessions")
    assert value not in repr(stored)


async def test_where_there_is_no_tls_the_cookie_goes_without_it(
    database_url: str, database: asyncpg.Connection
) -> None:
    await user(database, EVA, "main")
    async with serving(database_url, base="http://plant:8000", api_insecure_cookie=True) as client:
        body = {"email": EVA, "password": PASSWORD, "kind": "browser"}
        # browsers do not send Sec-Fetch-Site then, but Origin
        assert (await client.post("/api/v1/auth/login", json=body)).status_code == 403
        answer = await client.post("/api/v1/auth/login", json=body, headers={"Origin": "http://plant:8000"})
        [given] = answer.headers.get_list("set-cookie")
        assert given.startswith("biogate=")
        assert "secure" not in given.lower()
        assert "HttpOnly" in given
        assert await me(client) == 200
        answer = await client.post("/api/v1/auth/logout", headers={"Origin": "http://plant:8000"})
        assert answer.status_code == 204


FROM_ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another port or a sister host
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://api"},
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "https://api:8443"},
    {"Origin": "http://api"},
    {"Origin": "https://api.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
]


async def test_with_a_cookie_nothing_is_changed_from_other_pages(api: Served, database: asyncpg.Connection) -> None:
    await open_browser(api, EVA)
    body = {"organization": "theirs", "title": "Theirs"}
    for headers in FROM_ELSEWHERE:
        api.identities.forget()
        for _ in range(2):  # the second time we remember who it is
            answer = await api.post("/api/v1/organizations", json=body, headers=headers)
            assert (answer.status_code, "our own pages" in answer.json()["detail"]) == (403, True), headers
            assert await me(api) == 200
        assert (await api.post("/api/v1/auth/logout", headers=headers)).status_code == 403, headers
        answer = await api.delete("/api/v1/auth/sessions/1", headers=headers)
        assert answer.status_code == 403, headers
    assert await database.fetchval("select count(*) from organizations") == 1
    assert await me(api) == 200


async def test_nobody_is_logged_in_by_other_pages(api: httpx2.AsyncClient) -> None:
    body = {"email": EVA, "password": PASSWORD, "kind": "browser"}
    for headers in FROM_ELSEWHERE:
        answer = await api.post("/api/v1/auth/login", json=body, headers=headers)
        assert answer.status_code == 403, headers
        assert "set-cookie" not in answer.headers, headers


@pytest.mark.parametrize("headers", [OWN_PAGE, {"Origin": "https://api"}], ids=str)
async def test_our_own_pages_change_things(
    api: httpx2.AsyncClient, database: asyncpg.Connection, headers: dict[str, str]
) -> None:
    await open_browser(api, EVA)
    body = {"organization": "mine", "title": "Mine"}
    assert (await api.post("/api/v1/organizations", json=body, headers=headers)).status_code == 201


async def test_pages_of_origins_that_the_settings_name_are_as_good_as_ours(
    database_url: str, database: asyncpg.Connection
) -> None:
    await user(database, EVA, "main")
    async with serving(database_url, api_cors_origins="https://api:3000,https://b.example") as client:
        await open_browser(client, EVA)
        for origin, status in (("https://api:3000", 201), ("https://api:3001", 403), ("https://b.example,", 403)):
            headers = {"Sec-Fetch-Site": "same-site", "Origin": origin}
            body = {"organization": f"o{status}", "title": "Mine"}
            answer = await client.post("/api/v1/organizations", json=body, headers=headers)
            assert answer.status_code == status, origin


async def test_who_shows_a_token_is_no_browser_and_needs_no_page(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    session = await log_in(api, EVA)
    body = {"organization": "mine", "title": "Mine"}
    headers = session["headers"] | {"Sec-Fetch-Site": "cross-site"}
    assert (await api.post("/api/v1/organizations", json=body, headers=headers)).status_code == 201


async def test_a_cookie_beside_a_bad_token_does_not_help(api: httpx2.AsyncClient) -> None:
    await open_browser(api, EVA)
    assert await me(api, bearer("none")) == 401
    assert await me(api, {"Authorization": "Basic ZXZhOmV2YQ=="}) == 401


async def test_logging_out_takes_the_cookie_away(api: httpx2.AsyncClient) -> None:
    await open_browser(api, EVA)
    cookie = api.cookies[NAME]
    answer = await api.post("/api/v1/auth/logout", headers=OWN_PAGE)
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert NAME not in api.cookies
    assert await me(api, {"Cookie": f"{NAME}={cookie}"}) == 401


async def test_a_browsers_session_expires(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await open_browser(api, EVA)
    await database.execute("update sessions set expires_at = now() - interval '1 s'")
    assert await me(api) == 401


async def test_each_log_in_is_another_session(api: httpx2.AsyncClient) -> None:
    """A cookie planted before is of no use after it."""
    await open_browser(api, EVA)
    first = api.cookies[NAME]
    await open_browser(api, EVA)
    assert api.cookies[NAME] != first


# Sessions


async def test_sessions_are_listed_and_ended_by_who_has_them_alone(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, "ida@example.org", "main")
    mine, other = await log_in(api, EVA), await log_in(api, EVA)
    hers = await log_in(api, "ida@example.org")
    content = (await api.get("/api/v1/auth/sessions", headers=mine["headers"])).json()
    listed = conforms(shapes_accounts.Sessions, content).sessions
    assert [(one.session_id, one.current) for one in listed] == [
        (other["session_id"], False),
        (mine["session_id"], True),
    ]
    assert listed[0].agent.startswith("python-httpx")

    async def end(session_id: int) -> int:
        return (await api.delete(f"/api/v1/auth/sessions/{session_id}", headers=mine["headers"])).status_code

    assert await end(hers["session_id"]) == 404
    assert await end(4711) == 404
    assert await end(2**63 - 1) == 404
    assert await end(2**63) == 422
    assert await end(other["session_id"]) == 204
    assert await end(other["session_id"]) == 404
    assert [await me(api, one["headers"]) for one in (mine, other, hers)] == [200, 401, 200]


async def test_of_a_hundred_and_one_sessions_the_oldest_ends(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    first, second = await log_in(api, EVA), await log_in(api, EVA)
    await database.execute(
        "insert into sessions (user_id, kind, token_hash, expires_at)"
        " select user_id, 'browser', sha256(n::text::bytea), now() + interval '1 h'"
        " from users, generate_series(1, 98) n"
    )
    assert [await me(api, one["headers"]) for one in (first, second)] == [200, 200]
    third = await log_in(api, EVA)
    await until_is(api, first["headers"], 401)
    assert [await me(api, one["headers"]) for one in (second, third)] == [200, 200]
    assert await database.fetchval("select count(*) from sessions where ended_at is null") == 100


# What ends, ends everywhere

Ends = Callable[[httpx2.AsyncClient, asyncpg.Connection, dict[str, str]], Awaitable[object]]


async def session_ends(one: httpx2.AsyncClient, _: asyncpg.Connection, headers: dict[str, str]) -> object:
    return await one.post("/api/v1/auth/logout", headers=headers)


async def member_leaves(one: httpx2.AsyncClient, sql: asyncpg.Connection, headers: dict[str, str]) -> object:
    mine = (await one.get("/api/v1/auth/me", headers=headers)).json()["user_id"]
    return await one.delete(f"/api/v1/organization/members/{mine}", headers=headers)


async def key_ends(one: httpx2.AsyncClient, sql: asyncpg.Connection, headers: dict[str, str]) -> object:
    key_id = (await one.get("/api/v1/auth/me", headers=headers)).json()["key_id"]
    return await one.delete(f"/api/v1/organization/keys/{key_id}", headers=headers)


async def role_falls(one: httpx2.AsyncClient, sql: asyncpg.Connection, headers: dict[str, str]) -> object:
    return await sql.execute("update memberships set role = 'viewer'")


async def asked(client: httpx2.AsyncClient, headers: dict[str, str]) -> int:
    """For something that is for admins."""
    return (await client.get("/api/v1/organization/members", headers=headers)).status_code


@pytest.mark.parametrize(
    ("who", "ends", "status"),
    [
        ("program", session_ends, 401),
        ("browser", session_ends, 401),
        ("program", member_leaves, 403),
        ("program", role_falls, 403),
        ("key", key_ends, 401),
    ],
)
@pytest.mark.parametrize("deaf", [False, True], ids=["hears", "cannot hear"])
async def test_what_ends_in_one_process_ends_in_another_within_a_second(
    database_url: str,
    database: asyncpg.Connection,
    tmp_path: Path,
    who: str,
    ends: Ends,
    status: int,
    deaf: bool,
) -> None:
    await user(database, EVA, "north")
    await user(database, "ida@example.org", "north")  # so that she is not the last admin
    key = await api_key(database, "north")
    async with AsyncExitStack() as stack:
        secret = tmp_path / "api.secret"
        secret.write_text("a-secret-that-both-processes-have-and-nobody-else")
        secret.chmod(0o600)
        one, two = [await stack.enter_async_context(serving(database_url, api_secret_file=secret)) for _ in range(2)]
        headers = bearer(key) if who == "key" else OWN_PAGE
        if who == "program":
            headers = (await log_in(one, EVA))["headers"]
        elif who == "browser":
            await open_browser(one, EVA)
            two.cookies = one.cookies
        await remembering(two)
        assert await asked(two, headers) == 200
        if deaf:
            await deafen(database)
        await ends(one, database, headers)
        assert await asked(one, headers) == status
        end = time.monotonic() + 5  # without a notification it would take 10 s
        while await asked(two, headers) != status:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


async def remembering(client: Served) -> None:
    """Until the process listens; before that it asks the database each time anyway."""
    identities = client.identities
    async with asyncio.timeout(20):
        while not identities._listening:
            await asyncio.sleep(0.01)


async def deafen(sql: asyncpg.Connection) -> None:
    """Kill the connections on which the processes listen."""
    killed = await sql.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and query ilike 'listen%'"
    )
    assert len(killed) == 2


async def test_who_is_remembered_is_not_asked_for_again_and_who_cannot_hear_remembers_nobody(
    database_url: str, database: asyncpg.Connection
) -> None:
    await user(database, EVA, "north", Role.VIEWER)
    async with serving(database_url) as client:
        identities = client.identities
        headers = (await log_in(client, EVA))["headers"]
        await remembering(client)
        assert await me(client, headers) == 200
        assert len(identities._known) == 1
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and query ilike 'listen%'"
        )
        async with asyncio.timeout(9):
            while identities._listening:
                await asyncio.sleep(0.001)
        assert await me(client, headers) == 200
        assert len(identities._known) == 0
        await remembering(client)  # it listens again by itself
        assert await me(client, headers) == 200
        assert len(identities._known) == 1


async def test_what_was_read_before_a_change_is_not_remembered_after_it(
    database_url: str, database: asyncpg.Connection
) -> None:
    """The database tells of the change while the answer about the caller is under way."""
    await user(database, EVA, "north", Role.VIEWER)
    async with serving(database_url) as client:
        identities, headers = client.identities, (await log_in(client, EVA))["headers"]
        await remembering(client)
        identities.forget()
        async with database.transaction():
            await database.execute("lock table memberships in access exclusive mode")
            asking = asyncio.create_task(me(client, headers))
            await eventually(lambda: waits_at_a_lock(database), 10)
            identities.on_change("")
        assert await asking == 200
        assert len(identities._known) == 0
        assert await me(client, headers) == 200
        assert len(identities._known) == 1
