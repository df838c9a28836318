"""Databases that are not migrated, and devices to write frames for."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import with_database


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    """A database in which nothing has run."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"create database {name}")
    yield with_database(postgres_url, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()
