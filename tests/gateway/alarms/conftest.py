"""The evaluator as a process, beside a database and a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant
from tests.processes import AlarmsProcess


@pytest.fixture
def plant(database: asyncpg.Connection) -> Plant:
    return Plant(database)


@pytest.fixture
def alarms(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[AlarmsProcess]:
    """Not started yet."""
    yield from process(database_url, broker.url, tmp_path / "alarms.log")


@pytest.fixture
def standby(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[AlarmsProcess]:
    """A second one, not started yet."""
    yield from process(database_url, broker.url, tmp_path / "standby.log")


def process(database_url: str, mqtt_url: str, log: Path) -> Iterator[AlarmsProcess]:
    alarms = AlarmsProcess(database_url, mqtt_url, log)
    yield alarms
    alarms.end()
    if log.exists():
        print(log.read_text()[-4000:])  # shown with a failure
