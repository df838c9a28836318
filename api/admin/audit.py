"""`biogate audit verify|export`: reads the audit trail in the database itself, for who must not trust the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from api.admin.console import Organization, organization_id, run
from schema import console
from schema.command_line import commands
from schema.console import Refused, tell
from schema.evidence.keys import load_public
from schema.evidence.retained import retained_checkpoint
from schema.evidence.tokens import authorities
from schema.evidence.verification import ChainVerification, Elsewhere, verify_chain

app = commands("The audit trail: is it whole; all of it as JSON lines.")

ROWS_AT_A_TIME = 1000


@app.command()
def verify(
    organization: Organization = "main",
    *,
    key: Annotated[Path | None, typer.Option(help="public key of the signing process, PEM, kept elsewhere")] = None,
    file: Annotated[Path | None, typer.Option(help="its file of checkpoints: BIOGATE_EVIDENCE_FILE")] = None,
    broker: Annotated[str | None, typer.Option(help="mqtts://login@host:port, which has the newest one")] = None,
    broker_password: Annotated[Path | None, typer.Option(help="file with that login's password")] = None,
    broker_ca: Annotated[Path | None, typer.Option(help="certificate of the broker's authority, PEM")] = None,
    tsa_ca: Annotated[Path | None, typer.Option(help="authorities of the time stamp service, PEM")] = None,
) -> None:
    """Verify the audit trail, and what it says of records, against the checkpoints that were signed of it.

    Whoever owns the database can change its checkpoints, too: give key and file, or the broker. Status 1 if anything is
    not as it was signed.
    """
    trusted = None if key is None else load_public(key)
    roots = () if tsa_ca is None else authorities(tsa_ca)

    async def work(connection: asyncpg.Connection) -> ChainVerification:
        its_id = await organization_id(connection, organization)
        retained = None
        if broker is not None:
            password = None if broker_password is None else _read(broker_password).strip()
            retained = await retained_checkpoint(broker, its_id, password, broker_ca)
        try:
            return await verify_chain(connection, its_id, Elsewhere(trusted, file, retained, roots))
        except OSError as error:
            if file is None or error.filename is None:
                raise
            raise Refused(f"{file} cannot be read: {error.strerror}") from error

    found = console.run(work)
    _tell(organization, found)
    if found.faults:
        raise typer.Exit(1)


def _tell(organization: str, found: ChainVerification) -> None:
    last = "none" if found.last is None else f"the last is {found.last.n} with hash {found.last.hash.hex()}"
    tell(f"{organization}: {found.events} events, {last}; {found.records} records")
    certain = found.certain
    if certain is not None:
        tell(f"certain up to event {certain.n} by checkpoint {certain.number} of {certain.at}, key {certain.key}")
    if found.stamps:
        tell(f"{found.stamps} time stamps are right")
    for remark in found.remarks:
        tell(f"note: {remark}")
    for fault in found.faults:
        tell(f"fault: {fault}")
    if not found.faults:
        tell("the chain is whole")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error


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
