"""What the gateway's commands have in common beside schema/console.py: names, the database, errors in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer
from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import GatewayError
from gateway.runtime.database import FAILURES
from gateway.settings import MqttUrl
from schema.console import plain, settings, stop
from schema.serials import MOST_ROWS, ImportRefused
from schema.topics import is_device_name

Answer = TypeVar("Answer")

PLAIN_ERRORS = {"P0002", "55000"}
"""SQLSTATEs whose messages are the operator functions' own words."""
OTHER_ERRORS = {
    "23514": "a name that cannot be used: 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit",
    "23505": "that name is taken",
    "23503": "there is no such cell: no gateway of that name has run on this database",
    "42P01": "the schema is not current: run python -m schema.migrate",
    "42703": "the schema is not current: run python -m schema.migrate",
    "42883": "the schema is not current: run python -m schema.migrate",
}


class Refused(GatewayError):
    """What was asked cannot be done; says why."""


class Surroundings(BaseSettings):
    """The gateway's settings that commands look at."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    cell: str = Field("main", pattern=r"^[a-z0-9-]{1,32}$")
    secrets_dir: Path | None = None
    mqtt_ca_file: Path | None = None
    device_broker_url: MqttUrl = MqttUrl("mqtts://localhost:8883")


class DatabaseSettings(Surroundings):
    database_url: PostgresDsn


def device_name(text: str) -> str:
    if not is_device_name(text):
        raise typer.BadParameter(
            f"{text!r} is not a name: use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    return text


Organization = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="whose the devices are; without it, the one that runs the installation"),
]
Name = Annotated[str, typer.Argument(parser=device_name, metavar="NAME", help="name as in the topics")]
Prefix = Annotated[str | None, typer.Option(help="with --count: PREFIX0001, PREFIX0002, …")]
Count = Annotated[int | None, typer.Option(min=1, max=MOST_ROWS, help="how many")]
Names = Annotated[list[str], typer.Argument(parser=device_name, metavar="NAME…", help="names as in the topics")]


def run(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Answer]]) -> Answer:
    """What `work` returns, given a connection; ends the command with words and status 1 if it cannot be done."""
    chosen = settings(DatabaseSettings)

    async def connected() -> Answer:
        connection = await asyncpg.connect(str(chosen.database_url), timeout=10, command_timeout=60)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=5)

    try:
        return asyncio.run(connected())
    except (GatewayError, ImportRefused) as error:
        stop(str(error))
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        said = str(error.args[0])  # without the detail, which may have a whole row in it
        stop(said if state in PLAIN_ERRORS else OTHER_ERRORS.get(state, f"database: {state}: {said}"))
    except FAILURES as error:
        stop(f"database: {error or type(error).__name__}")


def numbered(given: list[str] | None, prefix: str | None, count: int | None) -> list[str]:
    """The names given, and PREFIX0001 and so on, each once. Ends the command if they cannot be used."""
    if (prefix is None) != (count is None) or not (given or count):
        misused("say names, or --prefix and --count")
    names = [*(given or []), *(f"{prefix}{number:04}" for number in range(1, (count or 0) + 1))]
    bad = [name for name in names if not is_device_name(name)]
    if bad:
        misused(
            f"not a name: {', '.join(map(repr, bad[:5]))}: use 1 to 64 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    return list(dict.fromkeys(names))


def misused(text: str) -> NoReturn:
    """End the command: it was used wrongly."""
    typer.echo(f"Error: {plain(text)}", err=True)
    raise typer.Exit(2)


def tell_all(found: Iterable[tuple[str, object]]) -> None:
    """A line for each name and value."""
    for name, value in found:
        typer.echo(f"{name + ':':13}{plain(str(value))}")


def age(since: datetime) -> str:
    """`37 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(0, (datetime.now(UTC) - since).total_seconds())
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
