"""Connections to the broker for work at human pace: enrollment, administration. The intake has its own."""

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
"""Messages received and not yet looked at; what is over it is dropped with a warning: who sent it will repeat it."""


Inbox: TypeAlias = "type[asyncio.Queue[aiomqtt.Message]]"


class Client(aiomqtt.Client):
    """Remembers what the broker answered to the last publication; the library keeps it to itself."""

    answered = 0
    """Reason code of the last PUBACK."""
    worst = 0
    """The greatest of all since this was set to 0."""

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        self.answered = reason_code.value
        self.worst = max(self.worst, reason_code.value)
        super()._on_publish(client, userdata, mid, reason_code, properties)


def client(settings: Settings, secrets: Secrets, login: str, identifier: str, inbox: Inbox | None = None) -> Client:
    """A client of MQTT 5 with a clean start, not yet connected; `login` is one of the broker's own, not a device's."""
    return client_as(settings, login, secrets.password(login), identifier, inbox)


def client_as(
    settings: Settings, username: str | None, password: str | None, identifier: str, inbox: Inbox | None = None
) -> Client:
    """The same for a login that is known, or for none."""
    context = tls(settings)
    return Client(
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
    """Python 3.11's `wait_for`, which aiomqtt is built on, loses a cancellation that comes together with its result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
