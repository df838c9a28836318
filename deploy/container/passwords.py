"""Makes files with passwords, for containers: `biogate passwords`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from schema.private import write_over


def make(path: Path, *, pgpass: bool = False) -> None:
    """Make the password of the login `path.stem`, unless there is one. With `pgpass`, the file of that name beside it
    has the same as PGPASSFILE wants it, for programs that log in at the database."""
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
