"""The login at the broker, and TLS to it."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from gateway.settings import Settings


class BrokerLogin(NamedTuple):
    """The client id of a connection to the broker, with its user name and password if the broker asks for them."""

    client_id: str
    username: str | None = None
    password: bytes | None = None


def tls(settings: Settings) -> ssl.SSLContext | None:
    """A context for TLS 1.2 or newer that checks the broker's name; None if BIOGATE_MQTT_URL is not mqtts."""
    if settings.mqtt_url.scheme != "mqtts":
        return None
    context = ssl.create_default_context(cafile=settings.mqtt_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
