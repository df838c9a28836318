"""Exports the figures that Mosquitto publishes under $SYS. Only the gateway that is connected receives them."""

from __future__ import annotations

import re

import structlog

from gateway import metrics

log = structlog.get_logger()

BROKER = "$SYS/broker/"
SYS_DROPPED = f"{BROKER}publish/messages/dropped"
FIGURES = {
    SYS_DROPPED: metrics.BROKER_DROPPED,
    f"{BROKER}clients/connected": metrics.BROKER_CLIENTS,
    f"{BROKER}clients/disconnected": metrics.BROKER_AWAY,
    f"{BROKER}store/messages/count": metrics.BROKER_STORED_MESSAGES,
    f"{BROKER}store/messages/bytes": metrics.BROKER_STORED_BYTES,
    f"{BROKER}heap/current": metrics.BROKER_HEAP,
    f"{BROKER}messages/received": metrics.BROKER_RECEIVED,
    f"{BROKER}messages/sent": metrics.BROKER_SENT,
    f"{BROKER}uptime": metrics.BROKER_UPTIME,
}
LOG = f"{BROKER}log/N"
"""Mosquitto's log, of the type notice."""
OVERSIZE = re.compile(rb"Client (.*) disconnected due to oversize packet\.")
TOPICS = (*FIGURES, LOG)


def on_change(topic: str, payload: bytes) -> None:
    """Export the figure of a message under $SYS. (The uptime comes as `123 seconds`.)"""
    if topic == LOG:
        if said := OVERSIZE.search(payload):
            client = said[1].decode("utf-8", "replace")
            log.warning("the broker hung up on a client that sent too large a packet", client=client)
            metrics.BROKER_OVERSIZE.inc()
        return
    number = payload.partition(b" ")[0]
    if topic in FIGURES and number.isdigit():
        FIGURES[topic].set(int(number))


def forget() -> None:
    """Export no figures any more: the gateway is not connected."""
    for figure in FIGURES.values():
        figure.forget()
