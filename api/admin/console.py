"""What the commands of this folder have in common beside schema/console.py: one transaction, organizations, secrets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from schema import console
from schema.console import Answer, Refused
from schema.private import write_new, write_over

Organization = Annotated[str, typer.Option(metavar="NAME", help="which organization")]


def run(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run `work` in a transaction and return its result. If the database refuses, the command ends with words."""
    return console.run(work, in_transaction=True)


async def organization_id(connection: asyncpg.Connection, name: str) -> int:
    """The id of the organization of this name. Raises Refused if there is none."""
    found = await connection.fetchval("select organization_id from organizations where name = $1", name)
    if found is None:
        raise Refused(f"there is no organization {name}: make it with `biogate accounts organization {name}`")
    return int(found)


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """A file for its owner alone, on disk; one that was not there, unless it is to be replaced. Raises Refused."""
    try:
        (write_over if replace else write_new)(path, text)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}") from error
