"""`make lock` renews the locks: they name the versions, with hashes, that pip and uv may install.

There are three: one for uv itself, one for the programs (the image has nothing else), and one for the programs and the
tools that develop them. Each serves all Pythons and machines that Biogate knows. Its first lines have a digest of what
pyproject.toml asked for when the lock was made, so that `make check` needs no network to tell whether the two still
agree. This module needs the standard library only.
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
from typing import BinaryIO

from deploy.stack.errors import StackError, tail
from deploy.stack.paths import CHECKOUT, STACK, short

UV = CHECKOUT / "deploy" / "requirements-uv.txt"
RUNTIME = CHECKOUT / "deploy" / "requirements.txt"
DEVELOPMENT = CHECKOUT / "deploy" / "requirements-dev.txt"
LOCKS = (UV, RUNTIME, DEVELOPMENT)

INSTALLED_UV = STACK / "uv"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP = [sys.executable if importlib.util.find_spec("pip") else os.path.realpath(sys.executable), "-m", "pip"]
"""The machine's pip: .venv has none, and its Python is a link to the machine's."""
HEAD = "# Made by `make lock` from what pyproject.toml asks for, of which this is the digest:\n# {digest}\n"


def python() -> str:
    """Return the oldest Python that Biogate runs with, such as 3.11."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return str(project["requires-python"]).removeprefix(">=")


def wanted(lock: Path) -> list[str]:
    """Return the requirements that a lock was made to meet; those of the build backend count as needed to run."""
    if lock == UV:
        return ["uv"]
    described = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    project = described["project"]
    development = project["optional-dependencies"]["dev"] if lock == DEVELOPMENT else []
    return [*described["build-system"]["requires"], *project["dependencies"], *development]


def head(lock: Path) -> str:
    """Return the first lines that a lock has as long as pyproject.toml asks for the same."""
    asked = "\n".join([python(), *sorted(wanted(lock))])
    return HEAD.format(digest=hashlib.sha256(asked.encode()).hexdigest())


def outdated() -> list[Path]:
    """Return the locks that were made for another pyproject.toml."""
    return [lock for lock in LOCKS if not lock.is_file() or not lock.read_text().startswith(head(lock))]


def pins(text: str) -> dict[str, dict[str, str]]:
    """Read a lock: package → version → its hashes; a package may have one version for each range of Pythons."""
    found: dict[str, dict[str, str]] = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", text, re.MULTILINE):
        found.setdefault(name, {})[version] = " ".join(sorted(re.findall(r"sha256:[0-9a-f]{64}\b", rest)))
    return found


def changes(before: str, after: str) -> list[str]:
    """Compare two texts of a lock and return a line for each package that differs."""
    old, new = pins(before), pins(after)
    lines = []
    for name in sorted({*old, *new}):
        versions = [", ".join(side.get(name, {})) for side in (old, new)]
        if name not in old:
            lines.append(f"{name} {versions[1]} added")
        elif name not in new:
            lines.append(f"{name} {versions[0]} removed")
        elif versions[0] != versions[1]:
            lines.append(f"{name} {versions[0]} -> {versions[1]}")
        elif old[name] != new[name]:
            lines.append(f"{name} {versions[0]}: other files of the same version")
    return lines


def logged(log: Path, output: BinaryIO, command: list[str], given: str = "") -> None:
    """Run a command with its output in a log; raise StackError with the end of the log if the command fails."""
    output.write(f"$ {' '.join(command)}\n".encode())
    output.flush()
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment(), input=given.encode(), stdout=output, stderr=output, check=False
    )
    if done.returncode != 0:
        raise StackError(
            f"`{' '.join(command[:4])} …` failed (exit code {done.returncode}). The log, {short(log)}, ends with:"
            + "".join(f"\n    {line}" for line in tail(log))
        )


def environment() -> dict[str, str]:
    """Return the environment for pip and uv, in which uv knows the index and the authorities that pip knows."""
    told = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    if AUTHORITIES.exists():
        told["UV_SYSTEM_CERTS"] = "1"
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    for section in ("global", "install", ":env:"):  # pip's order: the later is the stronger
        for option, variable in (
            ("index-url", "UV_DEFAULT_INDEX"),
            ("extra-index-url", "UV_INDEX"),
            ("trusted-host", "UV_INSECURE_HOST"),
            ("cert", "SSL_CERT_FILE"),
        ):
            if found := re.search(rf"^{section}\.{option}='(.+)'$", listed, re.MULTILINE):
                told[variable] = found[1].replace("\\n", " ")
    return told | os.environ


def install_uv(log: Path, output: BinaryIO) -> str:
    """Install the locked uv below .stack with the machine's pip, unless it is there; return the path of its program."""
    stamp = INSTALLED_UV / "stamp"
    wanted_stamp = UV.read_text() + platform.machine()
    if not stamp.is_file() or stamp.read_text() != wanted_stamp:
        shutil.rmtree(INSTALLED_UV, ignore_errors=True)
        options = ["--target", str(INSTALLED_UV), "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(UV)]
        logged(log, output, [*PIP, "install", "--quiet", "--root-user-action=ignore", *options])
        stamp.write_text(wanted_stamp)
    return str(INSTALLED_UV / "bin" / "uv")


def resolve(uv: str, log: Path, output: BinaryIO, place: Path, *, keep: bool) -> None:
    """Write all locks anew into a folder; those that are there now are the ones to prefer if `keep`."""
    for lock in LOCKS:
        made = place / lock.name
        if keep and lock.exists():
            shutil.copy(lock, made)
        options = ["--universal", "--python-version", python(), "--generate-hashes", "--only-binary=:all:"]
        if lock == DEVELOPMENT:
            options += ["--constraints", str(place / RUNTIME.name)]
        if not keep:
            options.append("--upgrade")
        command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options]
        logged(log, output, [*command, "--output-file", str(made), "-"], "\n".join(wanted(lock)))
        made.write_text(head(lock) + made.read_text())


def renew(*, keep: bool) -> None:
    """Renew all locks or, after an error, none, and print what has changed."""
    log = STACK / "log" / "setup" / "lock.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        resolve(install_uv(log, output), log, output, place, keep=keep)
        for lock in LOCKS:
            before = lock.read_text() if lock.exists() else ""
            after = (place / lock.name).read_text()
            lock.write_text(after)
            differences = changes(before, after)
            print(f"{short(lock)}: {len(pins(after))} packages, {len(differences)} changed")
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
            print(f"pyproject.toml asks for something else than {names} has: run `make lock ARGS=--keep`")
            return 1
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
