"""Organizations, members and keys, put into the database as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import bcrypt
import httpx2
from fastapi import FastAPI

from api.access.identity import Identities
from api.access.roles import Role, Scope
from api.access.tokens import ApiKey, hashed
from api.app import create_app
from api.settings import ApiSettings


async def organization(sql: asyncpg.Connection, name: str) -> int:
    return int(
        await sql.fetchval(
            "insert into organizations (name, title) values ($1, initcap($1))"
            " on conflict (name) do update set name = excluded.name returning organization_id",
            name,
        )
    )


async def api_key(
    sql: asyncpg.Connection,
    organization_name: str = "main",
    role: Role = Role.ADMIN,
    scopes: Iterable[Scope] = tuple(Scope),
) -> str:
    """A key as it is shown once."""
    key = ApiKey.new()
    await sql.execute(
        """insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by)
           values ($1, $2, 'test', $3, $4, $5, 'test')""",
        *(key.key_id, await organization(sql, organization_name), str(role), [str(one) for one in scopes]),
        hashed(key.secret),
    )
    return str(key)


PASSWORD = "correct horse battery"
QUICK_ROUNDS = 4
"""The least that bcrypt can; no installation may say so: `quick` goes past the check."""
QUICK_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(QUICK_ROUNDS)).decode()


async def user(
    sql: asyncpg.Connection, email: str, organization_name: str | None = None, role: Role = Role.ADMIN
) -> int:
    """An account with that password, perhaps a member."""
    user_id = await sql.fetchval(
        "insert into users (email, name, password_hash) values ($1, split_part($1, '@', 1), $2)"
        " on conflict (email) do update set name = excluded.name returning user_id",
        *(email, QUICK_HASH),
    )
    if organization_name is not None:
        await sql.execute(
            "insert into memberships (organization_id, user_id, role) values ($1, $2, $3)",
            *(await organization(sql, organization_name), user_id, str(role)),
        )
    return int(user_id)


class Served(httpx2.AsyncClient):
    """A client of an API of its own, without credentials."""

    def __init__(self, app: FastAPI, address: str, base: str) -> None:
        self.app = app
        self._route = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 1))
        super().__init__(transport=self._route, base_url=base)

    def move(self, address: str) -> None:
        """Ask from another address from now on."""
        self._route.client = (address, 1)

    @property
    def identities(self) -> Identities:
        found: Identities = self.app.state.services.identities
        return found


def quick(settings: ApiSettings) -> ApiSettings:
    """These settings, with passwords that cost nothing and patience for a busy machine unless they say otherwise."""
    usual = {"api_password_rounds": QUICK_ROUNDS, "api_acquire_timeout": 60}
    return settings.model_copy(update={name: usual[name] for name in usual.keys() - settings.model_fields_set})


@asynccontextmanager
async def serving(
    database_url: str, address: str = "127.0.0.1", base: str = "https://api", **settings: Any
) -> AsyncIterator[Served]:
    """An API of its own, asked from that address."""
    app = create_app(quick(ApiSettings(database_url=database_url, **settings)))
    async with app.router.lifespan_context(app), Served(app, address, base) as it:
        yield it


async def log_in(client: httpx2.AsyncClient, email: str) -> dict[str, Any]:
    """As a program: what the answer has, and `headers` to go on with."""
    answer = await client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content | {"headers": bearer(content["access_token"])}


async def open_browser(client: httpx2.AsyncClient, email: str) -> None:
    """The client has the cookie then."""
    answer = await client.post(
        "/api/v1/auth/login", json={"email": email, "password": PASSWORD, "kind": "browser"}, headers=OWN_PAGE
    )
    assert answer.status_code == 200, answer.text


OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def me(client: httpx2.AsyncClient, headers: dict[str, str]) -> int:
    return (await client.get("/api/v1/auth/me", headers=headers)).status_code


async def refresh(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def until_is(client: httpx2.AsyncClient, headers: dict[str, str], status: int, seconds: float = 5) -> None:
    """Until the answer has that status: by a notification, since without one it would take 10 s."""
    end = time.monotonic() + seconds
    while await me(client, headers) != status:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
