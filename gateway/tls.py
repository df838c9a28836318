"""How to speak to the broker."""

from __future__ import annotations

import ssl

from gateway.settings import Settings


def tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or newer to the broker of BIOGATE_MQTT_URL, with its name checked; None in clear."""
    if settings.mqtt_url.scheme != "mqtts":
        return None
    context = ssl.create_default_context(cafile=settings.mqtt_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
