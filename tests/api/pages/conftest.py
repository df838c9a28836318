"""Pages over a real database, asked in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api.access.roles import Role
from tests.api.accounts import Served, serving
from tests.api.pages.members import PageMember, member
from tests.api.plant import Plant


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Served]:
    async with serving(database_url, api_rate=0, api_anonymous_rate=0) as it:
        yield it


@pytest.fixture
async def admin(site: Served, plant: Plant) -> PageMember:
    return await member(site, plant.sql)


@pytest.fixture
async def operator(site: Served, plant: Plant) -> PageMember:
    return await member(site, plant.sql, Role.OPERATOR)


@pytest.fixture
async def viewer(site: Served, plant: Plant) -> PageMember:
    return await member(site, plant.sql, Role.VIEWER)


@pytest.fixture
async def stranger(site: Served, plant: Plant) -> PageMember:
    """An admin of another organization."""
    return await member(site, plant.sql, organization="other")
