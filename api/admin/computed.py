"""`biogate channels computed|define|undefine|constants|standard-computed`: formulas of an organization, constants of
its devices: for who owns the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import asyncpg
import typer
from pydantic import BaseModel, ValidationError

from api.admin.channels import app, owned_device
from api.admin.console import Organization, organization_id, run
from api.shapes.computed import ComputedDefinition, NewConstants
from api.shapes.standard_computed import STANDARD_COMPUTED
from schema.channels import wrong_in_name
from schema.console import Who, Why, table, tell
from schema.errors import Misused

OF_ORGANIZATION = "select name, definition, version from computed_channels where organization_id = $1 order by name"
HEADER = "CHANNEL|UNIT|TITLE|VERSION|FORMULA"
Kind = TypeVar("Kind", bound=BaseModel)
Name = Annotated[str, typer.Argument(help="name of the computed channel")]


@app.command("computed")
def list_computed(*, organization: Organization = "main") -> None:
    """List computed channels. Columns: channel, unit, title, version, formula."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return list(await connection.fetch(OF_ORGANIZATION, await organization_id(connection, organization)))

    rows = ((row["name"], json.loads(row["definition"]), row["version"]) for row in run(read))
    table(
        HEADER,
        ((name, it.get("unit") or "-", it.get("title") or "-", str(n), it["formula"]) for name, it, n in rows),
    )


@app.command("standard-computed")
def list_standard_computed() -> None:
    """List formulas that can be taken over. Columns: channel, unit, title, formula, assumptions, source."""
    table(
        "CHANNEL|UNIT|TITLE|FORMULA|ASSUMPTIONS|SOURCE",
        (
            (it.name, what.unit or "-", what.title or "-", what.formula, it.assumptions, what.source or "-")
            for it in STANDARD_COMPUTED
            for what in [it.definition]
        ),
    )


@app.command("define")
def define(
    channel: Name,
    *,
    file: Annotated[Path | None, typer.Option(help="the definition as JSON, as the API takes it")] = None,
    standard: Annotated[str | None, typer.Option(help="one of the standard list instead")] = None,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """Define a channel by a formula, or change it. Every device that has sent its inputs has it at once."""
    if wrong := wrong_in_name(channel):
        raise Misused(f"{channel!r}: {wrong}")
    definition = _definition(file, standard)

    async def work(connection: asyncpg.Connection) -> int:
        its_id = await organization_id(connection, organization)
        statement = "select computed_channel_put($1, $2, $3, null, $4, $5)"
        return int(await connection.fetchval(statement, its_id, channel, definition.model_dump_json(), who, why))

    tell(f"{channel}: version {run(work)}")


@app.command("undefine")
def undefine(channel: Name, *, organization: Organization = "main", why: Why, who: Who) -> None:
    """Remove a computed channel. Nothing of what devices have sent is removed."""

    async def work(connection: asyncpg.Connection) -> None:
        its_id = await organization_id(connection, organization)
        await connection.execute("select computed_channel_remove($1, $2, null, $3, $4)", its_id, channel, who, why)

    run(work)
    tell(f"{channel} is removed")


@app.command("constants")
def constants(
    device: Annotated[str, typer.Argument(help="name of the device")],
    said: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", help="a number, an instant, or nothing: taken back")
    ],
    *,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """Say constants of a device for formulas: working_volume=1.8, start=2026-11-20T07:45:00Z."""
    given = _checked(NewConstants, {"constants": dict(map(_constant, said)), "why": why}).constants

    async def work(connection: asyncpg.Connection) -> int:
        its_id = await organization_id(connection, organization)
        number = await owned_device(connection, device, its_id, organization)
        statement = "select computed_constants_set($1, $2, $3, null, $4, $5)"
        return int(await connection.fetchval(statement, its_id, number, json.dumps(given), who, why))

    tell(f"constants of {device}: version {run(work)}")


def _definition(file: Path | None, standard: str | None) -> ComputedDefinition:
    """The definition in a file, or of the standard list. Raises Misused."""
    if (file is None) == (standard is None):
        raise Misused("say where the definition is: --file or --standard")
    if standard is not None:
        found = next((it.definition for it in STANDARD_COMPUTED if it.name == standard), None)
        if found is None:
            raise Misused(f"{standard} is not in the standard list: `biogate channels standard-computed` shows it")
        return found
    assert file is not None
    try:
        return _checked(ComputedDefinition, json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise Misused(f"{file}: {error}") from error


def _constant(said: str) -> tuple[str, float | str | None]:
    name, there, value = said.partition("=")
    if not there:
        raise Misused(f"{said!r}: write NAME=VALUE")
    try:
        return name, float(value) if value else None
    except ValueError:
        return name, value


def _checked(kind: type[Kind], given: Any) -> Kind:
    try:
        return kind.model_validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or first.get("ctx", {}).get("parameter", "the definition")
        raise Misused(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
