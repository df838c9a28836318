"""Passwords that nobody has to think of: `biogate passwords [--pgpass] DIR/LOGIN.password…`

Makes the files that are missing, and leaves alone those that are there. With `--pgpass`, `pgpass` beside each of them
has the same as PGPASSFILE wants it, for programs that log in at the database as LOGIN.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from schema.private import write_over


def make(path: Path, *, pgpass: bool = False) -> None:
    """The password of `path`, and with `pgpass` that file of its directory."""
    if not path.exists():
        write_over(path, f"{secrets.token_urlsafe(24)}\n")
    if pgpass:
        write_over(path.with_name("pgpass"), f"*:*:*:{path.stem}:{path.read_text().strip()}\n")


def main(
    files: Annotated[list[Path], typer.Argument(metavar="DIR/LOGIN.password…", help="files to make")],
    *,
    pgpass: Annotated[bool, typer.Option("--pgpass", help="and DIR/pgpass, for PGPASSFILE")] = False,
) -> None:
    """Make files with passwords that nobody has to think of. What is there stays as it is."""
    for path in files:
        make(path, pgpass=pgpass)
