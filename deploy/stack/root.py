"""Builds the private Debian root: a small Debian 13 with the tested servers, by mmdebstrap under `.stack/root`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.stack.errors import with_log
from deploy.stack.paths import ROOT
from deploy.stack.process import run_logged

SUITE = "trixie"
PACKAGES = ("postgresql-17-timescaledb", "mosquitto", "mosquitto-clients")
EXCLUDES = (  # 280 MB instead of 730; without LLVM there is no jit, and deploy/postgresql.conf says so
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/*/libz3*",
    "/usr/lib/llvm-*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
)
RECIPE = hashlib.sha256(repr((SUITE, PACKAGES, EXCLUDES)).encode()).hexdigest()[:16]
MARK = "etc/biogate-root"
"""A file in the root that names the recipe it was built by."""


def is_current() -> bool:
    """Whether the root is there, whole and built by this recipe."""
    mark = ROOT / MARK
    return mark.is_file() and mark.read_text() == RECIPE


def build(log: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Build the root under another name and rename it when complete; an older root's data move over. Raises StackError.

    `BIOGATE_DEBIAN_MIRROR` names a mirror other than Debian's own.
    """
    new = ROOT.with_name("root.new")
    remove(new)
    new.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "mmdebstrap", "--variant=apt", f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDES),
    ]  # fmt: skip
    mirror = [environment["BIOGATE_DEBIAN_MIRROR"]] if environment.get("BIOGATE_DEBIAN_MIRROR") else []
    if os.geteuid() == 0:
        # In a mount namespace of its own, all mounts are gone with it, also if it is killed.
        own_mounts = ["unshare", "--mount"] if _may_unshare() else []
        failed = run_logged([*own_mounts, *command, "--mode=root", SUITE, str(new), *mirror], log)
    else:
        failed = _unpacked([*command, "--mode=unshare", "--format=tar", SUITE, "-", *mirror], new, log)
    if failed:
        raise with_log(f"mmdebstrap failed (exit code {failed})", log)
    (new / MARK).write_text(RECIPE)
    if (ROOT / "srv").is_dir():
        (new / "srv").rmdir()
        (ROOT / "srv").rename(new / "srv")
    remove(ROOT)
    new.rename(ROOT)


def remove(path: Path) -> None:
    """Remove a directory tree, but nothing mounted below it."""
    if path.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)


def _unpacked(command: list[str], target: Path, log: Path) -> int:
    """Build without root rights, through a tar, so that every file is the user's own and can be removed again."""
    target.mkdir()
    unpack = ["tar", "-x", "-C", str(target), "--no-same-owner", "--exclude=./dev/*"]
    with log.open("ab") as output:
        packed = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output)
        unpacked = subprocess.run(unpack, stdin=packed.stdout, stdout=output, stderr=output, check=False)
    return packed.wait() or unpacked.returncode


def _may_unshare() -> bool:
    return shutil.which("unshare") is not None and (
        subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    )
