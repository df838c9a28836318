"""Compares the limits of broker and gateway before the first connection. Pure.

With Mosquitto's defaults messages are lost in silence (20 in flight, 1000 queued, the rest dropped with a PUBACK of
Success), and the protocol shows almost none of its limits: so its configuration file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.settings import Settings, is_loopback
from schema.messages import MOST_PACKET

UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
COMMIT_MS = 100
"""The time of a slow commit: a message is acknowledged after the linger and this."""


def options(conf: str) -> dict[str, str]:
    """The options of a mosquitto.conf; the last value of an option that is given twice."""
    lines = (line.strip() for line in conf.splitlines())
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs}


def problems(conf: str, settings: Settings) -> Iterator[str]:
    """Yield a sentence for each limit that cannot work, which says what to change."""
    given = options(conf)

    def number(name: str, default: int) -> int:
        return int(given.get(name, default))

    if given.get("per_listener_settings", "false") != "false":
        yield (
            "per_listener_settings true: Mosquitto then queues no QoS 1 message for a session that is offline, and "
            "says Success all the same; set it to false"
        )
    if 0 < number("max_inflight_messages", 20) < settings.receive_maximum:
        yield (
            f"max_inflight_messages {number('max_inflight_messages', 20)} is below BIOGATE_RECEIVE_MAXIMUM="
            f"{settings.receive_maximum}: raise the first, or lower the second"
        )
    planned = settings.plan_messages_per_s * settings.plan_outage_s
    in_words = f"{settings.plan_messages_per_s} messages/s for {settings.plan_outage_s} s"
    if 0 < number("max_queued_messages", 1000) < planned:
        yield (
            f"max_queued_messages {number('max_queued_messages', 1000)}: while the gateway is away for {in_words} (as "
            f"BIOGATE_PLAN_MESSAGES_PER_S and BIOGATE_PLAN_OUTAGE_S say) {planned} have to wait, and what is over the "
            "limit is dropped in silence; set it to 0, and max_queued_bytes"
        )
    needed = planned * settings.plan_message_bytes
    if 0 < number("max_queued_bytes", 0) < needed:
        yield (
            f"max_queued_bytes {number('max_queued_bytes', 0)}: {in_words} of {settings.plan_message_bytes} bytes are "
            f"{needed}; raise it, or plan for less (BIOGATE_PLAN_…)"
        )
    if given.get("persistence", "false") != "true":
        yield "persistence false: a restart of the broker loses what waits in it; set it to true"
    if number("max_keepalive", 65535) <= settings.keep_alive_s:
        yield (
            f"max_keepalive {number('max_keepalive', 65535)} is not above BIOGATE_KEEP_ALIVE_S={settings.keep_alive_s}:"
            " Mosquitto throws out clients whose keep alive equals it; raise the first, or lower the second"
        )
    expiry = duration_s(given.get("persistent_client_expiration", ""))
    if expiry is not None and expiry < settings.session_expiry_s:
        yield (
            f"persistent_client_expiration {given['persistent_client_expiration']} is below BIOGATE_SESSION_EXPIRY_S="
            f"{settings.session_expiry_s}: raise the first, or lower the second"
        )
    if 0 < number("max_packet_size", MOST_PACKET) < MOST_PACKET:
        yield (
            f"max_packet_size {number('max_packet_size', 0)} is below {MOST_PACKET}, the size that devices are told "
            "they may send: raise it"
        )
    if number("max_packet_size", 0) > settings.window_bytes:
        yield (
            f"max_packet_size {number('max_packet_size', 0)} is above BIOGATE_WINDOW_BYTES={settings.window_bytes}: "
            "one message could fill the window; lower the first, or raise the second"
        )
    at_once = settings.plan_messages_per_s * (settings.linger_ms + COMMIT_MS) / 1000
    if settings.receive_maximum < at_once:
        yield (
            f"BIOGATE_RECEIVE_MAXIMUM={settings.receive_maximum} lets the broker send fewer messages than arrive "
            f"between two commits at {settings.plan_messages_per_s} messages/s (about {at_once:.0f}): raise it, or "
            "lower BIOGATE_LINGER_MS"
        )
    yield from _open_doors(conf, given, settings)


def _open_doors(conf: str, given: dict[str, str], settings: Settings) -> Iterator[str]:
    """Yield a sentence for each way in without a login of its own (if logins are administered) or without TLS."""
    if settings.secrets_dir is not None:
        if given.get("allow_anonymous", "false") != "false":
            yield "allow_anonymous true: everybody may publish as any device; set it to false"
        if "dynamic_security" not in given.get("plugin", ""):
            yield (
                "no plugin mosquitto_dynamic_security.so: devices could not be given logins; load it, with the "
                "dynamic-security.json that `biogate setup` made"
            )
        if "acl_file" in given:
            yield "acl_file does not check subscriptions, so any device could read what others publish; remove it"
    for number, host, encrypted in listeners(conf):
        if not encrypted and not settings.insecure and not is_loopback(host):
            yield (
                f"listener {number} {host or '(all addresses)'} without TLS: passwords and data cross the network "
                "in clear; give it a certificate, bind it to 127.0.0.1, or say BIOGATE_INSECURE=true"
            )


def listeners(conf: str) -> Iterator[tuple[str, str, bool]]:
    """Yield port and address of each listener of a mosquitto.conf, and whether it has a certificate."""
    blocks = re.split(r"^listener[ \t]+", conf, flags=re.MULTILINE)[1:]
    for block in blocks:
        number, _, host = block.partition("\n")[0].partition(" ")
        yield number, host.strip(), "certfile" in options(block)


def queue_bytes(conf: str) -> int | None:
    """Bytes of payload that may wait for one client; None if they are not limited."""
    return int(options(conf).get("max_queued_bytes", 0)) or None


def duration_s(text: str) -> int | None:
    """The seconds of a duration in Mosquitto's form, such as 30d; None if the text is none."""
    found = re.fullmatch(r"(\d+)([hdwmy])", text)
    return int(found[1]) * UNITS_S[found[2]] if found else None
