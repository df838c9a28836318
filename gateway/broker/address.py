"""How to reach the broker: under which login, and by TLS or in clear."""

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
    """TLS 1.2 or newer to the broker of BIOGATE_MQTT_URL, with its name checked; None in clear."""
    if settings.mqtt_url.scheme != "mqtts":
        return None
    context = ssl.create_default_context(cafile=settings.mqtt_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
