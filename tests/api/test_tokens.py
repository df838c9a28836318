"""Access tokens and refresh tokens: which are taken, and what becomes of a session whose token was stolen."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import jwt
import pytest

from api.access.tokens import AUDIENCE
from api.shapes import accounts as shapes_accounts
from tests.api.accounts import bearer, log_in, me, refresh, serving, until_is, user
from tests.api.conform import conforms

SECRET = "a secret of the tests that signs what nobody else shall"
EVA = "eva@example.org"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "api.secret"
    file.write_text(SECRET.replace(" ", "-"))
    file.chmod(0o600)
    return file


@pytest.fixture
async def api(database_url: str, secret_file: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url, api_secret_file=secret_file) as client:
        yield client


# Access tokens


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "1", "sid": 1, "prf": "00", "aud": AUDIENCE, "iat": now, "exp": now + 60} | changed


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in claims().items() if key != name}


def unsigned(content: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, content)
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + "."


async def test_only_tokens_we_signed_for_ourselves_and_that_hold_are_taken(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    token = (await log_in(api, EVA))["access_token"]
    header, payload, signature = token.split(".")
    content = jwt.decode(token, options={"verify_signature": False})
    assert set(content) == {"sub", "sid", "prf", "aud", "iat", "exp"}
    assert content["exp"] - content["iat"] == 900
    key = SECRET.replace(" ", "-")
    sid = content["sid"]

    def signed(content: dict[str, Any], algorithm: str = "HS256", key: str = key) -> str:
        return jwt.encode(content | ({"sid": sid} if "sid" in content else {}), key, algorithm)

    assert await me(api, bearer(signed(claims()))) == 200  # so what follows is refused for what is wrong with it
    assert await me(api, bearer(token)) == 200
    other = base64.urlsafe_b64encode(json.dumps(content | {"sid": sid + 1}).encode()).decode().rstrip("=")
    for bad in (
        unsigned(claims(sid=sid)),
        unsigned(claims(sid=sid)) + signature,
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload}.",
        signed(claims(), key="another key that is as long as the first one"),
        jwt.encode(claims(sid=sid), key, "HS384"),
        signed(claims(exp=int(time.time()) - 1)),
        signed(claims(aud="somebody else")),
        signed(without("aud")),
        signed(without("exp")),
        signed(without("sid")),
        signed(without("prf")),
        jwt.encode(claims(sid=str(sid)), key),
        jwt.encode(claims(sid=2**70), key),
        "not.a.token",
        "",
    ):
        assert await me(api, bearer(bad)) == 401, bad


async def test_an_access_token_that_has_been_good_expires(database_url: str, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    async with serving(database_url, api_access_token_minutes=2.5 / 60) as client:
        session = await log_in(client, EVA)
        assert session["expires_in"] == 2
        assert await me(client, session["headers"]) == 200
        await until_is(client, session["headers"], 401, 9)
        answer = await client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]})
        assert await me(client, bearer(answer.json()["access_token"])) == 200


async def test_a_token_in_the_address_is_none(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    token = (await log_in(api, EVA))["access_token"]
    for name in ("access_token", "token", "key"):
        assert (await api.get("/api/v1/auth/me", params={name: token})).status_code == 401


# Refresh tokens


async def test_a_refresh_gives_new_tokens_and_the_old_access_token_holds_on(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    first = await log_in(api, EVA)
    conforms(shapes_accounts.LoggedIn, {name: value for name, value in first.items() if name != "headers"})
    answer = await refresh(api, first["refresh_token"])
    assert answer.headers["cache-control"] == "no-store"
    second = conforms(shapes_accounts.LoggedIn, answer.json())
    assert second.refresh_token != first["refresh_token"]
    assert second.session_id == first["session_id"]
    assert await me(api, bearer(str(second.access_token))) == 200
    assert await me(api, first["headers"]) == 200
    stored = await database.fetch("select * from sessions")
    assert len(stored) == 1
    assert all(part not in repr(stored) for part in str(second.refresh_token).partition("_")[2].split("."))


@pytest.mark.parametrize("later", [1, 2, 5])
async def test_a_used_up_refresh_token_ends_the_session_however_late_it_is_shown(
    api: httpx2.AsyncClient, database: asyncpg.Connection, later: int
) -> None:
    await user(database, EVA)
    stolen = await log_in(api, EVA)
    token = stolen["refresh_token"]
    for _ in range(later):
        newest = (await refresh(api, token)).json()
        token = newest["refresh_token"]
    headers = bearer(newest["access_token"])
    assert await me(api, headers) == 200
    if later == 1:
        await database.execute("update sessions set renewed_at = now() - interval '46 s'")
    assert (await refresh(api, stolen["refresh_token"])).status_code == 401
    assert await me(api, headers) == 401
    assert (await refresh(api, token)).status_code == 401


@pytest.mark.parametrize("how", ["at once", "after a lost answer"])
async def test_a_refresh_that_is_repeated_within_a_moment_gets_the_same_token(
    api: httpx2.AsyncClient, database: asyncpg.Connection, how: str
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    if how == "at once":
        answers = await asyncio.gather(*(refresh(api, session["refresh_token"]) for _ in range(4)))
    else:
        answers = [await refresh(api, session["refresh_token"]) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    [token] = {answer.json()["refresh_token"] for answer in answers}
    assert {await me(api, bearer(answer.json()["access_token"])) for answer in answers} == {200}
    third = (await refresh(api, token)).json()
    assert (await refresh(api, third["refresh_token"])).status_code == 200


async def test_the_moment_of_grace_does_not_begin_anew_with_each_repetition(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    await refresh(api, session["refresh_token"])
    await database.execute("update sessions set renewed_at = now() - interval '30 s'")
    assert (await refresh(api, session["refresh_token"])).status_code == 200
    await database.execute("update sessions set renewed_at = renewed_at - interval '16 s'")
    assert (await refresh(api, session["refresh_token"])).status_code == 401
    why = "select why from audit where action = 'session end'"
    assert await database.fetchval(why) == "a refresh token was used twice"


async def test_another_end_of_the_family_ends_the_session_at_once(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    family = session["refresh_token"].partition(".")[0]
    assert (await refresh(api, f"{family}.guessed")).status_code == 401
    assert (await refresh(api, session["refresh_token"])).status_code == 401


async def test_what_is_no_refresh_token_is_refused(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    session = await log_in(api, EVA)
    family = session["refresh_token"].partition(".")[0]
    for bad in ("", "bgr_", "bgr_a.b", "x", session["access_token"][:200]):
        assert (await refresh(api, bad)).status_code == 401, bad
    assert await me(api, session["headers"]) == 200
    assert (await refresh(api, f"{family}.guessed")).status_code == 401  # only who has had one knows its family
    assert await me(api, session["headers"]) == 401


async def test_a_session_that_was_not_refreshed_expires(database_url: str, database: asyncpg.Connection) -> None:
    await user(database, EVA)
    async with serving(database_url) as client:
        session = await log_in(client, EVA)
        await database.execute("update sessions set expires_at = now() - interval '1 s'")
        assert (await refresh(client, session["refresh_token"])).status_code == 401
