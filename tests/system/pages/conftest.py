"""A plant that people look at: an API over TCP, and Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser

from api.access.roles import Role
from tests.api import alarms
from tests.api.accounts import user
from tests.api.live import Floor, listening
from tests.api.plant import LivePlant
from tests.system.pages.browsing import Visitor, chromium, visiting

EVA = "eva@example.org"


@dataclass(frozen=True)
class Site:
    """An API at `address`, and its database."""

    address: str
    url: str
    plant: LivePlant
    app: FastAPI

    async def person(self, email: str = EVA, role: Role = Role.ADMIN, organization: str = "main") -> str:
        await user(self.plant.sql, email, organization, role)
        return email


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as it:
        yield it


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    sql = await asyncpg.connect(database_url)
    async with listening(database_url, api_insecure_cookie=True) as (address, app):
        yield Site(address, database_url, LivePlant(sql), app)
    await sql.close()


@pytest.fixture
async def eva(site: Site, browser: Browser) -> AsyncIterator[Visitor]:
    """An admin who has logged in."""
    await site.person()
    async with visiting(browser, site.address) as visitor:
        await visitor.log_in(EVA)
        yield visitor


@pytest.fixture
async def floor(site: Site) -> Floor:
    """A device `br-1` with a rule, whose alarm comes and goes."""
    device = await site.plant.device("br-1")
    rule = await alarms.rule(site.plant.sql, "temperature-high", priority="high")
    return Floor(site.plant.sql, rule, device)
