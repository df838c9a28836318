"""`biogate audit verify|export`: reads the audit trail in the database itself, for who must not trust the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from api.admin.console import Organization, organization_id, run
from schema.command_line import commands
from schema.console import Refused, tell

app = commands("The audit trail: is it whole; all of it as JSON lines.")

ROWS_AT_A_TIME = 1000


@app.command()
def verify(organization: Organization = "main") -> None:
    """Verify the audit trail by its chain of hashes. Status 1 if an event was changed, or is missing."""

    async def work(connection: asyncpg.Connection) -> tuple[asyncpg.Record, list[int]]:
        its_id = await organization_id(connection, organization)
        about = await connection.fetchrow(
            """select count(*), coalesce(max(n), 0) as last,
                      (select encode(hash, 'hex') from audit where organization_id = $1 order by n desc limit 1) as hash
                 from audit where organization_id = $1""",
            its_id,
        )
        return about, [row[0] for row in await connection.fetch("select audit_faults($1)", its_id)]

    about, faults = run(work)
    tell(f"{organization}: {about['count']} events, the last is {about['last']} with hash {about['hash'] or '-'}")
    if faults:
        tell(f"changed, or after a missing one: {', '.join(map(str, faults))}")
        raise typer.Exit(1)
    tell("the chain is whole; that none is missing at its end shows only a number and hash kept elsewhere")


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="file to write; is not there yet")], organization: Organization = "main"
) -> None:
    """Export all events of an organization, the oldest first: one JSON object a line."""

    async def work(connection: asyncpg.Connection) -> int:
        its_id = await organization_id(connection, organization)
        count = 0
        try:
            with to.open("x", encoding="utf-8") as file:
                async for row in connection.cursor(
                    "select n, at, login, who, action, subject, old, new, why, encode(hash, 'hex') as hash from audit"
                    " where organization_id = $1 order by n",
                    its_id,
                    prefetch=ROWS_AT_A_TIME,
                ):
                    file.write(json.dumps(_event(row), ensure_ascii=False) + "\n")
                    count += 1
        except OSError as error:
            raise Refused(f"{to} cannot be written: {error.strerror}") from error
        return count

    tell(f"{run(work)} events of {organization} in {to}")


def _event(row: asyncpg.Record) -> dict[str, Any]:
    plain = {"at": row["at"].isoformat(), **{name: row[name] and json.loads(row[name]) for name in ("old", "new")}}
    return {**dict(row), **plain}
