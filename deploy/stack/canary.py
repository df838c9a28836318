"""The canary of a local stack: its device, login and API key, in an organization of its own where nobody sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.stack.paths import DATA, Paths
from deploy.stack.plant import PlantAccess

NAME = "canary"
"""The name of the device, and of its organization."""


@dataclass(frozen=True)
class Canary:
    paths: Paths
    access: PlantAccess
    port: int

    @property
    def _directory(self) -> Path:
        return DATA / self.paths.name / NAME

    @property
    def _login(self) -> Path:
        return self._directory / "login" / "login.json"

    @property
    def _key(self) -> Path:
        return self._directory / "key"

    def admission(self) -> dict[str, list[str]]:
        """The commands of `biogate` that are still to be run, by title; the last needs a gateway that leads."""
        self._directory.mkdir(parents=True, exist_ok=True)
        signed = ["--why", "make up", "--who", "make up"]
        wanted: dict[str, list[str]] = {}
        if not self._key.exists():
            key = ["key", "--name", NAME, "--organization", NAME, "--role", "viewer", "--scope", "telemetry:read"]
            wanted["canary organization"] = ["accounts", "organization", NAME]
            wanted["canary key"] = ["accounts", *key, "--replace", "--to", str(self._key)]
        if not self._login.exists():
            wanted["canary device"] = ["devices", "register", NAME, "--organization", NAME, *signed]
            wanted["canary login"] = ["devices", "login", NAME, "--to", str(self._login.parent), *signed]
        return wanted

    def point(self) -> None:
        """Write the broker's present address into the login."""
        login, url = json.loads(self._login.read_text()), urlsplit(self.access.device_url)
        login |= {"host": url.hostname, "port": url.port}
        self._login.write_text(json.dumps(login, indent=1) + "\n")

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {
            **environment,
            "BIOGATE_CANARY_LOGIN": str(self._login),
            "BIOGATE_CANARY_API_URL": environment["BIOGATE_API_URL"],
            "BIOGATE_CANARY_KEY_FILE": str(self._key),
            "BIOGATE_CANARY_HTTP_PORT": str(self.port),
        }
