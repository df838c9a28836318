"""`biogate seal verify`: computes seals again from what is stored, in the database itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from gateway.evidence.seal_findings import SealedDevice, Verified, together
from gateway.evidence.seal_verification import verify_device
from gateway.evidence.sealed_passes import SealedPasses
from schema import times
from schema.command_line import commands
from schema.console import Refused, instant, run, table, tell, time
from schema.errors import Misused
from schema.evidence.keys import load_public
from schema.evidence.seals import HOUR
from schema.evidence.verification import Elsewhere, verify_chain
from schema.times import Span

app = commands("Seals of stored frames: are the frames those that were sealed.")

DEVICES = """
select device_id, name, organization_id from devices
 where name = any ($1::text[]) or cardinality($1::text[]) = 0 order by name"""
TRAILS = """
select organization_id, name from organizations
 where organization_id in (select organization_id from seals where device_id = any ($1::int[])
                           union select organization_id from devices where device_id = any ($1::int[]))
 order by 1"""
EXTENT = """
select least(min(hour), (select min(time) from frames where device_id = $1)) as begins,
       greatest(max(hour), (select max(time) from frames where device_id = $1)) as ends
  from seals where device_id = $1"""


@app.callback()
def group() -> None:
    """A group, though it has one command."""


@app.command()
def verify(
    *,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="only of this device; may be repeated; without it, of all")
    ] = None,
    begins: Annotated[datetime | None, typer.Option("--from", parser=instant, help="default: the first data")] = None,
    ends: Annotated[datetime | None, typer.Option("--to", parser=instant, help="default: the newest data")] = None,
    key: Annotated[Path | None, typer.Option(help="public key of the signing process, PEM, kept elsewhere")] = None,
    file: Annotated[Path | None, typer.Option(help="its file of checkpoints: BIOGATE_EVIDENCE_FILE")] = None,
) -> None:
    """Verify seals, and that a signed checkpoint vouches for the audit trail that vouches for them.

    Whoever owns the database can change its checkpoints, too: give key and file. Status 1 if frames were changed,
    deleted or inserted, a seal is not as the audit trail says, or the audit trail is not as it was signed.
    """
    if begins is not None and ends is not None and begins >= ends:
        raise Misused("--from must be before --to")
    elsewhere = Elsewhere(None if key is None else load_public(key), file)

    async def work(connection: asyncpg.Connection) -> tuple[Verified, bool]:
        await connection.execute("set plan_cache_mode = 'force_custom_plan'")
        devices = await _devices(connection, device or [])
        signed = await _signed(connection, devices, elsewhere)
        whole = all(certain is not None for certain in signed.values())
        passes = SealedPasses({its_id: certain or 0 for its_id, certain in signed.items()})
        return await verify_devices(connection, devices, passes, begins, ends), whole

    found, whole = run(work)
    tell(f"{found.hours} sealed hours of {found.frames} frames" + _remarks(found))
    if found.faults:
        rows = [(fault.device, time(fault.hour), hours, fault.what) for fault, hours in together(found.faults)]
        table("device|from|hours|what", rows)
    if found.faults or not whole:
        raise typer.Exit(1)
    tell("they are as they were sealed")


async def verify_devices(
    connection: asyncpg.Connection,
    devices: Sequence[SealedDevice],
    passes: SealedPasses,
    begins: datetime | None,
    ends: datetime | None,
) -> Verified:
    """Verify the hours of these devices that overlap the time; None: from the first one, or up to the newest."""
    found = Verified()
    for device in devices:
        extent = await connection.fetchrow(EXTENT, device.device_id)
        if extent["begins"] is not None:
            begin = times.floor(max(begins or times.FIRST, extent["begins"]), HOUR)
            end = times.floor(min(ends or times.LAST, extent["ends"] + HOUR) + HOUR - times.MICROSECOND, HOUR)
            found.add(await verify_device(connection, device, Span(begin, end), passes))
    return found


async def _signed(
    connection: asyncpg.Connection, devices: Sequence[SealedDevice], elsewhere: Elsewhere
) -> dict[int, int | None]:
    """Up to which event the audit trails of these devices are signed; tell what is not as it was: then it is None."""
    signed: dict[int, int | None] = {}
    for row in await connection.fetch(TRAILS, [device.device_id for device in devices]):
        try:
            found = await verify_chain(connection, row["organization_id"], elsewhere)
        except OSError as error:
            if elsewhere.file is None or error.filename is None:
                raise
            raise Refused(f"{elsewhere.file} cannot be read: {error.strerror}") from error
        signed[row["organization_id"]] = found.certain.n if found.certain else 0
        if found.faults:
            signed[row["organization_id"]] = None
            tell(f"the audit trail of {row['name']} is not as it was signed: see biogate audit verify")
    return signed


async def _devices(connection: asyncpg.Connection, names: Collection[str]) -> list[SealedDevice]:
    rows = [SealedDevice(*row) for row in await connection.fetch(DEVICES, list(names))]
    if missing := sorted({*names} - {row.name for row in rows}):
        raise Refused(f"there is no device {missing[0]}")
    return rows


def _remarks(found: Verified) -> str:
    said = {
        "dropped by retention": found.dropped,
        "not sealed yet": found.unsealed,
        "with later frames, to be sealed again": found.late,
        "sealed after the last signed checkpoint": found.unsigned,
    }
    return "".join(f"; {count} {what}" for what, count in said.items() if count)
