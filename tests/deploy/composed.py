"""docker-compose.yml as data, for the tests of it."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML

from deploy.stack.paths import CHECKOUT

FILE = CHECKOUT / "docker-compose.yml"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PASSFILE = "PGPASSFILE"
"""PostgreSQL's own variable; asyncpg knows it."""


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Volume or file → where it is."""
    pairs = (volume.split(":") for volume in service.get("volumes", []))
    return {source: target for source, target, *_ in pairs}
