"""Finds PostgreSQL's client programs: the machine's own if they are of the tested version, else the private root's, run
by its loader and not in it, so that they may write where the user wants."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from deploy.stack.choose import POSTGRES_TESTED, version
from deploy.stack.errors import StackError
from deploy.stack.paths import ROOT

USUAL = Path(f"usr/lib/postgresql/{POSTGRES_TESTED}/bin")


def program(name: str) -> list[str]:
    """The command line that runs a program, without its arguments. Raises StackError."""
    for found in (shutil.which(name, path=f"/{USUAL}"), shutil.which(name)):
        if found is not None and _version(found)[:1] == (POSTGRES_TESTED,):
            return [found]
    own = ROOT / USUAL / name
    loader = next(iter(sorted((ROOT / "usr").glob("lib*/ld-linux*.so.?"))), None)
    if loader is None or not own.exists():
        raise StackError(f"there is no {name} of PostgreSQL {POSTGRES_TESTED}: install postgresql-client, or `make up`")
    libraries = ":".join(map(str, sorted((ROOT / "usr" / "lib").glob("*-linux-gnu*"))))
    return [str(loader), "--library-path", libraries, str(own)]


def connection(url: str, environment: Mapping[str, str] = os.environ) -> tuple[str, dict[str, str]]:
    """The URL without its password, and an environment with the password: every user can see a command line."""
    parts = urlsplit(url)
    name, _, host = parts.netloc.rpartition("@")
    user, _, password = name.partition(":")
    given = {**environment, **({"PGPASSWORD": unquote(password)} if password else {})}
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host)), given


def _version(path: str) -> tuple[int, ...]:
    return version(subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout)
