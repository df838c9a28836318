"""What the commands of `python -m api.admin` have in common: who, the database, errors in words, files for secrets."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer
from pydantic import Field, PostgresDsn, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Answer = TypeVar("Answer")

OWN_WORDS = {"P0002", "55000", "BG403"}
"""SQLSTATEs whose messages are our functions' own words."""
SCHEMA = "the schema is not current: run python -m schema.migrate"
OTHER_ERRORS = {
    "23505": "that name is taken",
    "42501": "this database login may not: use the owner's, as python -m schema.migrate does",
    "42P01": SCHEMA,
    "42703": SCHEMA,
    "42883": SCHEMA,
    "3F000": SCHEMA,
}
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
SURROUNDINGS = "is not set; while `make up` runs: set -a; . .stack/env; set +a"


class Refused(Exception):
    """What was asked cannot be done; says why."""


class Surroundings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: PostgresDsn = Field(repr=False)


def words(text: str) -> str:
    if not text.strip() or not text.strip().isprintable():
        raise typer.BadParameter("is empty, or has characters that cannot be printed")
    return text.strip()


Who = Annotated[
    str,
    typer.Option(
        parser=words, metavar="NAME", default_factory=getpass.getuser, help="who does it, for the audit trail"
    ),
]
Why = Annotated[str, typer.Option(parser=words, metavar="TEXT", help="the reason, for the audit trail")]
Organization = Annotated[str, typer.Option(metavar="NAME", help="which organization")]


def run(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Answer]]) -> Answer:
    """What `work` returns, given a connection of the owner in a transaction; ends the command with words and status 1
    if it cannot be done."""
    try:
        url = str(Surroundings().database_url)
    except ValidationError as error:
        for problem in error.errors():
            said = SURROUNDINGS if problem["type"] == "missing" else problem["msg"]
            typer.echo(f"BIOGATE_{'_'.join(map(str, problem['loc'])).upper()}: {said}", err=True)
        raise typer.Exit(2) from None

    async def connected() -> Answer:
        connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
        try:
            async with connection.transaction():
                return await work(connection)
        finally:
            await connection.close(timeout=5)

    try:
        return asyncio.run(connected())
    except Refused as error:
        stop(str(error))
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        said = str(error.args[0])  # without the detail, which may have a whole row in it
        stop(said if state in OWN_WORDS else OTHER_ERRORS.get(state, f"database: {state}: {said}"))
    except FAILURES as error:
        stop(f"database: {error or type(error).__name__}")


async def organization_id(connection: asyncpg.Connection, name: str) -> int:
    """Raises Refused if there is none."""
    found = await connection.fetchval("select organization_id from organizations where name = $1", name)
    if found is None:
        raise Refused(f"there is no organization {name}: make it with `python -m api.admin organization {name}`")
    return int(found)


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """A file for its owner alone, on disk; one that was not there, unless it is to be replaced. Raises Refused."""
    new = path.with_name(f".{path.name}.new") if replace else path
    try:
        if replace:
            new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            new.replace(path)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}") from error


def stop(text: str) -> NoReturn:
    """End the command: it was used rightly, but cannot be done."""
    typer.echo(plain(text), err=True)
    raise typer.Exit(1)


def tell(text: str) -> None:
    typer.echo(plain(text))


def table(headings: str, rows: Iterable[Iterable[object]]) -> None:
    """A line of headings, then the rows: columns for a terminal, else told apart by tabs, for `cut -f`."""
    lines = [headings.split("|"), *([plain(str(cell)) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        typer.echo("\n".join(map("\t".join, lines)))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def plain(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def time(value: datetime | None) -> str:
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
