"""With the process that evaluates alarms: from a rule to an alarm that is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.access.roles import Role
from tests.api import alarms
from tests.api.accounts import api_key, serving
from tests.api.operators import Operator
from tests.api.plant import Plant
from tests.conftest import Broker
from tests.processes import AlarmsProcess


@pytest.fixture
async def engineer(plant: Plant, database_url: str, broker: Broker, tmp_path: Path) -> AsyncIterator[Operator]:
    process = AlarmsProcess(database_url, broker.url, tmp_path / "log")
    process.start()
    try:
        async with serving(database_url, api_act_patience=60) as client:
            yield Operator(client, await api_key(plant.sql, role=Role.ENGINEER))
    finally:
        process.kill()


async def comes(it: Operator, frame: Callable[[], Awaitable[None]], **asked: Any) -> list[dict[str, Any]]:
    """The alarms when there is one for which that holds; meanwhile the device goes on sending."""
    end = time.monotonic() + 60
    while True:
        await frame()
        found: list[dict[str, Any]] = (await it.get("/alarms", "Alarms", **asked))["alarms"]
        if found:
            return found
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def test_a_rule_raises_an_alarm_which_is_acknowledged_shelved_and_ends_with_it(
    plant: Plant, engineer: Operator
) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature")

    async def frame() -> None:
        await plant.frames(device, layout, [(datetime.now(UTC), [39.0], None)])

    path = "/api/v1/alarm-rules/hot"
    answer = await engineer.client.put(path, json=alarms.RULE, params={"why": "x"}, headers=engineer.headers)
    assert answer.status_code == 201, answer.text
    [alarm] = await comes(engineer, frame, unacknowledged=True)
    assert (alarm["device"], alarm["rule"], alarm["state"], alarm["value"]) == ("br-1", "hot", "unacknowledged", 39)
    seen = await engineer.post("/alarms/br-1/hot/acknowledge", "AlarmDetail")
    assert (seen["state"], seen["transitions"][0]["who"]) == ("acknowledged", engineer.who)
    assert (await engineer.refused("/alarms/br-1/hot/acknowledge"))[0] == 409
    assert (await engineer.post("/alarms/br-1/hot/shelve", duration_s=600))["state"] == "shelved"
    assert (await engineer.post("/alarms/br-1/hot/remove-from-service"))["state"] == "out-of-service"
    causes = [one["cause"] for one in (await engineer.get("/alarms/history", "History"))["transitions"]]
    assert causes == ["remove-from-service", "shelve", "acknowledge", "condition"]
    await engineer.client.delete(path, params={"why": "x"}, headers=engineer.headers)
    end = time.monotonic() + 60
    while (await engineer.get("/alarms"))["alarms"]:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    last = (await engineer.get("/alarms/history", rule="hot", limit=1))["transitions"][0]
    assert (last["cause"], last["after"]) == ("removed", "normal")
    health = await engineer.get("/alarms/health")
    assert (health["raised"], health["acknowledgement"]["number"], health["return"]["other"]) == (1, 1, 1)
