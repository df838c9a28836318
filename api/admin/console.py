"""What the commands of `python -m api.admin` have in common beside schema/console.py: the database, errors in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import asyncpg
import typer
from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.settings import PasswordRounds
from schema.console import settings, stop
from schema.private import write_new, write_over

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


class Refused(Exception):
    """What was asked cannot be done; says why."""


class Surroundings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: PostgresDsn = Field(repr=False)
    api_password_rounds: PasswordRounds = 12


Organization = Annotated[str, typer.Option(metavar="NAME", help="which organization")]


def run(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Answer]]) -> Answer:
    """What `work` returns, given a connection of the owner in a transaction; ends the command with words and status 1
    if it cannot be done."""
    url = str(settings(Surroundings).database_url)

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
    try:
        (write_over if replace else write_new)(path, text)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}") from error
