"""The evaluator as a process, beside a database and a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.runtime.database import Pool, create_pool
from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant
from tests.gateway.material import settings
from tests.processes import AlarmsProcess


@pytest.fixture
def plant(database: asyncpg.Connection) -> Plant:
    return Plant(database)


@pytest.fixture
async def pool(pool: Pool, alarms_url: str) -> AsyncIterator[Pool]:
    """The evaluator's own, with what the gateway's has."""
    async with create_pool(settings(alarms_url)) as own:
        yield own


@pytest.fixture
def alarms(alarms_url: str, broker: Broker, tmp_path: Path) -> Iterator[AlarmsProcess]:
    """Not started yet."""
    yield from process(alarms_url, broker.url, tmp_path / "alarms.log")


@pytest.fixture
def standby(alarms_url: str, broker: Broker, tmp_path: Path) -> Iterator[AlarmsProcess]:
    """A second one, not started yet."""
    yield from process(alarms_url, broker.url, tmp_path / "standby.log")


def process(database_url: str, mqtt_url: str, log: Path) -> Iterator[AlarmsProcess]:
    alarms = AlarmsProcess(database_url, mqtt_url, log)
    yield alarms
    alarms.end()
    if log.exists():
        print(log.read_text()[-4000:])  # shown with a failure
