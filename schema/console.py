"""What the commands at the database have in common: who and why, settings, the connection, errors in words, tables."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer
from pydantic import Field, PostgresDsn, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema.command_line import plain
from schema.errors import BiogateError, Misused
from schema.owner import owner_url
from schema.times import parse_instant

Settings = TypeVar("Settings", bound=BaseSettings)
Answer = TypeVar("Answer")

OWN_WORDS = {"P0002", "55000", "BG403"}
"""SQLSTATEs whose messages are our functions' own words."""
SCHEMA = "the schema is not current: run biogate migrate"
OTHER_ERRORS = {
    "23514": "a name that cannot be used: 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit",
    "23505": "that name is taken",
    "23503": "there is no such cell: no gateway of that name has run on this database",
    "42501": "this database login may not: use the owner's, as biogate migrate does",
    "42P01": SCHEMA,
    "42703": SCHEMA,
    "42883": SCHEMA,
    "3F000": SCHEMA,
}
"""SQLSTATE → what it means for whoever gives a command."""

SURROUNDINGS = "; while `make up` runs: set -a; . .stack/env; set +a"
"""A hint to the local stack's settings, for a person who has set none."""


def words(text: str) -> str:
    if not text.strip() or not text.strip().isprintable():
        raise typer.BadParameter("is empty, or has characters that cannot be printed")
    return text.strip()


def instant(text: str) -> datetime:
    """Parse an option that is a time."""
    try:
        return parse_instant(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Who = Annotated[
    str,
    typer.Option(
        parser=words, metavar="NAME", default_factory=getpass.getuser, help="who does it, for the audit trail"
    ),
]
Why = Annotated[str, typer.Option(parser=words, metavar="TEXT", help="the reason, for the audit trail")]


class Refused(BiogateError):
    """Raised when what was asked cannot be done; the text says why."""


class DatabaseSettings(BaseSettings):
    """The address of the database."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: PostgresDsn = Field(repr=False)


def settings(kind: type[Settings], **given: Any) -> Settings:
    """Read settings of this kind from the environment; end the command with a message if they are unusable."""
    try:
        return kind(**given)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            said = f"is not set{SURROUNDINGS}" if problem["type"] == "missing" else problem["msg"]
            lines.append(f"BIOGATE_{'_'.join(map(str, problem['loc'])).upper()}: {said}")
        raise Misused("\n".join(lines)) from None


def run(
    work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Answer]],
    *,
    in_transaction: bool = False,
    as_owner: bool = False,
) -> Answer:
    """Run `work` on a connection to the database and return its result. If it refuses, the command ends with words."""
    url = str(settings(DatabaseSettings).database_url)
    if as_owner:
        url = owner_url(url, os.environ)

    async def connected() -> Answer:
        connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
        try:
            if not in_transaction:
                return await work(connection)
            async with connection.transaction():
                return await work(connection)
        finally:
            await connection.close(timeout=5)

    with database_errors():
        return asyncio.run(connected())


@contextmanager
def database_errors() -> Iterator[None]:
    """Errors of the database end the command with words."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        said = str(error.args[0])  # without the detail, which may have a whole row in it
        stop(said if state in OWN_WORDS else OTHER_ERRORS.get(state, f"database: {state}: {said}"))
    except (asyncpg.InterfaceError, OSError, TimeoutError) as error:
        stop(f"database: {error or type(error).__name__}")


def stop(text: str) -> NoReturn:
    """End the command with status 1: it was used correctly, but cannot be carried out."""
    raise Refused(text)


def tell(*fields: object) -> None:
    """Print a line of fields separated by tabs."""
    typer.echo("\t".join(plain(str(field)) for field in fields))


def table(headings: str, rows: Iterable[Iterable[object]]) -> None:
    """Print headings and rows: as columns on a terminal, else separated by tabs, for `cut -f`."""
    lines = [headings.split("|"), *([plain(str(cell)) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        typer.echo("\n".join(map("\t".join, lines)))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def time(value: datetime | None) -> str:
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
