"""Three people, an API of the test's own that they log in to, and what the audit trail has of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest

from tests.api.accounts import Served, log_in, serving, user

ADA, EVA, IDA = "ada@example.org", "eva@example.org", "ida@example.org"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    async with serving(database_url) as client:
        yield client


@pytest.fixture
async def ada(api: Served, database: asyncpg.Connection) -> dict[str, str]:
    """The headers of an admin of the organization that runs the installation."""
    await user(database, ADA, "main")
    headers: dict[str, str] = (await log_in(api, ADA))["headers"]
    return headers


async def trail(sql: asyncpg.Connection, subject: str, organization: str = "main") -> list[tuple[str, str, str]]:
    rows = await sql.fetch(
        "select who, action, why from audit join organizations using (organization_id)"
        " where name = $1 and subject = $2 order by n",
        *(organization, subject),
    )
    return [tuple(row) for row in rows]


async def attempt(client: httpx2.AsyncClient, email: str, password: str = "not the password") -> int:
    body = {"email": email, "password": password}
    return (await client.post("/api/v1/auth/login", json=body)).status_code
