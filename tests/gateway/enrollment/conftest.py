"""A cell, its secrets, and the steps of enrollment on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.intake.cell import prepare
from gateway.runtime.database import Pool, create_pool
from gateway.secrets import Secrets, ensure_vault
from gateway.settings import Settings
from tests.gateway.enrollment.bench import Bench
from tests.gateway.material import settings


@pytest.fixture(scope="session")
def secrets(secrets_dir: Path) -> Secrets:
    return Secrets.load(secrets_dir)


@pytest.fixture
def chosen(database_url: str) -> Settings:
    return settings(database_url, device_certificate_broker_url="mqtts://plant.example:8885")


@pytest.fixture
async def pool(chosen: Settings, secrets: Secrets) -> AsyncIterator[Pool]:
    async with create_pool(chosen, 6) as pool:
        await prepare(pool, chosen)
        await ensure_vault(pool, secrets)
        yield pool


@pytest.fixture
def bench(pool: Pool, secrets: Secrets, chosen: Settings) -> Bench:
    return Bench(pool, secrets, chosen)
