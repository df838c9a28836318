"""Fetch the files of others that the pages load (htmx, uPlot), as `api/pages/package-lock.json` names them with hashes.

`make ready` and the image do this. Where the machine has no npm, a scratch environment brings one and is deleted after
use. This module needs the standard library only.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.lock import NODE, install_uv, logged
from deploy.stack.errors import StackError
from deploy.stack.paths import CHECKOUT, STACK

PAGES = CHECKOUT / "api" / "pages"
VENDOR = PAGES / "static" / "vendor"
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}
"""File in `node_modules` → the name under which the pages load it."""
ASKED = ("package.json", "package-lock.json")


def wanted() -> str:
    """Return what the stamp says if the files are those of the lock."""
    return "".join([*((PAGES / name).read_text() for name in ASKED), *FILES.values()])


def are_current() -> bool:
    stamp = VENDOR / "stamp"
    return stamp.is_file() and stamp.read_text() == wanted()


def fetch(log: Path) -> None:
    """Install the packages in a scratch folder and copy the files. Raises StackError with the end of the log."""
    with tempfile.TemporaryDirectory(dir=STACK) as place:
        npm, path = _npm(Path(place), log)
        for name in ASKED:
            shutil.copy(PAGES / name, place)
        quiet = ["--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier"]
        logged(log, [npm, "ci", *quiet, "--prefix", place], path=path)
        shutil.rmtree(VENDOR, ignore_errors=True)
        VENDOR.mkdir(parents=True)
        for source, name in FILES.items():
            shutil.copy(Path(place) / "node_modules" / source, VENDOR / name)
    (VENDOR / "stamp").write_text(wanted())


def _npm(place: Path, log: Path) -> tuple[str, str]:
    """Return an npm, and the PATH with which it finds its node."""
    path = os.environ.get("PATH", os.defpath)
    npm = shutil.which("npm")
    if npm is not None and shutil.which("node") is not None:
        return npm, path
    uv, own = install_uv(log), place / "node"
    logged(log, [uv, "venv", "--python", sys.executable, str(own)])
    locked = ["--require-hashes", "--no-build", "--requirements", str(NODE)]
    logged(log, [uv, "pip", "install", "--python", str(own / "bin" / "python"), *locked])
    return str(own / "bin" / "npm"), f"{own / 'bin'}{os.pathsep}{path}"


def main() -> int:
    log = STACK / "log" / "setup" / "assets.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    try:
        if not are_current():
            fetch(log)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
