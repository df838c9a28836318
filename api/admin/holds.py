"""`biogate hold make|end|list`: holds keep data from being dropped, however old they are."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import asyncpg
import typer

from api.admin.console import Organization, organization_id, run
from schema.command_line import commands
from schema.console import Refused, Who, Why, instant, table, tell, time
from schema.errors import Misused

app = commands("Holds: they keep data from being dropped, however old they are.")

LIST = """
select h.hold_id, o.name as organization, d.name as device, h.begins, h.ends, h.made_at, h.ended_at, h.who, h.why
  from retention_holds h join organizations o using (organization_id) left join devices d using (device_id)
 where h.ended_at is null or $1 order by h.hold_id"""


@app.command()
def make(
    *,
    begins: Annotated[datetime | None, typer.Option("--from", parser=instant, help="default: the first data")] = None,
    ends: Annotated[datetime | None, typer.Option("--to", parser=instant, help="default: no end")] = None,
    device: Annotated[str | None, typer.Option(help="without it, all devices of the organization")] = None,
    organization: Organization = "main",
    why: Why,
    who: Who,
) -> None:
    """Keep the data of a span of time from being dropped, however old they are."""
    if begins is not None and ends is not None and begins >= ends:
        raise Misused("--from must be before --to")

    async def work(connection: asyncpg.Connection) -> int:
        its_id = await organization_id(connection, organization)
        device_id = await connection.fetchval(
            "select device_id from devices where name = $1 and organization_id = $2", device, its_id
        )
        if device is not None and device_id is None:
            raise Refused(f"there is no device {device} of {organization}")
        number = await connection.fetchval(
            "select retention_hold($1, $2, $3, $4, $5, $6)", its_id, device_id, begins, ends, who, why
        )
        return int(number)

    tell(f"hold {run(work)} is in force")


@app.command()
def end(number: Annotated[int, typer.Argument(help="as in the list")], *, why: Why, who: Who) -> None:
    """End a hold of any organization."""

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute("select retention_hold_end($1, null, $2, $3)", number, who, why)

    run(work)
    tell(f"hold {number} has ended")


@app.command("list")
def list_holds(ended: Annotated[bool, typer.Option("--all", help="those that were ended, too")] = False) -> None:
    """List holds in force. Columns: number, organization, device, from, to, made, ended, who, why."""

    async def read(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return list(await connection.fetch(LIST, ended))

    table(
        "HOLD|ORGANIZATION|DEVICE|FROM|TO|MADE|ENDED|WHO|WHY",
        (
            (
                *(row["hold_id"], row["organization"], row["device"] or "all"),
                *(time(row[name]) for name in ("begins", "ends", "made_at", "ended_at")),
                *(row["who"], row["why"]),
            )
            for row in run(read)
        ),
    )
