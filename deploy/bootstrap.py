"""Make ready what `make up` and `make test` need: Debian packages, the virtual environment, the private Debian root,
and the files of others that the pages load.

Runs under the machine's own Python, before there is a virtual environment: standard library only. Python packages come
from the locks, by uv, and from nowhere else. Does nothing, in a tenth of a second, when all is there.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deploy import assets
from deploy.lock import DEVELOPMENT, UV, install_uv, logged
from deploy.stack import choose, root
from deploy.stack.errors import StackError, tail, with_log
from deploy.stack.local import held, hold
from deploy.stack.paths import CHECKOUT, MAIN, STACK, Paths, short
from deploy.stack.process import run_logged, try_lock

VENV = CHECKOUT / ".venv"
STAMP = VENV / "biogate-stamp"
PANGO = {"libpango-1.0-0": "libpango-1.0.so.0", "libpangoft2-1.0-0": "libpangoft2-1.0.so.0"}
"""Debian packages by which reports become PDF, and the library of each: Pango lays the text out."""
BROWSER = ["chromium", "fonts-dejavu-core"]
"""Debian packages that the tests of pages need: 15 s."""
LOGS = STACK / "log" / "setup"
FONTS = Path("/usr/share/fonts/truetype/dejavu")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def main() -> int:
    """Make all ready; with the argument `browser`, also the browser of the tests of pages."""
    try:
        STACK.mkdir(exist_ok=True)
        alone()
        set_up()
        if sys.argv[1:] == ["browser"] and shutil.which(BROWSER[0]) is None:
            install_packages(BROWSER)
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; what is unfinished is made anew next time.", file=sys.stderr)
        return 130
    return 0


def alone() -> None:
    """Wait for another set-up in this checkout, `make test` beside `make up`; the lock ends with this process."""
    lock = os.open(STACK / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not try_lock(lock):
        print("Waiting for another set-up in this checkout to end.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def set_up() -> None:
    wanted = venv_stamp()
    venv_needed = not STAMP.is_file() or STAMP.read_text() != wanted or not (VENV / "bin" / "python").exists()
    choices = [choose.postgres(), choose.mosquitto()]
    is_private = any(choice.source is choose.Source.PRIVATE for choice in choices)
    root_needed = is_private and not root.is_current()
    install_packages(missing_packages(venv=venv_needed, build=root_needed, run=is_private))
    jobs: dict[str, tuple[Path, Callable[[Path], None]]] = {}
    if root_needed:
        require_idle("the private Debian root is to be built anew")
        jobs["private Debian root (PostgreSQL, TimescaleDB, Mosquitto)"] = (LOGS / "root.log", root.build)
    if venv_needed:
        if VENV.exists():
            require_idle("pyproject.toml or a lock has changed, and .venv is to be built anew")
        jobs["Python packages in .venv"] = (LOGS / "venv.log", lambda log: build_venv(log, wanted))
    if not assets.are_current():
        jobs["htmx and uPlot for the pages"] = (LOGS / "assets.log", assets.fetch)
    if jobs:
        in_parallel(jobs)


def venv_stamp() -> str:
    """Return a digest of what the virtual environment depends on: the interpreter, the locks and our own packaging."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    packaging = (project["build-system"], project["project"], project.get("tool", {}).get("setuptools", {}))
    locks = [path.read_text() for path in (UV, DEVELOPMENT)]
    parts = (sys.version, os.path.realpath(sys.executable), packaging, locks, str(CHECKOUT))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def build_venv(log: Path, stamp: str) -> None:
    """Build .venv from scratch, so that no package stays that is no longer asked for; the stamp says it is complete.

    What is installed is in the lock, with its hash; for our own package, which is built here, nothing is downloaded.
    """
    root.remove(VENV)
    uv = install_uv(log)
    pip = [uv, "pip", "install", "--python", str(VENV / "bin" / "python")]
    locked = ["--require-hashes", "--no-build", "--compile-bytecode", "--requirements", str(DEVELOPMENT)]
    logged(log, [uv, "venv", "--python", sys.executable, str(VENV)])
    logged(log, [*pip, *locked])
    logged(log, [*pip, "--offline", "--no-deps", "--no-build-isolation", "--editable", "."])
    STAMP.write_text(stamp)


def missing_packages(*, venv: bool, build: bool, run: bool) -> list[str]:
    """Debian packages that are needed for the work ahead and not there."""
    is_root = os.geteuid() == 0
    missing = {
        "python3-pip": venv and importlib.util.find_spec("pip") is None,
        "mmdebstrap": build and shutil.which("mmdebstrap") is None,
        "debian-archive-keyring": build and not KEYRING.exists(),
        "uidmap": build and not is_root and shutil.which("newuidmap") is None,
        "bubblewrap": run and not is_root and shutil.which("bwrap") is None,
    }
    missing |= {name: not _can_load(library) for name, library in PANGO.items()}
    missing["fonts-dejavu-core"] = not FONTS.is_dir()
    return [name for name, is_missing in missing.items() if is_missing]


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install_packages(names: list[str]) -> None:
    """With apt-get, if we are root; else say what to run."""
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise StackError(f"This needs a Debian machine, or these packages of yours: {' '.join(names)}")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    if os.geteuid() != 0:
        raise StackError(
            f"Debian packages are missing. Run this, then again what you ran:\n\n    sudo {' '.join(command)}"
        )
    print(f"Installing the Debian packages {', '.join(names)}", flush=True)
    log = LOGS / "apt.log"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

    def apt(*argv: str) -> bool:
        return run_logged(argv, log, env=environment) == 0

    # The package lists of a fresh machine are empty or old; only then are they fetched.
    if not (apt(*command) or (apt("apt-get", "update") and apt(*command)) or apt(*command)):
        raise with_log(f"`{' '.join(command)}` failed", log)


def require_idle(why: str) -> None:
    """Refuse to pull the floor from under a running stack."""
    if lock := held():
        raise StackError(f"{why}, but {short(lock)} is held by a running stack; stop it first")
    os.close(hold(Paths(MAIN)))


def in_parallel(jobs: dict[str, tuple[Path, Callable[[Path], None]]]) -> None:
    """Run the jobs at once and show how they come along; the first error is raised when all have ended."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for log, _ in jobs.values():
        log.unlink(missing_ok=True)
    began = time.monotonic()
    print("First set-up: about a minute, and later only when something has changed.", flush=True)
    with ThreadPoolExecutor() as pool:
        running = {name: (log, pool.submit(work, log)) for name, (log, work) in jobs.items()}
        show_progress(running, began)
    for _, future in running.values():
        future.result()


def show_progress(running: dict[str, tuple[Path, Future[None]]], began: float) -> None:
    """On a terminal a line that changes every half second, else a line every ten; and one for each job that is done."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 1
    left = dict(running)
    clear = "\r\033[K" if terminal else ""
    next_line = began + 10
    while left:
        time.sleep(0.5)
        now = time.monotonic()
        for name in [name for name, (_, future) in left.items() if future.done()]:
            _, future = left.pop(name)
            outcome = "ready" if future.exception() is None else "FAILED"
            print(f"{clear}  {name}: {outcome} after {now - began:.0f} s", flush=True)
        status = " | ".join(f"{log.stem}: {(tail(log, 1) or ['…'])[0].strip()}" for log, _ in left.values())
        if terminal and left:
            print(f"\r\033[K  {now - began:3.0f} s  {status}"[:width], end="", flush=True)
        elif left and now >= next_line:
            print(f"  {now - began:3.0f} s  {status}"[:200], flush=True)
            next_line += 10


if __name__ == "__main__":
    sys.exit(main())
