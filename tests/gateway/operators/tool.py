"""`biogate devices` as people run it, and handshakes for them to look at."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import asyncpg
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from schema.migrate import OPERATOR
from tests.forked import Forked
from tests.roles import as_role

SIGNED = ("--why", "as the test says", "--who", "eva")


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def table(self) -> list[dict[str, str]]:
        """Its rows, by the headings."""
        headings, *rows = self.rows
        return [dict(zip(headings, row, strict=True)) for row in rows]

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


Tool = Callable[..., Awaitable[Ran]]


def tool_for(database_url: str | None, **environment: object) -> Tool:
    """The tool on that database; `environment` without the prefix BIOGATE_, in small letters."""
    given = {f"BIOGATE_{name.upper()}": str(value) for name, value in environment.items()}
    if database_url is not None:
        given["BIOGATE_DATABASE_URL"] = as_role(database_url, OPERATOR)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BIOGATE_")}

    async def run(*arguments: object, text: str | None = None, directory: Path | None = None) -> Ran:
        environment = {**inherited, "COLUMNS": "200", "USER": "eva", "LOGNAME": "eva", **given}
        ran = await ran_as(
            "deploy.command", "devices", *arguments, environment=environment, text=text, directory=directory
        )
        assert "Traceback" not in ran.err, ran.err
        return ran

    return run


async def ran_as(
    module: str,
    *arguments: object,
    environment: Mapping[str, str],
    text: str | None = None,
    directory: Path | None = None,
) -> Ran:
    """`python -m MODULE`, to its end."""
    with tempfile.TemporaryDirectory() as streams:
        given, out, err = (Path(streams) / name for name in ("in", "out", "err"))
        given.write_text(text or "")
        process = Forked(
            module, *arguments, environment=environment, given=given, out=out, err=err, directory=directory
        )
        try:
            status = await asyncio.to_thread(process.wait)
        finally:
            process.kill()
        return Ran(status, out.read_text(), err.read_text())


async def vault(database: asyncpg.Connection) -> X25519PrivateKey:
    """As the first gateway makes it; its private key."""
    private = X25519PrivateKey.generate()
    await database.execute("insert into vault (public_key) values ($1)", private.public_key().public_bytes_raw())
    return private


async def cell(database: asyncpg.Connection, name: str = "main") -> None:
    await database.execute("insert into cells (cell, client_id) values ($1, $2) on conflict do nothing", name, name)


async def handshake(
    database: asyncpg.Connection, serial: str, state: str = "awaiting", key: bytes | None = None
) -> tuple[str, bytes]:
    """One as the gateway would have written it: its transaction and identity key."""
    txn, identity = secrets.token_hex(16), key or secrets.token_bytes(32)
    await cell(database)
    await database.execute(
        """insert into enrollments (txn, cell, serial, identity_key, claim_version, state, reason, hello, challenge,
                                    transcript, keys, proof, hardware, firmware, channels, expires_at)
           values ($1, 'main', $2, $3, 1, $4, 'unknown-serial', 'h', 'c', 't',
                   case when $4 in ('challenged', 'awaiting', 'approved') then 'k'::bytea end,
                   case when $4 <> 'challenged' then 'p'::bytea end, 'rev C', $5, '{ph}',
                   now() + interval '1 day')""",
        *(txn, serial, identity, state, "2.4\u001b[31m1"),
    )
    return txn, identity


async def login_of(database: asyncpg.Connection, device: str, generation: int = 1) -> str:
    """A login from a handshake, as the broker knows it; the device is registered if need be."""
    await cell(database)
    await database.execute("insert into devices (name) values ($1) on conflict do nothing", device)
    username = f"{device}.{generation}"
    await database.execute(
        """insert into credentials (username, device_id, cell, generation, client_id, salt, verifier,
                                    applied, applied_at, activated_at)
           select $1, device_id, 'main', $2, 'secret-' || $1, 'salt', 'verifier', 'present', now(), now()
             from devices where name = $3""",
        *(username, generation, device),
    )
    return username
