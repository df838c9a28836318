"""MQTT clients for enrollment, administration, commands and alarms; the intake has a faster connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import aiomqtt

from gateway.broker.address import tls
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.secrets import Secrets

KEEP_ALIVE_S = 15
TIMEOUT_S = 10.0
MOST_WAITING = 1000
"""Messages that may wait to be looked at. More are dropped with a warning: their senders will repeat them."""
Inbox: TypeAlias = "type[asyncio.Queue[aiomqtt.Message]]"


class MqttClient(aiomqtt.Client):
    """An MQTT client that keeps the reason codes of PUBACKs, which the library does not show."""

    answered = 0
    """Reason code of the last PUBACK."""
    worst = 0
    """The greatest reason code since this was set to 0."""

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        self.answered = reason_code.value
        self.worst = max(self.worst, reason_code.value)
        super()._on_publish(client, userdata, mid, reason_code, properties)


def client(settings: Settings, secrets: Secrets, login: str, identifier: str, inbox: Inbox | None = None) -> MqttClient:
    """An MQTT 5 client with a clean start, not yet connected, for a login whose password is among the secrets."""
    return client_as(settings, login, secrets.password(login), identifier, inbox)


def client_as(
    settings: Settings, username: str | None, password: str | None, identifier: str, inbox: Inbox | None = None
) -> MqttClient:
    """An MQTT 5 client with a clean start, not yet connected, for this login, or for none."""
    context = tls(settings)
    return MqttClient(
        settings.mqtt_url.host or "localhost",
        settings.mqtt_url.port or (8883 if context else 1883),
        username=username,
        password=password,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        keepalive=KEEP_ALIVE_S,
        tls_context=context,
        timeout=TIMEOUT_S,
        max_queued_incoming_messages=MOST_WAITING,
        queue_type=inbox,
    )


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled: aiomqtt, by Python 3.11's `wait_for`, may have lost it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
