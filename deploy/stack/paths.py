"""The paths of the local stack's files, all under `.stack/` in the checkout."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STACK = CHECKOUT / ".stack"
ROOT = STACK / "root"
"""The private Debian root."""
DATA = STACK / "data"
"""Data directories of servers that run outside the chroot; servers in it keep theirs in ROOT/srv."""
MOSQUITTO_CONF = CHECKOUT / "mosquitto.conf"
POSTGRES_CONF = CHECKOUT / "deploy" / "postgresql.conf"
MAIN = "main"
"""Name of the stack that `make up` runs; tests run others beside it."""


BIN = STACK / "bin"
"""A directory for PATH, which has the command `biogate` and nothing else."""
BIOGATE = (sys.executable, "-m", "deploy.command")
"""The command `biogate`, from this checkout."""


@dataclass(frozen=True)
class Paths:
    """The files of one named stack."""

    name: str

    @property
    def log(self) -> Path:
        return STACK / "log" / self.name

    @property
    def run(self) -> Path:
        """Lock files: one for the stack, one for each of its processes."""
        return STACK / "run" / self.name

    @property
    def secrets(self) -> Path:
        """Keys, passwords and certificates. They belong to the data: neither is of use without the other."""
        return self._own("secrets")

    @property
    def key(self) -> Path:
        """An API key of the organization `main`; beside it, as `key.header`, the header for `curl -H @`."""
        return self._own("key")

    @property
    def link(self) -> Path:
        """The link that logs a browser in once; each start makes a new one."""
        return self._own("link")

    @property
    def env(self) -> Path:
        """The endpoints as shell assignments, there only while the stack runs."""
        return self._own("env")

    @property
    def owner(self) -> Path:
        """The URL of the database with its owner's login, there only while the stack runs."""
        return self._own("owner.url")

    @property
    def prometheus(self) -> Path:
        """Configuration of a Prometheus for this stack."""
        return self._own("prometheus.yml")

    def _own(self, file: str) -> Path:
        return STACK / (file if self.name == MAIN else f"{self.name}.{file}")


def short(path: Path) -> str:
    """`path` as seen from the checkout, for messages."""
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)
