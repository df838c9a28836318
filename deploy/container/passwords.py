"""Passwords that nobody has to think of: `python -m deploy.container.passwords [--pgpass] DIR/LOGIN.password ...`

Makes the files that are missing, and leaves alone those that are there. With `--pgpass`, `pgpass` beside each of them
has the same as PGPASSFILE wants it, for programs that log in at the database as LOGIN.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from schema.private import write_over


def make(path: Path, *, pgpass: bool = False) -> None:
    """The password of `path`, and with `pgpass` that file of its directory."""
    if not path.exists():
        write_over(path, f"{secrets.token_urlsafe(24)}\n")
    if pgpass:
        write_over(path.with_name("pgpass"), f"*:*:*:{path.stem}:{path.read_text().strip()}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.container.passwords")
    parser.add_argument("files", nargs="+", type=Path, metavar="DIR/LOGIN.password")
    parser.add_argument("--pgpass", action="store_true", help="and DIR/pgpass, for PGPASSFILE")
    given = parser.parse_args()
    for path in given.files:
        make(path, pgpass=given.pgpass)


if __name__ == "__main__":
    main()
