"""What became of each value of the canary is counted once, under its reason; the parts around it are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from gateway.canary.probe import CHANNEL, CanaryLogin, CanaryProbe
from gateway.canary.reader import CanaryReader
from gateway.canary.settings import CanarySettings
from tests.api.accounts import api_key
from tests.api.test_operation import process
from tests.conftest import Broker
from tests.gateway.material import until
from tests.processes import GatewayProcess

NOWHERE = "http://127.0.0.1:1"
REASONS = ("publish", "read", "absent", "wrong")


class Altered(CanaryReader):
    """Reads another value than the one that is stored."""

    async def value_at(self, t: int) -> float | None:
        value = await super().value_at(t)
        return None if value is None else value + 0.5


@pytest.fixture
def login(tmp_path: Path, broker: Broker) -> Path:
    file = tmp_path / "login.json"
    there = {"host": broker.host, "port": broker.port, "tls": False}
    file.write_text(json.dumps(there | {"device": "canary", "username": "canary.1", "password": "any"}))
    return file


@pytest.fixture
async def key(database: asyncpg.Connection, tmp_path: Path) -> Path:
    await database.execute("insert into devices (name) values ('canary')")
    file = tmp_path / "key"
    file.write_text(await api_key(database))
    return file


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def counted() -> dict[str, float]:
    """All that the canary counts, by name, and values lost by reason."""
    lost = {why: value("biogate_canary_lost_total", why=why) for why in REASONS}
    due, seen = value("biogate_canary_published_total"), value("biogate_canary_seen_total")
    return {"due": due, "seen": seen, "timed": value("biogate_canary_seconds_count")} | lost


@asynccontextmanager
async def probing(
    login: Path,
    key: Path,
    url: str,
    *,
    deadline_s: float,
    interval_s: float = 3600,
    reader: type[CanaryReader] = CanaryReader,
) -> AsyncIterator[CanaryProbe]:
    """A canary with one value, or with one an interval."""
    times = {"canary_interval_s": interval_s, "canary_deadline_s": deadline_s}
    chosen = CanarySettings.model_validate({"canary_login": login, "canary_key_file": key} | times)
    probe = CanaryProbe(chosen, CanaryLogin(login), reader(url, key, "canary", CHANNEL))
    task = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()
        await asyncio.wait([task])


async def becomes(before: dict[str, float], **more: float) -> None:
    """Until so much more is counted, and nothing else."""
    expected = {name: count + more.get(name, 0) for name, count in before.items()}
    await until(lambda: counted() == expected, 120)


async def test_a_value_that_is_read_back_is_seen_and_timed(
    login: Path, key: Path, gateway: GatewayProcess, database_url: str, tmp_path: Path
) -> None:
    gateway.start()
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        before = counted()
        async with probing(login, key, str(client.base_url), deadline_s=600) as probe:
            await becomes(before, due=1, seen=1, timed=1)
            assert probe.trouble is None


async def test_a_value_that_comes_back_as_another_is_wrong(
    login: Path, key: Path, gateway: GatewayProcess, database_url: str, tmp_path: Path
) -> None:
    gateway.start()
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        before = counted()
        async with probing(login, key, str(client.base_url), deadline_s=600, reader=Altered) as probe:
            await becomes(before, due=1, wrong=1)
            assert probe.trouble is not None


async def test_a_value_that_the_broker_does_not_take_is_lost_by_publish(login: Path, key: Path) -> None:
    login.write_text(json.dumps(json.loads(login.read_text()) | {"port": 1}))
    before = counted()
    async with probing(login, key, NOWHERE, deadline_s=0.5) as probe:
        await becomes(before, due=1, publish=1)
        assert probe.trouble == "not connected to the broker"


async def test_values_that_nobody_stores_are_absent_and_those_that_cannot_be_asked_for_are_not_read(
    login: Path, key: Path, database_url: str, tmp_path: Path
) -> None:
    """On a slow machine the first ones may be lost before they are published."""
    before = counted()
    async with probing(login, key, NOWHERE, deadline_s=3, interval_s=1) as probe:
        await until(lambda: counted()["read"] > before["read"], 60)
        assert "the API does not answer" in str(probe.trouble)
        assert counted()["absent"] == before["absent"]
    async with (
        process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client),
        probing(login, key, str(client.base_url), deadline_s=3, interval_s=1) as probe,
    ):
        await until(lambda: counted()["absent"] > before["absent"], 60)
        assert "does not have" in str(probe.trouble)
    assert {name: counted()[name] - before[name] for name in ("seen", "timed", "wrong")} == dict.fromkeys(
        ("seen", "timed", "wrong"), 0
    )


async def test_a_key_that_is_taken_again_is_told(login: Path, key: Path, database_url: str, tmp_path: Path) -> None:
    good = key.read_text()
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        key.write_text("bgk_nobody_has_this_key")
        async with probing(login, key, str(client.base_url), deadline_s=3600):
            await until(lambda: value("biogate_canary_refused", by="api") == 1)
            key.write_text(good)
            await until(lambda: value("biogate_canary_refused", by="api") == 0)
