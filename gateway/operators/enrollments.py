"""`queue`, `approve`, `deny`, `open`, `close`: handshakes that await a person, and the kill switch."""

from __future__ import annotations

from typing import Annotated

import asyncpg
import typer

from gateway.operators.command import age, device_name
from gateway.operators.devices import NO_PROOF, SILENT
from schema.console import Refused, Who, Why, run, table, tell
from schema.enrollment import fingerprint

QUEUE = """
select txn, serial, identity_key, reason, hardware, firmware, channels, created_at from enrollments
 where state = 'awaiting' order by created_at, txn"""
FIND = """
select txn, serial, identity_key, state from enrollments
 where txn = $1 or serial = $1 and state = 'awaiting' order by created_at"""
CELLS = "select cell from cells where (cell = $1 or $1 is null) and cell <> 'replay' order by cell"

Which = Annotated[str, typer.Argument(metavar="TXN|SERIAL", help="the transaction, or a serial that waits only once")]


def queue() -> None:
    """List handshakes that await approval.

    Columns: serial, fingerprint, reason, hardware, firmware, number of channels, age, transaction.

    Controllers from which no proof came are named on standard error.
    """

    async def read(connection: asyncpg.Connection) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        return await connection.fetch(QUEUE), await connection.fetch(NO_PROOF, None)

    waiting, silent = run(read)
    table(
        "SERIAL|FINGERPRINT|REASON|HARDWARE|FIRMWARE|CHANNELS|AGE|TXN",
        (
            (
                row["serial"],
                fingerprint(row["identity_key"]),
                *(row[name] or "-" for name in ("reason", "hardware", "firmware")),
                len(row["channels"]),
                age(row["created_at"]),
                row["txn"],
            )
            for row in waiting
        ),
    )
    for row in silent:
        typer.echo(f"{row['serial']}, {age(row['at'])} ago: {SILENT}", err=True)


def approve(
    which: Which,
    *,
    device: Annotated[
        str | None, typer.Option(parser=device_name, metavar="NAME", help="the name it gets; without it, its serial")
    ] = None,
    seen: Annotated[
        str | None, typer.Option("--fingerprint", metavar="XXXX", help="on the controller's display: approve no other")
    ] = None,
    why: Why,
    who: Who,
) -> None:
    """Let a handshake go on: its serial is known from now on, with this identity key."""

    async def work(connection: asyncpg.Connection) -> asyncpg.Record:
        found = await _one(connection, which)
        theirs = fingerprint(found["identity_key"])
        if seen is not None and _folded(seen) != theirs:
            raise Refused(
                f"the fingerprint of {found['serial']} is {theirs}, not {_folded(seen)}: nothing was approved"
            )
        await connection.execute("select enrollment_approve($1, $2, $3, $4)", found["txn"], device, who, why)
        return found

    found = run(work)
    tell(f"approved: {found['serial']}", fingerprint(found["identity_key"]), found["txn"])


def deny(which: Which, *, why: Why, who: Who) -> None:
    """End a handshake."""

    async def work(connection: asyncpg.Connection) -> asyncpg.Record:
        found = await _one(connection, which)
        await connection.execute("select enrollment_deny($1, $2, $3)", found["txn"], who, why)
        return found

    found = run(work)
    tell(f"denied: {found['serial']}", fingerprint(found["identity_key"]), found["txn"])


async def _one(connection: asyncpg.Connection, which: str) -> asyncpg.Record:
    rows = await connection.fetch(FIND, which)
    if len(rows) > 1:
        several = "\n".join(f"{row['txn']}  fingerprint {fingerprint(row['identity_key'])}" for row in rows)
        raise Refused(f"{len(rows)} handshakes of {which} wait: say which, by its transaction\n{several}")
    if not rows:
        raise Refused(f"no handshake of {which} awaits approval: `queue` lists those that do")
    return rows[0]


def _folded(text: str) -> str:
    return "".join(sign for sign in text.upper() if sign.isalnum())


Cell = Annotated[str | None, typer.Option(help="only in this cell; without it in all")]


def open_(*, cell: Cell = None, why: Why, who: Who) -> None:
    """Let handshakes begin again."""
    _switch(cell, True, who, why)


def close(*, cell: Cell = None, why: Why, who: Who) -> None:
    """Throw the kill switch: no handshake works any more, until `open`. Devices that have a login go on."""
    _switch(cell, False, who, why)


def _switch(cell: str | None, is_open: bool, who: str, why: str) -> None:
    async def work(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        if not await connection.fetchval("select exists (select from cells)"):
            raise Refused("there is no cell yet: no gateway has run on this database")
        await connection.execute("select enrollment_switch($1, $2, $3, $4)", cell, is_open, who, why)
        return list(await connection.fetch(CELLS, cell))

    for row in run(work):
        tell(f"enrollment is {'open' if is_open else 'closed'} in cell {row['cell']}")
