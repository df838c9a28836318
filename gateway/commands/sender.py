"""Publishes commands on an MQTT connection of its own, apart from the intake's."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiomqtt
import asyncpg
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.broker.address import BrokerLogin
from gateway.broker.client import Client, client_as, end_if_cancelled
from gateway.errors import SendFailed
from gateway.settings import Settings
from schema.messages import CONTENT_JSON, Command
from schema.topics import Down, Kind, topic

ANSWER_S = 3.0
"""Seconds to wait for the broker's acknowledgement. The command's row is locked meanwhile."""
NOBODY_THERE = 0x10
REFUSED = 0x80


class CommandSender:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, command: asyncpg.Record) -> bool:
        """Publish a command; return whether the broker had a subscriber for it. Raises SendFailed."""
        device, identifier = command["device"], command["command_id"]
        parameters = cast(dict[str, Any], msgspec.Raw(command["parameters"].encode()))  # as requested, byte for byte
        message = Command(identifier, command["name"], parameters, command["expires"], command["boot"])
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = identifier.bytes
        properties.ResponseTopic = topic(device, Kind.COMMAND_RESULT)
        properties.MessageExpiryInterval = max(1, math.ceil(command["left_s"]))
        properties.ContentType = CONTENT_JSON
        try:
            await self._client.publish(
                topic(device, Down.COMMAND),
                msgspec.json.encode(message),
                qos=1,
                properties=properties,
                timeout=ANSWER_S,
            )
        except aiomqtt.MqttError as error:
            raise SendFailed(f"{topic(device, Down.COMMAND)}: {error}") from error
        end_if_cancelled()
        if self._client.answered >= REFUSED:
            raise SendFailed(f"{topic(device, Down.COMMAND)}: refused by the broker, {self._client.answered:#x}")
        return self._client.answered != NOBODY_THERE


@asynccontextmanager
async def connected(settings: Settings, login: BrokerLogin) -> AsyncIterator[CommandSender]:
    """A sender on a connected client. Raises SendFailed if the broker is not reached."""
    password = None if login.password is None else login.password.decode()
    try:
        client = client_as(settings, login.username, password, login.client_id)
        async with client:
            yield CommandSender(client)
    except aiomqtt.MqttError as error:
        raise SendFailed(f"the broker is not reached: {error}") from error
