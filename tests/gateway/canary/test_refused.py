"""A canary whose key or login is refused: it asks seldom, says so, and takes a new one without a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from gateway.canary import metrics, reader
from gateway.canary.probe import CHANNEL, CanaryLogin, CanaryProbe
from gateway.canary.reader import CanaryReader, KeyRefused
from gateway.canary.settings import CanarySettings
from tests.api.accounts import api_key
from tests.api.test_operation import process
from tests.conftest import Broker
from tests.gateway.material import until


async def test_a_refused_key_is_shown_once_and_a_new_one_at_once(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    await database.execute("insert into devices (name) values ('canary')")
    log = tmp_path / "log"
    async with process(log, BIOGATE_DATABASE_URL=database_url) as (_, client):
        file = tmp_path / "key"
        file.write_text(await api_key(database))
        canary = CanaryReader(str(client.base_url), file, "canary", CHANNEL)
        assert await canary.value_at(1_795_161_600_000) is None
        file.write_text("bgk_nobody_has_this_key")
        for _ in range(50):
            with pytest.raises(KeyRefused, match="401"):
                await canary.value_at(1_795_161_600_000)
        file.write_text(await api_key(database))
        assert await canary.value_at(1_795_161_600_000) is None
        asked = [json.loads(line).get("status") for line in log.read_text().splitlines() if "canary" in line]
        assert asked.count(401) == 1


async def test_the_key_is_shown_again_after_a_while(
    database: asyncpg.Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ASK_AGAIN_S", 0.2)
    await database.execute("insert into devices (name) values ('canary')")
    async with process(tmp_path / "log", BIOGATE_DATABASE_URL=database_url) as (_, client):
        file = tmp_path / "key"
        file.write_text(await api_key(database))
        await database.execute("update api_keys set ended_at = now()")
        canary = CanaryReader(str(client.base_url), file, "canary", CHANNEL)
        with pytest.raises(KeyRefused):
            await canary.value_at(1_795_161_600_000)
        await database.execute("update api_keys set ended_at = null")

        async def taken() -> bool:
            try:
                await canary.value_at(1_795_161_600_000)
            except KeyRefused:
                return False
            return True

        await until(taken, 30)


async def test_a_refused_login_is_told_and_a_new_one_is_taken(secure_broker: Broker, tmp_path: Path) -> None:
    file, key = tmp_path / "login.json", tmp_path / "key"
    login = {
        "host": "127.0.0.1", "port": secure_broker.port, "tls": False, "device": "canary",
        "username": "canary.1", "password": "wrong",
    }  # fmt: skip
    file.write_text(json.dumps(login))
    key.write_text("none")
    settings = CanarySettings.model_validate({"canary_login": file, "canary_key_file": key, "canary_interval_s": 3600})
    probe = CanaryProbe(settings, CanaryLogin(file), CanaryReader("http://127.0.0.1:1", key, "canary", CHANNEL))
    refused = metrics.REFUSED.labels("broker")
    task = asyncio.create_task(probe.run())
    try:
        await until(lambda: refused._value.get() == 1)
        password = (secure_broker.secrets / "observer.password").read_text().strip()
        file.write_text(json.dumps(login | {"username": "observer", "password": password}))
        await until(lambda: metrics.CONNECTED._value.get() == 1, 30)
        assert refused._value.get() == 0
    finally:
        task.cancel()
        await asyncio.wait([task])
