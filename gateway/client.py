"""Connections to the broker for work at human pace: enrollment, administration. The intake has its own."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import aiomqtt

from gateway.secrets import Secrets
from gateway.settings import Settings
from gateway.tls import tls

KEEP_ALIVE_S = 15
TIMEOUT_S = 10.0
MOST_WAITING = 1000
"""Messages received and not yet looked at; what is over it is dropped with a warning: who sent it will repeat it."""


Inbox: TypeAlias = "type[asyncio.Queue[aiomqtt.Message]]"


def client(
    settings: Settings, secrets: Secrets, login: str, identifier: str, inbox: Inbox | None = None
) -> aiomqtt.Client:
    """A client of MQTT 5 with a clean start, not yet connected; `login` is one of the broker's own, not a device's."""
    context = tls(settings)
    return aiomqtt.Client(
        settings.mqtt_url.host or "localhost",
        settings.mqtt_url.port or (8883 if context else 1883),
        username=login,
        password=secrets.password(login),
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
