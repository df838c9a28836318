"""Publishes commands on an MQTT connection of its own, apart from the intake's."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import aiomqtt
import asyncpg
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.broker.address import BrokerLogin
from gateway.broker.client import MqttClient, client_as
from gateway.commands.dispatch import Send
from gateway.errors import SendFailed, words_of
from gateway.settings import Settings
from schema.messages import CONTENT_JSON, Command
from schema.topics import Down, Kind, topic

ANSWER_S = 3.0
"""Seconds to wait for the broker's acknowledgement. The command's row is locked meanwhile."""
NOBODY_THERE = 0x10
REFUSED = 0x80


async def send(client: MqttClient, command: asyncpg.Record) -> bool:
    """Publish a command; return whether the broker had a subscriber for it. Raises SendFailed."""
    device, identifier = command["device"], command["command_id"]
    to = topic(device, Down.COMMAND)
    parameters = cast(dict[str, Any], msgspec.Raw(command["parameters"].encode()))  # as requested, byte for byte
    message = Command(identifier, command["name"], parameters, command["expires"], command["boot"])
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = identifier.bytes
    properties.ResponseTopic = topic(device, Kind.COMMAND_RESULT)
    properties.MessageExpiryInterval = max(1, math.ceil(command["left_s"]))
    properties.ContentType = CONTENT_JSON
    try:
        await client.publish(to, msgspec.json.encode(message), qos=1, properties=properties, timeout=ANSWER_S)
    except aiomqtt.MqttError as error:
        raise SendFailed(f"{to}: {words_of(error)}") from error
    if client.answered >= REFUSED:
        raise SendFailed(f"{to}: refused by the broker, {client.answered:#x}")
    return client.answered != NOBODY_THERE


@asynccontextmanager
async def connected(settings: Settings, login: BrokerLogin) -> AsyncIterator[Send]:
    """`send` on a connected client. Raises SendFailed if the broker is not reached."""
    password = None if login.password is None else login.password.decode()
    try:
        async with client_as(settings, login.username, password, login.client_id) as client:
            yield partial(send, client)
    except aiomqtt.MqttError as error:
        raise SendFailed(f"the broker is not reached: {words_of(error)}") from error
