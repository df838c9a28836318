"""`biogate backup take|wal|list|verify|restore DIR`. docs/backup.md says when to use which."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from deploy.backup import safe
from deploy.backup.restore import restore
from deploy.backup.take import SECRETS, Backup, backups, chosen, receive, take
from deploy.backup.verify import Findings, note, verified
from deploy.stack import choose
from deploy.stack.errors import StackError
from deploy.stack.local import database, hold
from deploy.stack.paths import BIOGATE, CHECKOUT, MAIN, Paths, short
from deploy.stack.ports import any_free
from schema.command_line import DONE, FAILED, commands
from schema.console import SURROUNDINGS, Refused, database_errors, instant
from schema.errors import Misused
from schema.migrate import BACKUP, LOGINS

REBUILT = timedelta(hours=1)
"""Streams of devices are learned again from so long before a backup on."""


RESTORED = """
insert into audit (organization_id, who, action, subject, new, why)
values (1, session_user, 'backup restore', 'backup/' || $1, $2::jsonb, 'biogate backup')"""

app = commands(
    "Backups of the database that BIOGATE_BACKUP_DATABASE_URL names, or else BIOGATE_DATABASE_URL. Its login must be a "
    "superuser's, or one with the attribute REPLICATION."
)

Store = Annotated[Path, typer.Argument(metavar="DIR", help="where backups are kept: on another disk")]
Label = Annotated[str | None, typer.Option(help="which one; without it the newest")]


@app.command("take")
def take_one(
    store: Store,
    *,
    keep: Annotated[
        int | None, typer.Option(min=1, help="of the backups there so many; older ones are removed")
    ] = None,
    secrets: Annotated[Path | None, typer.Option(help="BIOGATE_SECRETS_DIR, to be kept with it")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="what opens the secrets: keep it elsewhere")] = None,
) -> None:
    """Take a backup, while everything goes on."""
    with database_errors():
        backup = asyncio.run(take(_url(), store, keep=keep, secrets=secrets, passphrase=passphrase_file))
    print(f"{backup.label}: {backup.bytes} bytes; what is committed after {backup.taken_at} is in the log alone")
    if secrets is None:
        print("without the secrets (--secrets): keep BIOGATE_SECRETS_DIR elsewhere, nothing opens the vault without it")


@app.command()
def wal(store: Store) -> None:
    """Receive the write-ahead log as it is written, until stopped."""
    receive(_url(), store)


@app.command("list")
def list_backups(store: Store) -> None:
    """List the backups, the oldest first."""
    for backup in backups(store):
        kept = "with secrets" if (store / backup.label / SECRETS).exists() else "without secrets"
        print(f"{backup.label}\t{backup.bytes}\tPostgreSQL {backup.server}, TimescaleDB {backup.timescaledb}\t{kept}")


@app.command()
def verify(store: Store, *, label: Label = None) -> None:
    """Restore a backup into a server of its own, and see whether all adds up."""
    backup = chosen(store, label)
    try:
        with database_errors():
            found = asyncio.run(verified(store, backup))
        words = f"{found}: {found.frames} frames, the newest of {found.newest}"
    except StackError as error:
        found, words = Findings(faults=[str(error)]), str(error)
    print(f"{backup.label}: {words}")
    if url := _given():
        try:
            with database_errors():
                noted = asyncio.run(note(url, backup.label, found, words))
            if not noted:
                print("the database knows no such backup: not noted there", file=sys.stderr)
        except Refused as error:
            print(f"not noted in the database: {error}", file=sys.stderr)
    raise typer.Exit(FAILED if found.faults else DONE)


@app.command("restore")
def restore_one(
    store: Store,
    *,
    label: Label = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=instant, help="2026-11-20T07:45:00Z: as it was then; without it, to the end"),
    ] = None,
    name: Annotated[str, typer.Option(help="of the stack, as in `biogate up --name`")] = MAIN,
    secrets: Annotated[
        Path | None, typer.Option(help="a directory, not there yet, for the secrets that were kept with it")
    ] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="what opens them")] = None,
) -> None:
    """Put a backup back into the local stack, which must not run."""
    backup, paths = chosen(store, label, until), Paths(name)
    sealed = store / backup.label / SECRETS
    if secrets is not None:
        if not sealed.exists():
            raise StackError(f"{backup.label} has no secrets")
        safe.unseal(sealed.read_bytes(), safe.read(passphrase_file), secrets)
        print(f"the secrets are in {secrets}")
    held = hold(paths)
    server = database(paths, choose.postgres(given=False), port=any_free())
    try:
        with database_errors():
            restore(store, backup, server, until)
        learn(server.url, backup)
        with database_errors():
            asyncio.run(tell_restore(server.url, backup, until))
    finally:
        server.stop()
        os.close(held)
    print(f"{backup.label} is restored in {short(server.cluster)}: `biogate up --name {name}`")
    print("take a new backup then, into another directory: the log goes on in another way from here")


async def tell_restore(url: str, backup: Backup, until: datetime | None) -> None:
    """Write into the audit trail of what was restored that it was. The process that signs halts: docs/backup.md."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        said = {"taken_at": backup.taken_at, "until": None if until is None else until.isoformat()}
        await connection.execute(RESTORED, backup.label, json.dumps(said))
    finally:
        await connection.close(timeout=5)


def learn(url: str, backup: Backup) -> None:
    """Learn again what has arrived of each boot. It is recorded a little after the frames: the gateway would ask for
    what was not recorded yet, and devices that have forgotten it would report it as lost."""
    since = datetime.fromisoformat(backup.taken_at).astimezone(UTC) - REBUILT
    words = ["devices", "rebuild-streams", "--since", f"{since:%Y-%m-%dT%H:%M:%SZ}"]
    done = subprocess.run(
        [*BIOGATE, *words],
        env={**os.environ, "BIOGATE_DATABASE_URL": url},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(
            f"restored, but before a gateway starts this has to run: {shlex.join(['biogate', *words])}: {done.stderr}"
        )


def _given() -> str | None:
    return os.environ.get(LOGINS[BACKUP]) or os.environ.get("BIOGATE_DATABASE_URL")


def _url() -> str:
    url = _given()
    if not url:
        raise Misused(f"BIOGATE_DATABASE_URL is not set{SURROUNDINGS}")
    return url
