"""What the commands of `biogate devices` have in common beside schema/console.py: settings, names, options."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.settings import MqttUrl
from schema.command_line import plain
from schema.console import run
from schema.errors import Misused
from schema.serials import MOST_ROWS
from schema.topics import is_device_name


class Surroundings(BaseSettings):
    """The gateway's settings that commands look at."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    cell: str = Field("main", pattern=r"^[a-z0-9-]{1,32}$")
    secrets_dir: Path | None = None
    mqtt_ca_file: Path | None = None
    device_broker_url: MqttUrl = MqttUrl("mqtts://localhost:8883")


RULE = "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"


def device_name(text: str) -> str:
    if not is_device_name(text):
        raise typer.BadParameter(f"{text!r} is not a name: {RULE}")
    return text


Organization = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="whose the devices are; without it, the one that runs the installation"),
]
Name = Annotated[str, typer.Argument(parser=device_name, metavar="NAME", help="name as in the topics")]
Prefix = Annotated[str | None, typer.Option(help="with --count: PREFIX0001, PREFIX0002, …")]
Count = Annotated[int | None, typer.Option(min=1, max=MOST_ROWS, help="how many")]
Names = Annotated[list[str], typer.Argument(parser=device_name, metavar="NAME…", help="names as in the topics")]


def numbered(given: list[str] | None, prefix: str | None, count: int | None) -> list[str]:
    """The names given, and PREFIX0001 and so on, each once. Ends the command if they cannot be used."""
    if (prefix is None) != (count is None) or not (given or count):
        raise Misused("say names, or --prefix and --count")
    names = [*(given or []), *(f"{prefix}{number:04}" for number in range(1, (count or 0) + 1))]
    bad = [name for name in names if not is_device_name(name)]
    if bad:
        raise Misused(f"not a name: {', '.join(map(repr, bad[:5]))}: {RULE}")
    return list(dict.fromkeys(names))


def for_each(names: Iterable[str], statement: str, *arguments: object) -> None:
    """Execute `statement` with each name and the arguments, for all names or none."""

    async def work(connection: asyncpg.Connection) -> None:
        for name in sorted(set(names)):
            await connection.execute(statement, name, *arguments)

    run(work, in_transaction=True)


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
