"""`biogate recovery`: files of the broker written anew from the database.

    dynamic-security DIR   all logins and roles: after a loss of the broker's file, or for many logins at once
    crl DIR                the list of certificates that have ended

DIR is the secrets directory. The broker must not run while its logins are written: it would write over them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.logins.roles import FIXED, ROLE_PREFIX, LoginEntry, device_role, fixed_login, security
from gateway.operators.command import Surroundings
from gateway.operators.setup import BROKER, SECURITY, locked, write
from gateway.secrets import Secrets, SecretsError
from schema.command_line import commands, start
from schema.console import run, settings, tell
from schema.enrollment import LOGIN

CRL = "crl.pem"

LOGINS = """
select c.username, d.name as device, c.client_id, c.salt, c.verifier, c.wanted = 'disabled' as disabled
  from credentials c join devices d using (device_id)
 where c.cell = $1 and c.wanted <> 'absent' and (c.verifier is not null or c.wanted = 'present')
 order by c.username"""
OPEN = "select enrollment_open from cells where cell = $1"
ENDED = """
select certificate_serial as serial, coalesce(ended_at, created_at) as ended_at from credentials
 where wanted = 'absent' and certificate_serial is not null order by username"""

app = commands("Files of the broker, written from the database.")
Directory = Annotated[Path, typer.Argument(envvar="BIOGATE_SECRETS_DIR", help="the secrets directory")]


async def broker_logins(connection: asyncpg.Connection, cell: str, secrets: Secrets) -> tuple[bytes, int]:
    """The content of dynamic-security.json as the database wants it, and how many logins of devices there are."""
    rows = await connection.fetch(LOGINS, cell)
    enrollment_open = await connection.fetchval(OPEN, cell)
    fixed = [
        fixed_login(name, secrets.password(name), disabled=name == LOGIN and enrollment_open is False) for name in FIXED
    ]
    logins = [
        LoginEntry(username, ROLE_PREFIX + device, salt, hashed, client_id, disabled)
        for username, device, client_id, salt, hashed, disabled in rows
    ]
    roles = [device_role(device) for device in sorted({row["device"] for row in rows})]
    return json.dumps(security([*fixed, *logins], roles)).encode(), len(rows)


async def revocations(connection: asyncpg.Connection, secrets: Secrets) -> tuple[bytes, int]:
    """The list of revoked certificates, PEM, and how many they are. Raises SecretsError without the authority's key."""
    if secrets.authority is None:
        raise SecretsError("there is no ca.key.pem here, with which to sign it")
    authority, key = secrets.authority
    rows = await connection.fetch(ENDED)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(datetime.now(UTC))
        .next_update(authority.not_valid_after_utc)  # with an expired list Mosquitto lets nobody in (#1826)
    )
    for row in rows:
        entry = x509.RevokedCertificateBuilder().serial_number(int.from_bytes(row["serial"], "big"))
        builder = builder.add_revoked_certificate(entry.revocation_date(row["ended_at"]).build())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), len(rows)


@app.command("dynamic-security")
def dynamic_security(directory: Directory) -> None:
    """Write all logins and roles of a cell's broker, which must be stopped meanwhile. Then start it with this file."""
    cell = settings(Surroundings).cell
    _rewrite(directory, SECURITY, lambda database, secrets: broker_logins(database, cell, secrets), "logins of devices")


@app.command()
def crl(directory: Directory) -> None:
    """Write the list of certificates that have ended, for the broker's `crlfile`; it reads it again at SIGHUP."""
    _rewrite(directory, CRL, revocations, "certificates")


def _rewrite(
    directory: Path,
    name: str,
    content: Callable[[asyncpg.Connection, Secrets], Coroutine[None, None, tuple[bytes, int]]],
    what: str,
) -> None:
    """Write that file of the broker, and say how many entries it has."""
    secrets = Secrets.load(directory)
    with locked(directory):
        text, count = run(lambda connection: content(connection, secrets))
        write(directory / BROKER / name, text)
    tell(f"{directory / BROKER / name}: {count} {what}")


if __name__ == "__main__":
    start(app, "biogate recovery")
