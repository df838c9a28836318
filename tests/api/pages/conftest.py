"""Somebody at the pages, without a browser: forms as a browser sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role
from tests.api.accounts import OWN_PAGE, Served, open_browser, serving, user

PART = {"HX-Request": "true", "HX-Request-Type": "partial", **OWN_PAGE}


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


class Visitor:
    """A person who has logged in, at the pages of one organization."""

    def __init__(self, client: Served, email: str, organization: str) -> None:
        self.client, self.email, self.organization = client, email, organization

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.get(f"/app/{self.organization}/{path}", **options)

    async def shown(self, path: str) -> str:
        """The text of a page that there is."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, path: str, *, htmx: bool = False, **fields: Any) -> httpx2.Response:
        """Send a form, with htmx or without JavaScript."""
        headers = PART if htmx else OWN_PAGE
        return await self.client.post(f"/app/{self.organization}/{path}", data=fields, headers=headers)


@asynccontextmanager
async def visiting(
    database_url: str,
    sql: asyncpg.Connection,
    email: str,
    role: Role = Role.ADMIN,
    organization: str = "main",
    **settings: Any,
) -> AsyncIterator[Visitor]:
    await user(sql, email, organization, role)
    async with serving(database_url, api_rate=0, api_anonymous_rate=0, **settings) as client:
        await open_browser(client, email)
        yield Visitor(client, email, organization)


@pytest.fixture
async def admin(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "olga@example.org") as it:
        yield it


@pytest.fixture
async def viewer(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "vera@example.org", Role.VIEWER) as it:
        yield it
