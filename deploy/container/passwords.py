"""Passwords that nobody has to think of: `python -m deploy.container.passwords [--pgpass] DIR/LOGIN.password ...`

Makes the files that are missing, and leaves alone those that are there. With `--pgpass`, `pgpass` beside each of them
has the same as PGPASSFILE wants it, for programs that log in at the database as LOGIN.
"""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path


def make(path: Path, *, pgpass: bool = False) -> None:
    """The password of `path`, and with `pgpass` that file of its directory."""
    if not path.exists():
        write(path, secrets.token_urlsafe(24))
    if pgpass:
        write(path.with_name("pgpass"), f"*:*:*:{path.stem}:{path.read_text().strip()}")


def write(path: Path, line: str) -> None:
    """The whole file or none, on disk, for its owner alone."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.container.passwords")
    parser.add_argument("files", nargs="+", type=Path, metavar="DIR/LOGIN.password")
    parser.add_argument("--pgpass", action="store_true", help="and DIR/pgpass, for PGPASSFILE")
    given = parser.parse_args()
    for path in given.files:
        make(path, pgpass=given.pgpass)


if __name__ == "__main__":
    main()
