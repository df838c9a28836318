"""Connections to the broker for work at human pace: enrollment, administration. The intake has its own."""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeAlias

import aiomqtt

from gateway.secrets import Secrets
from gateway.settings import Settings

KEEP_ALIVE_S = 15
TIMEOUT_S = 10.0
MOST_WAITING = 1000
"""Messages received and not yet looked at; what is over it is dropped with a warning: who sent it will repeat it."""


def tls(settings: Settings) -> ssl.SSLContext | None:
    """How to speak to the broker of BIOGATE_MQTT_URL: TLS 1.2 or newer, with its name checked; None in clear."""
    if settings.mqtt_url.scheme != "mqtts":
        return None
    context = ssl.create_default_context(cafile=settings.mqtt_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


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
