"""A gateway with a network of its own, which can be cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.faults.proxy import Link, Network
from tests.processes import GatewayProcess


class Gateway(GatewayProcess):
    """`python -m gateway`; with a network, links lead to the broker and to the database. `settings` without the prefix
    BIOGATE_, in small letters, hold for every start."""

    def __init__(
        self, database_url: str, mqtt_url: str, log: Path, network: Network | None, settings: Mapping[str, object]
    ) -> None:
        self.to_broker: Link | None = None
        self.to_database: Link | None = None
        if network is not None:
            self.to_broker, self.to_database = network.link(port_of(mqtt_url)), network.link(port_of(database_url))
        super().__init__(through(database_url, self.to_database), through(mqtt_url, self.to_broker), log)
        self.environment |= {f"BIOGATE_{name.upper()}": str(value) for name, value in settings.items()}

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def ready(self) -> bool:
        """Leads, and can receive and commit."""
        return self.running and self.get("/ready")[0] == 200


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def through(url: str, link: Link | None) -> str:
    """`url`, but by way of a link."""
    if link is None:
        return url
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{link.port}"))
