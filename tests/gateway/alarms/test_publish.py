"""What the broker has of alarms, and the way from a device to there."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt

from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant, now
from tests.gateway.cell import Cell, eventually
from tests.processes import AlarmsProcess, GatewayProcess, wait_until

RAISED = ("condition", "unacknowledged")


class Seen:
    """Last message by topic; None: an empty one, so nothing is retained."""

    def __init__(self) -> None:
        self.messages: dict[str, Any] = {}
        self.retained: set[str] = set()

    async def follow(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic, payload = str(message.topic), message.payload
            assert isinstance(payload, bytes)
            self.messages[topic] = json.loads(payload) if payload else None
            if message.retain:
                self.retained.add(topic)

    async def becomes(self, topic: str, state: str | None) -> None:
        async def so() -> bool:
            message = self.messages.get(topic, {})
            return bool((message and message.get("state")) == state)

        await eventually(so, 20)


@asynccontextmanager
async def observer(where: Broker | aiomqtt.Client) -> AsyncIterator[Seen]:
    seen = Seen()
    async with MqttClient(where.host, where.port) if isinstance(where, Broker) else where as client:
        await client.subscribe("alarms/#", qos=1)
        task = asyncio.create_task(seen.follow(client))
        try:
            yield seen
        finally:
            task.cancel()


async def test_states_are_retained_and_gone_with_the_alarm(alarms: AlarmsProcess, plant: Plant, broker: Broker) -> None:
    await plant.devices("r1", "r2")
    await plant.rule(message="too high", response="look at it", priority="critical")
    alarms.start()
    t = now() - 9
    await plant.commit("r1", [(t, {"x": 11.0})])
    await plant.becomes("r1", RAISED)
    async with observer(broker) as seen:
        await seen.becomes("alarms/r1/high", "unacknowledged")
        message = seen.messages["alarms/r1/high"]
        assert {name: message.pop(name) for name in ("since", "raised_at")}["since"].endswith("Z")
        assert message == {
            **{"device": "r1", "rule": "high", "title": "high", "state": "unacknowledged", "condition": "active"},
            **{"priority": "critical", "value": 11.0, "detail": "11 above 10", "shelved_until": None, "n": 1},
            **{"message": "too high", "response": "look at it"},
        }
        await plant.commit("r2", [(t, {"x": 12.0})])
        await seen.becomes("alarms/r2/high", "unacknowledged")
        await plant.act("r1", "acknowledge")
        await seen.becomes("alarms/r1/high", "acknowledged")
    # the broker is away, evaluation goes on, and what it has missed and lost comes afterwards
    broker.server.kill()
    broker.server.process.wait(10)
    for file in broker.server.data.rglob("*.db"):
        file.unlink()
    await plant.commit("r1", [(t + 1, {"x": 9.0})], first=1)
    await plant.becomes("r1", RAISED, ("acknowledge", "acknowledged"), ("return", "normal"))
    broker.server.start()
    async with observer(broker) as seen:
        await seen.becomes("alarms/r1/high", "normal")
        await seen.becomes("alarms/r2/high", "unacknowledged")
        await plant.remove_rule("high")
        await seen.becomes("alarms/r1/high", None)
        await seen.becomes("alarms/r2/high", None)
    await eventually(lambda: published(plant), 20)
    async with observer(broker) as seen:
        await asyncio.sleep(0.5)
        assert not seen.messages
    assert alarms.terminate() == 0


# r1 was another organization's, which has a rule of the same name.
GONE = """
with other as (insert into organizations (name, title) values ('other', 'Other') returning organization_id),
rule as (insert into alarm_rules (organization_id, name, definition)
         select o.organization_id, r.name, r.definition from other o, alarm_rules r returning rule_id)
insert into alarms (rule_id, device_id, n, published_n, rule_version, condition, active, acknowledged, latched,
                    shelved_once, suppressed, out_of_service, state, priority, since, detail, removed_at)
select rule_id, device_id, 1, 1, 1, 'normal', false, true, false,
       false, false, false, 'normal', 'medium', now(), '', now() from rule, devices where name = 'r1'"""


async def test_a_broker_that_was_killed_and_knows_an_older_state_is_told_the_newest(
    alarms: AlarmsProcess, plant: Plant, broker: Broker
) -> None:
    await plant.devices("r1", "r2")
    await plant.rule()
    alarms.start()
    t = now() - 9
    for device in ("r1", "r2"):
        await plant.commit(device, [(t, {"x": 11.0})])
    async with observer(broker) as seen:
        for device in ("r1", "r2"):
            await seen.becomes(f"alarms/{device}/high", "unacknowledged")
        broker.server.kill(signal.SIGUSR1)  # so it writes what it has
        wait_until(lambda: any(broker.server.data.rglob("*.db")), 30)
        await plant.act("r1", "acknowledge")
        await plant.commit("r1", [(t + 1, {"x": 9.0})], first=1)
        await seen.becomes("alarms/r1/high", "normal")
        await plant.rule(scope={"devices": ["r1"]})
        await seen.becomes("alarms/r2/high", None)
    await plant.database.execute(GONE)
    await eventually(lambda: published(plant), 20)
    broker.server.kill()
    broker.server.process.wait(10)
    broker.server.start()
    async with observer(broker) as seen:
        await seen.becomes("alarms/r1/high", "normal")
        await eventually(lambda: gone(broker, "alarms/r2/high"), 20)


async def gone(broker: Broker, topic: str) -> bool:
    """Nothing is retained there, while there is of the other one."""
    async with observer(broker) as seen:
        await seen.becomes("alarms/r1/high", "normal")
        return topic not in seen.messages


async def published(plant: Plant) -> bool:
    return bool(await plant.database.fetchval("select not exists (select from alarms where published_n < n)"))


async def test_from_a_device_to_the_alarm_with_logins(cell: Cell, plant: Plant, tmp_path: Path) -> None:
    """Device → broker → gateway → database → alarms → broker → observer, as in production."""
    await plant.rule()
    username = await cell.login("r1")
    database_url, mqtt_url = str(cell.settings.database_url), cell.broker.url
    secrets: dict[str, Any] = {"secrets_dir": cell.broker.secrets}
    gateway = GatewayProcess(database_url, mqtt_url, tmp_path / "gateway.log")
    alarms = AlarmsProcess(database_url, mqtt_url, tmp_path / "alarms.log")
    try:
        alarms.start(**secrets)
        gateway.start(**secrets)
        await cell.settled()
        async with observer(cell.connect("observer")) as seen, cell.connect(username) as device:
            at = time.time()
            for seq, value in enumerate((9.0, 11.0)):
                frame = {"boot": 1, "seq": seq, "t": 1000 * (at + seq / 1000), "v": {"x": value}}
                await device.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)
            await seen.becomes("alarms/r1/high", "unacknowledged")
        assert alarms.metrics()['biogate_alarm_transitions_total{cause="condition"}'] == 1
        standing = 'biogate_alarms{priority="medium",state="unacknowledged"}'
        wait_until(lambda: alarms.metrics().get(standing) == 1, 30)
    finally:
        gateway.kill()
        alarms.kill()
        print(gateway.log.read_text()[-2000:], alarms.log.read_text()[-2000:])  # shown with a failure
