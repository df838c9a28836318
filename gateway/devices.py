"""`python -m gateway.devices register NAME …` and `list`: the devices whose messages are accepted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer
from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema.topics import is_device_name

REBUILD = """
insert into device_streams as s (device_id, boot, received)
select device_id, boot, oldest_ranges(range_agg(int8range(seq, seq, '[]')), 256) from frames
 where time >= $1 and time < $2 and boot is not null and seq is not null
 group by device_id, boot
on conflict (device_id, boot) do update
   set received = oldest_ranges(s.received + excluded.received, 256), changed_at = now()
returning device_id, boot"""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Devices whose messages are accepted.")


class DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore")

    database_url: PostgresDsn = Field(description="PostgreSQL with TimescaleDB")


async def _fetch(statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(str(DatabaseSettings().database_url), timeout=10)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


@app.command()
def register(
    names: Annotated[list[str], typer.Argument(help="names as in the topics; known ones are left alone")],
) -> None:
    """Accept messages of these devices from now on."""
    bad = [name for name in names if not is_device_name(name)]
    if bad:
        typer.echo(
            f"not a device name: {', '.join(map(repr, bad))}: use 1 to 64 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit",
            err=True,
        )
        raise typer.Exit(2)
    new = asyncio.run(
        _fetch(
            "insert into devices (name) select distinct unnest($1::text[]) on conflict do nothing returning name", names
        )
    )
    typer.echo(f"{len(new)} registered, {len(set(names)) - len(new)} known already")


@app.command("rebuild-streams")
def rebuild_streams(
    since: Annotated[datetime, typer.Option(help="first time of the frames to look at, UTC")],
    until: Annotated[datetime | None, typer.Option(help="end of that range, UTC; without, now")] = None,
) -> None:
    """Learn again from the stored frames what has arrived of each boot: if that is lost, or was edited by hand."""
    end = until or datetime.now(UTC)
    rows = asyncio.run(_fetch(REBUILD, since.replace(tzinfo=UTC), end.replace(tzinfo=UTC)))
    typer.echo(f"{len(rows)} boots of {len({row['device_id'] for row in rows})} devices rebuilt")


@app.command("list")
def list_() -> None:
    """Names of all devices, with what is known of their presence."""
    for row in asyncio.run(_fetch("select device, online, since from presence order by device")):
        state = "never seen" if row["online"] is None else "online" if row["online"] else "offline"
        since = f" since {row['since']:%Y-%m-%d %H:%M:%S}Z" if row["since"] else ""
        typer.echo(f"{row['device']}\t{state}{since}")


if __name__ == "__main__":
    app()
