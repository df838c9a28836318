"""`python -m deploy.lock` writes deploy/requirements.txt: what the image is made of, to the byte.

Exact versions, as pip resolves them now from pyproject.toml, each with the hashes of the wheels for the image's Python
on both machines that it is made for. The build takes nothing else, and compiles nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from deploy.stack.paths import CHECKOUT

LOCK = CHECKOUT / "deploy" / "requirements.txt"
PYTHON = "3.11"
MACHINES = ("x86_64", "aarch64")
GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Wheels that run on Debian 12, glibc 2.36; pip wants them all named."""
HEAD = "# Made by `python -m deploy.lock`: what the image is made of, with hashes for x86_64 and aarch64.\n"


def wanted() -> list[str]:
    """What pyproject.toml asks for, to run and to be built."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    return [*project["build-system"]["requires"], *project["project"]["dependencies"]]


def resolve(requirements: list[str], machine: str) -> list[dict[str, Any]]:
    """What pip would install there, by its report."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        platforms = [word for glibc in GLIBC for word in ("--platform", f"{glibc}_{machine}")]
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
                *("--only-binary=:all:", "--python-version", PYTHON, *platforms),
                *("--target", directory, "--report", str(report), *requirements),
            ],
            check=True,
        )
        return list(json.loads(report.read_text())["install"])


def lock() -> str:
    """The file's content: the versions of the first machine, with the hashes of all."""
    first = resolve(wanted(), MACHINES[0])
    pins = sorted(f"{found['metadata']['name'].lower()}=={found['metadata']['version']}" for found in first)
    hashes: dict[str, list[str]] = {pin: [] for pin in pins}
    for found in [*first, *(other for machine in MACHINES[1:] for other in resolve(pins, machine))]:
        pin = f"{found['metadata']['name'].lower()}=={found['metadata']['version']}"
        digest = found["download_info"]["archive_info"]["hashes"]["sha256"]
        if digest not in hashes[pin]:
            hashes[pin].append(digest)
    return HEAD + "".join(
        " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in digests)]) + "\n"
        for pin, digests in hashes.items()
    )


if __name__ == "__main__":
    LOCK.write_text(lock())
    print(f"{LOCK.relative_to(CHECKOUT)}: {LOCK.read_text().count('==')} packages")
