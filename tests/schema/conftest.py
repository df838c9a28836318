"""Databases that are not migrated, and devices to write frames for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.databases import fresh_database


@pytest_asyncio.fixture(loop_scope="session")
async def empty_url(maintenance: asyncpg.Connection, postgres_url: str) -> AsyncIterator[str]:
    """A database in which nothing has run."""
    async with fresh_database(maintenance, postgres_url, "template0") as url:
        yield url


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()
