"""`biogate runs list|show|start|end`: runs, by command."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer

from api.admin.console import Organization, organization_id, run
from schema.command_line import commands
from schema.console import Refused, Who, Why, instant, table, tell, time
from schema.errors import Misused

app = commands("Runs: what is made in devices, from its start to its end.")

ENDS = ("complete", "stopped", "aborted")
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="its id")]
At = Annotated[datetime | None, typer.Option("--at", parser=instant, help="when it was; default: now")]

LIST = """
select r.name, r.state, r.material, r.strain, r.recipe, r.begins, r.ends,
       array(select d.name from run_devices m join devices d using (device_id)
              where m.run_id = r.run_id and d.organization_id = r.organization_id order by d.name) as devices
  from runs r where r.organization_id = $1 and ($2::text is null or r.name = $2)
 order by r.sorted_at desc, r.run_id desc limit $3"""
PHASES = """
select p.name, p.begins, coalesce(p.ends, r.ends) as ends, p.confirmed_by from run_phases p join runs r using (run_id)
 where r.organization_id = $1 and r.name = $2 order by p.begins"""
DEVICES = "select device_id from devices where name = any ($1) and organization_id = $2"
HEADER = "RUN|STATE|DEVICES|MATERIAL|STRAIN|RECIPE|START|END"


@app.command("list")
def list_runs(
    *, most: Annotated[int, typer.Option(min=1, max=10_000)] = 100, organization: Organization = "main"
) -> None:
    """List runs, newest first. Columns: run, state, devices, material, strain, recipe, start, end."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return list(await connection.fetch(LIST, await organization_id(connection, organization), None, most))

    table(HEADER, map(_row, run(read)))


@app.command()
def show(name: RunArgument, *, organization: Organization = "main") -> None:
    """Show a run, and its confirmed phases. Columns of these: phase, from, to, who confirmed it."""

    async def read(connection: asyncpg.Connection) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        number = await organization_id(connection, organization)
        found = await connection.fetch(LIST, number, name, 1)
        if not found:
            raise Refused(f"there is no run {name} of {organization}")
        return list(found), list(await connection.fetch(PHASES, number, name))

    found, phases = run(read)
    table(HEADER, map(_row, found))
    table("PHASE|FROM|TO|CONFIRMED BY", ((it[0], time(it[1]), time(it[2]), it[3]) for it in phases))


@app.command()
def start(
    name: RunArgument,
    *,
    device: Annotated[list[str] | None, typer.Option(help="of a new run; may be repeated")] = None,
    at: At = None,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """Start a run that is planned, or a new one in the devices."""

    async def work(connection: asyncpg.Connection) -> None:
        number, begins = await organization_id(connection, organization), at or datetime.now(UTC)
        if device is None:
            await connection.execute(
                "select run_step($1, $2, 'running', $3, null, $4, $5)", number, name, begins, who, why
            )
            return
        ids = [row[0] for row in await connection.fetch(DEVICES, device, number)]
        if len(ids) < len(set(device)):
            raise Refused(f"not all of these are devices of {organization}")
        await connection.execute("select run_create($1, $2, $3, $4, '{}', $5, $6)", number, name, ids, begins, who, why)

    run(work)
    tell(f"run {name} is running")


@app.command()
def end(
    name: RunArgument,
    *,
    state: Annotated[str, typer.Option("--as", help="complete, stopped or aborted")] = "complete",
    at: At = None,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """End a run."""
    if state not in ENDS:
        raise Misused(f"--as is one of {', '.join(ENDS)}")

    async def work(connection: asyncpg.Connection) -> None:
        number, ends = await organization_id(connection, organization), at or datetime.now(UTC)
        await connection.execute("select run_step($1, $2, $3, $4, null, $5, $6)", number, name, state, ends, who, why)

    run(work)
    tell(f"run {name} is {state}")


def _row(row: asyncpg.Record) -> tuple[str, ...]:
    facts = (row[name] or "-" for name in ("material", "strain", "recipe"))
    return (row["name"], row["state"], ", ".join(row["devices"]) or "-", *facts, time(row["begins"]), time(row["ends"]))
