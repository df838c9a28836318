"""`python -m deploy.backup take|wal|list|verify|restore DIR`. docs/backup.md says when to use which.

Exit status: 0 done, 1 it is not as it should be, or could not be done, and it is said why.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from deploy.backup import safe
from deploy.backup.restore import restore
from deploy.backup.take import SECRETS, Backup, backups, chosen, receive, take
from deploy.backup.verify import note, verified
from deploy.stack import choose
from deploy.stack.errors import StackError
from deploy.stack.local import database, hold
from deploy.stack.paths import CHECKOUT, MAIN, Paths, short
from deploy.stack.ports import any_free

REBUILT = timedelta(hours=1)
"""Streams of devices are learned again from so long before a backup on."""
DATABASE_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


def main() -> int:
    options = arguments()
    try:
        return int(options.work(options) or 0)
    except StackError as error:
        print(error, file=sys.stderr)
    except DATABASE_FAILURES as error:
        print(f"{options.command}: {error or type(error).__name__}", file=sys.stderr)
    return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.backup",
        description="Backups of the database that BIOGATE_DATABASE_URL names. Its login must be a superuser's, or one "
        "with the attribute REPLICATION.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, work: object, words: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=words, description=words)
        one.add_argument("store", type=Path, metavar="DIR", help="where backups are kept: on another disk")
        one.set_defaults(work=work)
        return one

    one = command("take", _take, "Take a backup, while everything goes on.")
    one.add_argument("--keep", type=_positive, help="of the backups there so many; older ones are removed")
    one.add_argument("--secrets", type=Path, help="BIOGATE_SECRETS_DIR, to be kept with it")
    one.add_argument("--passphrase-file", type=Path, help="what opens the secrets: keep it elsewhere")
    command("wal", _wal, "Receive the write-ahead log as it is written, until stopped.")
    command("list", _list, "The backups, the oldest first.")
    one = command("verify", _verify, "Restore a backup into a server of its own, and see whether all adds up.")
    one.add_argument("--label", help="which one; without it the newest")
    one = command("restore", _restore, "Put a backup back into the local stack, which must not run.")
    one.add_argument("--label", help="which one; without it the newest")
    one.add_argument("--until", type=_instant, help="2026-11-20T07:45:00Z: as it was then; without it, to the end")
    one.add_argument("--name", default=MAIN, help="of the stack, as in `python -m deploy.up --name`")
    one.add_argument("--secrets", type=Path, help="a directory, not there yet, for the secrets that were kept with it")
    one.add_argument("--passphrase-file", type=Path, help="what opens them")
    return parser.parse_args()


def _take(options: argparse.Namespace) -> None:
    given = options.secrets, options.passphrase_file
    backup = asyncio.run(take(_url(), options.store, keep=options.keep, secrets=given[0], passphrase=given[1]))
    print(f"{backup.label}: {backup.bytes} bytes; what is committed after {backup.taken_at} is in the log alone")
    if given[0] is None:
        print("without the secrets (--secrets): keep BIOGATE_SECRETS_DIR elsewhere, nothing opens the vault without it")


def _wal(options: argparse.Namespace) -> None:
    receive(_url(), options.store)


def _list(options: argparse.Namespace) -> None:
    for backup in backups(options.store):
        kept = "with secrets" if (options.store / backup.label / SECRETS).exists() else "without secrets"
        print(f"{backup.label}\t{backup.bytes}\tPostgreSQL {backup.server}, TimescaleDB {backup.timescaledb}\t{kept}")


def _verify(options: argparse.Namespace) -> int:
    backup = chosen(options.store, options.label)
    newest, faults, words = None, [], ""
    try:
        found = asyncio.run(verified(options.store, backup))
        newest, faults = found.newest, found.faults
        words = f"{found}: {found.frames} frames, the newest of {found.newest}"
    except StackError as error:
        faults, words = [str(error)], str(error)
    print(f"{backup.label}: {words}")
    if url := os.environ.get("BIOGATE_DATABASE_URL"):
        try:
            if not asyncio.run(note(url, backup.label, newest, faults, words)):
                print("the database knows no such backup: not noted there", file=sys.stderr)
        except DATABASE_FAILURES as error:
            print(f"not noted in the database: {error or type(error).__name__}", file=sys.stderr)
    return 1 if faults else 0


def _restore(options: argparse.Namespace) -> None:
    backup, paths = chosen(options.store, options.label, options.until), Paths(options.name)
    sealed = options.store / backup.label / SECRETS
    if options.secrets is not None:
        if not sealed.exists():
            raise StackError(f"{backup.label} has no secrets")
        safe.unseal(sealed.read_bytes(), safe.read(options.passphrase_file), options.secrets)
        print(f"the secrets are in {options.secrets}")
    held = hold(paths)
    server = database(paths, choose.postgres(given=False), port=any_free())
    try:
        restore(options.store, backup, server, options.until)
        learn(server.url, backup)
    finally:
        server.stop()
        os.close(held)
    print(f"{backup.label} is restored in {short(server.cluster)}: `python -m deploy.up --name {options.name}`")
    print("take a new backup then, into another directory: the log goes on in another way from here")


def learn(url: str, backup: Backup) -> None:
    """Learn again what has arrived of each boot. It is recorded a little after the frames: the gateway would ask for
    what was not recorded yet, and devices that have forgotten it would report it as lost."""
    since = datetime.fromisoformat(backup.taken_at).astimezone(UTC) - REBUILT
    command = [sys.executable, "-m", "gateway.devices", "rebuild-streams", "--since", f"{since:%Y-%m-%d %H:%M:%S}"]
    done = subprocess.run(
        command,
        env={**os.environ, "BIOGATE_DATABASE_URL": url},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(
            f"restored, but before a gateway starts this has to run: {' '.join(command[2:])}: {done.stderr}"
        )


def _url() -> str:
    url = os.environ.get("BIOGATE_DATABASE_URL")
    if not url:
        raise StackError("BIOGATE_DATABASE_URL is not set; while `make up` runs: set -a; . .stack/env; set +a")
    return url


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
