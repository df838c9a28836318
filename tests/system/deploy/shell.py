"""The shell of somebody who reads our pages and types what they print."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.backup import tools
from deploy.stack.paths import CHECKOUT, ROOT
from tests.system.deploy.conftest import Up

KEPT = re.compile(r"set -a|export |\w+\(\) \{")


def install(program: Path, line: str) -> None:
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)


class Shell:
    """A shell in a directory of its own that keeps its variables from one block to the next, as a terminal does.

    `more`: what else the pages print and is called otherwise here. `at`: where the shell is, if not there.
    """

    def __init__(self, up: Up, directory: Path, more: Mapping[str, str] | None = None, at: Path | None = None) -> None:
        self.up, self.directory, self.before = up, directory, ""
        self.at = at or directory
        self.printed = {
            ".stack/env": str(up.paths.env),
            ".stack/secrets": str(up.paths.secrets),
            ".venv/bin/python": sys.executable,
            **(more or {}),
        }
        programs = directory / "bin"
        programs.mkdir()
        for name in ("mosquitto_pub", "mosquitto_sub", "openssl"):
            if shutil.which(name) is None:  # the private root has them; they run with its libraries
                lib = f"{ROOT}/usr/lib/x86_64-linux-gnu"
                line = f'exec {ROOT}/lib64/ld-linux-x86-64.so.2 --library-path {lib} {ROOT}/usr/bin/{name} "$@"'
                install(programs / name, line)
        if shutil.which("psql") is None:
            install(programs / "psql", f'exec {shlex.join(tools.program("psql"))} "$@"')
        self.environment = {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "HOME": str(directory)}

    def run(self, block: str, timeout_s: float = 90) -> str:
        """What it says; fails if it does."""
        done = self.try_(block, timeout_s)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def try_(self, block: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        for printed, ours in self.printed.items():
            block = block.replace(printed, ours)
        done = subprocess.run(
            ["sh", "-ec", f"{self.before}\n{block}"], cwd=self.at, env=self.environment, timeout=timeout_s,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            self.before = "\n".join([self.before, *(line for line in block.splitlines() if KEPT.match(line))])
        return done
