"""Chooses the servers of the local stack: given by the environment, this machine's own, or private ones; and says why.

Standard library only: it runs before there is a virtual environment.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.stack import root
from deploy.stack.conf import plugin_path
from deploy.stack.errors import StackError
from deploy.stack.paths import DATA, STACK
from deploy.stack.place import Place, machine, private

MOSQUITTO_TESTED = (2, 0, 21)
POSTGRES_TESTED = 17
TIMESCALE_TESTED = (2, 19)


class Source(StrEnum):
    ENVIRONMENT = "environment"
    MACHINE = "machine"
    PRIVATE = "private"


@dataclass(frozen=True)
class Choice:
    """A chosen server. `where` is the URL, the program (Mosquitto) or the directory of programs (PostgreSQL)."""

    title: str
    source: Source
    where: str
    reason: str

    @property
    def place(self) -> Place:
        """The place in which to run the server, if the environment did not name one. Raises StackError while there is
        no private root."""
        assert self.source is not Source.ENVIRONMENT
        if self.source is Source.PRIVATE and not root.is_current():
            raise StackError("there is no private Debian root yet, or an old one: run `python3 -m deploy.bootstrap`")
        return private() if self.source is Source.PRIVATE else machine()

    def __str__(self) -> str:
        return f"{self.title}: {self.reason}"


def mosquitto(environment: Mapping[str, str] = os.environ, *, given: bool = True) -> Choice:
    """Choose the broker. `given` false ignores the environment's broker: for tests that stop and kill theirs."""
    title = "Mosquitto"
    if given and (url := environment.get("BIOGATE_MQTT_URL")):
        return Choice(title, Source.ENVIRONMENT, url, "the one named by BIOGATE_MQTT_URL")
    objection = "none is installed"
    if program := _which("mosquitto", environment, "/usr/sbin", "/usr/local/sbin"):
        found = version(_output(str(program), "-h"))
        if found < MOSQUITTO_TESTED:
            objection = f"{program} is {dotted(found)}, older than {dotted(MOSQUITTO_TESTED)}"
        elif plugin_path(None) is None:
            objection = f"{program} has no dynamic security plugin"
        elif not (objection := _unusable("mosquitto")):
            return Choice(title, Source.MACHINE, str(program), f"{program}, version {dotted(found)}")
    return Choice(title, Source.PRIVATE, "/usr/sbin/mosquitto", f"the private one, as {objection}")


def postgres(environment: Mapping[str, str] = os.environ, *, given: bool = True) -> Choice:
    """Choose the database server. `given` as in `mosquitto`."""
    title = "PostgreSQL"
    if given and (url := environment.get("BIOGATE_DATABASE_URL")):
        return Choice(title, Source.ENVIRONMENT, url, "the one named by BIOGATE_DATABASE_URL")
    usual = f"/usr/lib/postgresql/{POSTGRES_TESTED}/bin"
    objection = "none is installed"
    if program := _which("postgres", {"PATH": usual}) or _which("postgres", environment):
        objection, timescale = _postgres_objection(program)
        if not objection:
            reason = f"{program}, version {POSTGRES_TESTED} with TimescaleDB {timescale}"
            return Choice(title, Source.MACHINE, str(program.resolve().parent), reason)
    return Choice(title, Source.PRIVATE, usual, f"the private one, as {objection}")


def _postgres_objection(program: Path) -> tuple[str, str]:
    """The objection to this PostgreSQL, or an empty text, and the version of its TimescaleDB."""
    found = version(_output(str(program), "--version"))
    if found[:1] != (POSTGRES_TESTED,):
        return f"{program} is version {dotted(found)}, not {POSTGRES_TESTED}", ""
    share = _output(str(program.resolve().parent / "pg_config"), "--sharedir").strip()
    control = Path(share or f"/usr/share/postgresql/{POSTGRES_TESTED}") / "extension" / "timescaledb.control"
    if not control.is_file():
        return f"{program} has no TimescaleDB", ""
    match = re.search(r"default_version\s*=\s*'([^']*)'", control.read_text())
    timescale = match[1] if match else "0"
    if version(timescale) < TIMESCALE_TESTED:
        return f"TimescaleDB {timescale} of {program} is older than {dotted(TIMESCALE_TESTED)}", timescale
    return _unusable("postgres"), timescale


def _unusable(user: str) -> str:
    """Why root cannot run a server of this machine under the server's own user here; empty if it can."""
    if os.geteuid() != 0:
        return ""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return f"the machine has no user {user} to run its server under"
    DATA.mkdir(parents=True, exist_ok=True)
    reach = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "test", "-x", str(DATA)]
    if subprocess.run(reach, check=False).returncode != 0:
        return f"the machine's user {user} may not enter {STACK}"
    return ""


def version(text: str) -> tuple[int, ...]:
    """The first dotted number in a text, as in `postgres (PostgreSQL) 17.5 (Debian 17.5-1)`; () if there is none."""
    match = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def dotted(number: tuple[int, ...]) -> str:
    return ".".join(map(str, number)) or "unknown"


def _which(program: str, environment: Mapping[str, str], *more: str) -> Path | None:
    found = shutil.which(program, path=os.pathsep.join([environment.get("PATH", ""), *more]))
    return Path(found) if found else None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except OSError:
        return ""
