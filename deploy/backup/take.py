"""Takes a backup: DIR/LABEL with the base backup and its description, and DIR/wal, the write-ahead log since."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import asyncpg

from deploy.backup import safe
from deploy.backup.tools import connection, program
from deploy.stack.errors import StackError

BASE, ABOUT, SECRETS, WAL = "base.tar.gz", "about.json", "secrets.sealed", "wal"
SLOT = "biogate_wal"
"""The slot of pg_receivewal, whose log the server keeps until received; its name in synchronous_standby_names, too."""
ROUND = 1 << 20

NOTE = """
insert into backups (label, taken_at, bytes) values ($1, $2, $3)
on conflict (label) do update set taken_at = excluded.taken_at, bytes = excluded.bytes"""


@dataclass(frozen=True)
class Backup:
    """A complete backup, as its file `about.json` describes it."""

    label: str
    taken_at: str
    """The begin of the backup: everything committed before is in it."""
    ended_at: str
    """The first instant that it can be restored to, with the log."""
    bytes: int
    sha256: str
    first_wal: str
    """The first file of the log that a restore needs."""
    server: str
    timescaledb: str

    @classmethod
    def read(cls, directory: Path) -> Self:
        try:
            return cls(**json.loads((directory / ABOUT).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise StackError(f"{directory} is no backup: {error}") from error


def backups(store: Path) -> list[Backup]:
    """All backups in this directory, the oldest first. Raises StackError if there is no such directory."""
    if not store.is_dir():
        raise StackError(f"there is no directory {store}")
    return [Backup.read(path.parent) for path in sorted(store.glob(f"[!.]*/{ABOUT}"))]


def chosen(store: Path, label: str | None, until: datetime | None = None) -> Backup:
    """The backup with this label, or the newest from which recovery gets to `until`. Raises StackError."""
    found = backups(store) if label is None else [Backup.read(store / label)]
    if not found:
        raise StackError(f"there is no backup in {store}")
    early = [backup for backup in found if until is None or datetime.fromisoformat(backup.ended_at) <= until]
    if not early:
        raise StackError(f"there is no way back to {until}: the first instant is {found[0].ended_at}")
    return early[-1]


async def take(url: str, store: Path, *, keep: int | None, secrets: Path | None, passphrase: Path | None) -> Backup:
    """Take a backup while the server goes on working. Raises StackError, and the database's errors."""
    sealed = None if secrets is None else safe.seal(secrets, safe.read(passphrase))
    taken_at = datetime.now(UTC)
    label = f"{taken_at:%Y%m%dT%H%M%SZ}"
    new = store / f".{label}"
    new.mkdir(parents=True, mode=0o700)
    database = await asyncpg.connect(url, timeout=10)
    try:
        # The slot keeps the log that the backup needs, as long as this connection lasts.
        slot = "select lsn from pg_create_physical_replication_slot($1, true, true)"
        since = await database.fetchval(slot, f"biogate_{label}".lower())
        first = await database.fetchval("select pg_walfile_name($1)", since)
        server = await database.fetchval("show server_version")
        timescaledb = await database.fetchval("select extversion from pg_extension where extname = 'timescaledb'")
        await asyncio.to_thread(_copy, url, new / BASE)
        ended_at = datetime.now(UTC).isoformat()
        size, digest = await asyncio.to_thread(measured, new / BASE)
        backup = Backup(label, taken_at.isoformat(), ended_at, size, digest, first, server, timescaledb)
        if sealed is not None:
            (new / SECRETS).write_bytes(sealed)
        (new / ABOUT).write_text(json.dumps(asdict(backup), indent=1) + "\n")
        for path in (*new.iterdir(), new):
            _sync(path)
        new.rename(store / label)
        _sync(store)
        await database.execute(NOTE, label, taken_at, size)
    finally:
        await database.close(timeout=5)
        shutil.rmtree(new, ignore_errors=True)
    if keep is not None:
        forget(store, keep)
    return backup


def _copy(url: str, to: Path) -> None:
    bare, environment = connection(url)
    command = [
        *program("pg_basebackup"), "-d", bare, "-D", "-", "-F", "tar", "-X", "fetch", "-c", "fast",
        "-Z", "client-gzip:1", "--manifest-checksums", "SHA256", "--no-password", "-l", "biogate",
    ]  # fmt: skip
    with to.open("xb") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise StackError(f"pg_basebackup failed: {done.stderr.decode(errors='replace').strip()}")


def measured(path: Path) -> tuple[int, str]:
    """The file's size in bytes, and its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(ROUND):
            digest.update(part)
    return path.stat().st_size, digest.hexdigest()


def forget(store: Path, keep: int) -> list[str]:
    """Remove all but the newest `keep` backups, and the log that none of those needs. Return the removed labels."""
    found = backups(store)
    old, kept = found[:-keep], found[-keep:]
    for backup in old:
        shutil.rmtree(store / backup.label)
    for path in (store / WAL).glob("?" * 24 + "*"):
        if position(path.name) < position(kept[0].first_wal):
            path.unlink()
    return [backup.label for backup in old]


def position(name: str) -> str:
    """The position of a log file, whatever its timeline."""
    return name[8:24]


def receive(url: str, store: Path) -> None:
    """Become pg_receivewal, which receives the log as it is written, and confirms each part once it is on disk. It goes
    on by itself when the server comes back. Raises StackError."""
    bare, environment = connection(url)
    to = store / WAL
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    separator = "&" if "?" in bare else "?"
    common = [
        *program("pg_receivewal"), "-d", f"{bare}{separator}application_name={SLOT}", "-D", str(to), "-S", SLOT,
        "--no-password",
    ]  # fmt: skip
    made = subprocess.run(
        [*common, "--create-slot", "--if-not-exists"], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise StackError(f"pg_receivewal failed: {' '.join(made.stderr.split())}")
    os.execve(common[0], [*common, "--synchronous"], environment)  # noqa: S606


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
