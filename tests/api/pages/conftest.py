"""Somebody at the pages, without a browser: forms as a browser sends them."""

from __future__ import annotations

import html
import re
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

    def address(self, path: str) -> str:
        return path if path.startswith("/") else f"/app/{self.organization}/{path}"

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.get(self.address(path), **options)

    async def shown(self, path: str) -> str:
        """The text of a page that there is."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, path: str, *, htmx: bool = False, **fields: Any) -> httpx2.Response:
        """Send a form, with htmx or without JavaScript."""
        headers = PART if htmx else OWN_PAGE
        return await self.client.post(self.address(path), data=fields, headers=headers)

    async def part(self, path: str) -> str:
        """The part of a page that htmx asks for anew."""
        answer = await self.get(path, headers=PART)
        assert answer.status_code == 200, answer.text
        return answer.text.lstrip()

    async def words(self, path: str) -> str:
        """What stands on a page, without its elements."""
        text = re.sub(r"<title>.*?</title>|<[^>]*>", " ", await self.shown(path), flags=re.DOTALL)
        return " ".join(html.unescape(text).split())

    async def act(self, path: str, **fields: Any) -> str:
        """Send a form without JavaScript, which must succeed; where it leads."""
        answer = await self.post(path, **fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def refused(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send a form with htmx, which must fail; status and words. They go to `#problem`: what was typed stays."""
        answer = await self.post(path, htmx=True, **fields)
        assert answer.headers["hx-retarget"] == "#problem", answer.text
        return answer.status_code, html.unescape(answer.text)


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


@pytest.fixture
async def operator(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "otto@example.org", Role.OPERATOR) as it:
        yield it


@pytest.fixture
async def engineer(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    async with visiting(database_url, sql, "enno@example.org", Role.ENGINEER) as it:
        yield it


@pytest.fixture
async def stranger(database_url: str, sql: asyncpg.Connection) -> AsyncIterator[Visitor]:
    """An admin of another organization."""
    async with visiting(database_url, sql, "stan@example.org", organization="other") as it:
        yield it


async def trail(sql: asyncpg.Connection, organization: str = "main") -> list[tuple[str, str, str, str]]:
    """What people have done but for logging in: who, action, subject, reason."""
    rows = await sql.fetch(
        "select who, action, subject, why from audit join organizations using (organization_id)"
        " where name = $1 and action <> 'log in' and who like '%@%' order by n",
        organization,
    )
    return [tuple(row) for row in rows]
