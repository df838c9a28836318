"""Commands as the API leaves them in the table, and a controller that answers them when told to."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import asyncpg
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.broker.client import MqttClient
from tests.conftest import Broker
from tests.gateway.cell import eventually


async def register(database: asyncpg.Connection, *names: str) -> None:
    await database.execute("insert into devices (name) select unnest($1::text[])", names)


async def ask(
    database: asyncpg.Connection, device: str, expires_s: float = 60, *, boot: int | None = None, **parameters: Any
) -> uuid.UUID:
    """A command, as the API's function leaves it."""
    identifier = await database.fetchval(
        """insert into commands (organization_id, device_id, name, parameters, boot, requested_by, why, requested_at,
                                 expires_at)
           select organization_id, device_id, 'setpoint', $2, $3, 'eva@example.org', 'because', clock_timestamp(),
                  clock_timestamp() + make_interval(secs => $4)
             from devices where name = $1 returning command_id""",
        device,
        json.dumps(parameters),
        boot,
        expires_s,
    )
    assert isinstance(identifier, uuid.UUID)
    return identifier


async def command(database: asyncpg.Connection, identifier: uuid.UUID) -> asyncpg.Record:
    return await database.fetchrow("select * from commands where command_id = $1", identifier)


async def until_state(database: asyncpg.Connection, identifier: uuid.UUID, state: str, seconds: float = 30) -> Any:
    query = "select state = $2 from commands where command_id = $1"
    await eventually(
        lambda: database.fetchval(query, identifier, state), seconds, lambda: command(database, identifier)
    )
    return await command(database, identifier)


async def reasons(database: asyncpg.Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in await database.fetch("select device, reason from quarantine order by quarantine_id")]


class Device:
    """A controller of somebody else's make, that answers when told to."""

    def __init__(self, name: str, client: aiomqtt.Client) -> None:
        self.name, self.client = name, client

    async def next(self, seconds: float = 30) -> aiomqtt.Message:
        async with asyncio.timeout(seconds):
            return await anext(aiter(self.client.messages))

    async def answer(self, payload: bytes | dict[str, Any], correlation: bytes | None = None, device: str = "") -> None:
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        where = f"bioreactors/{device or self.name}/command/result"
        await self.client.publish(where, encoded, qos=1, properties=properties)


@asynccontextmanager
async def device(
    broker: Broker, name: str = "r1", protocol: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V5
) -> AsyncIterator[Device]:
    async with MqttClient(broker.host, broker.port, protocol=protocol) as client:
        await client.subscribe(f"bioreactors/{name}/command", qos=1)
        yield Device(name, client)
