"""Shared code of all operators' commands: the options --who and --why, messages about wrong settings, safe printing."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)

SURROUNDINGS = "; while `make up` runs: set -a; . .stack/env; set +a"
"""A hint to the local stack's settings, for a person who has set none."""


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


def settings(kind: type[Settings]) -> Settings:
    """Read settings of this kind from the environment; end the command with a message if they are unusable."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            said = f"is not set{SURROUNDINGS}" if problem["type"] == "missing" else problem["msg"]
            typer.echo(f"BIOGATE_{'_'.join(map(str, problem['loc'])).upper()}: {said}", err=True)
        raise typer.Exit(2) from None


def stop(text: str) -> NoReturn:
    """End the command with status 1: it was used correctly, but cannot be carried out."""
    typer.echo(plain(text), err=True)
    raise typer.Exit(1)


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


def plain(text: str) -> str:
    """`text` without characters that could steer a terminal, because devices write some of these texts."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def time(value: datetime | None) -> str:
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
