"""`biogate channels list|set|standard`: what an organization says of its channels: for who owns the database."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import asyncpg
import typer
from pydantic import ValidationError

from api.admin.console import Organization, organization_id, run
from api.shapes.channels import ChannelChange
from schema.channels import STANDARD, wrong_in_name
from schema.command_line import commands
from schema.console import Refused, Who, Why, instant, table, tell
from schema.errors import Misused

app = commands("Channels: units, display names, ranges, and what else is said of them.")

OF_ORGANIZATION = """
select t.* from organization_channel_terms t
 where t.organization_id = $1
   and (exists (select from channel_descriptions v
                 where v.organization_id = $1 and v.channel_id = t.channel_id and v.device_id is null)
        or t.channel_id in (select lc.channel_id from devices d join device_layouts l using (device_id)
                              join layout_channels lc using (layout_id) where d.organization_id = $1))
 order by t.channel"""
OF_DEVICE = """
select t.* from channel_terms t
 where t.device_id = $1
   and (exists (select from channel_descriptions v where v.device_id = $1 and v.channel_id = t.channel_id)
        or t.channel_id in (select lc.channel_id from device_layouts l join layout_channels lc using (layout_id)
                             where l.device_id = $1))
 order by t.channel"""
HEADER = "CHANNEL|UNIT|TITLE|KIND|LOW|HIGH|DECIMALS|STEP"
FIELDS = ("unit", "title", "kind", "low", "high", "decimals", "step")
Device = Annotated[str | None, typer.Option(help="of this device; without it, of all of which nothing else is said")]


@app.command("list")
def list_channels(*, device: Device = None, organization: Organization = "main") -> None:
    """List channels. Columns: channel, unit, title, kind, range of usual values, decimals, whether its values step."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        its_id = await organization_id(connection, organization)
        if device is None:
            return list(await connection.fetch(OF_ORGANIZATION, its_id))
        return list(await connection.fetch(OF_DEVICE, await owned_device(connection, device, its_id, organization)))

    table(HEADER, ((row["channel"], *(_cell(row[name]) for name in FIELDS)) for row in run(read)))


@app.command("standard")
def list_standard() -> None:
    """List the names of channels of which everybody knows unit and meaning. Columns as of `list`."""
    table(
        HEADER,
        ((it.name, *map(_cell, (it.unit, None, it.kind, it.low, it.high, it.decimals, it.step))) for it in STANDARD),
    )


@app.command("set")
def set_channel(
    channel: Annotated[str, typer.Argument(help="name as devices send it")],
    *,
    unit: Annotated[str | None, typer.Option(help="in which its values come from now on")] = None,
    since: Annotated[datetime | None, typer.Option(parser=instant, help="since when they come in that unit")] = None,
    title: Annotated[str | None, typer.Option(help="what people call it")] = None,
    kind: Annotated[Literal["PV", "SP", "output"] | None, typer.Option(help="SP is a setpoint")] = None,
    low: Annotated[float | None, typer.Option(help="begin of the range of usual values")] = None,
    high: Annotated[float | None, typer.Option(help="end of the range of usual values")] = None,
    decimals: Annotated[int | None, typer.Option(help="how many are worth showing")] = None,
    step: Annotated[
        bool | None, typer.Option("--step/--no-step", help="whether a value holds until the next one")
    ] = None,
    device: Device = None,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """Say something of a channel. What is stored before a new unit begins keeps the unit that it had."""
    given: dict[str, Any] = {"unit": unit, "unit_since": since, "title": title, "kind": kind, "low": low, "high": high}
    given |= {"decimals": decimals, "step": step}
    said = _checked(channel, {name: value for name, value in given.items() if value is not None}, why)

    async def work(connection: asyncpg.Connection) -> int:
        its_id = await organization_id(connection, organization)
        device_id = None if device is None else await owned_device(connection, device, its_id, organization)
        return int(
            await connection.fetchval(
                "select channel_describe($1, $2, $3, $4, $5, null, $6, $7)",
                *(its_id, device_id, channel, json.dumps(said), since, who, why),
            )
        )

    tell(f"{channel}: version {run(work)}")


def _checked(channel: str, given: dict[str, Any], why: str) -> dict[str, Any]:
    """The fields to be said. Raises Misused."""
    if wrong := wrong_in_name(channel):
        raise Misused(f"{channel!r}: {wrong}")
    try:
        said = ChannelChange(**given, why=why).said
    except ValidationError as error:
        first = error.errors()[0]
        raise Misused(f"{'.'.join(map(str, first['loc'])) or 'a field'}: {first['msg']}") from error
    if not said:
        raise Misused("say what is to change: --unit, --title, --kind, --low and --high, --decimals or --step")
    return said


async def owned_device(connection: asyncpg.Connection, name: str, its_id: int, organization: str) -> int:
    """The id of a device of the organization. Raises Refused."""
    number = await connection.fetchval(
        "select device_id from devices where name = $1 and organization_id = $2", name, its_id
    )
    if number is None:
        raise Refused(f"there is no device {name} of {organization}")
    return int(number)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
