"""Restores a backup: makes a data directory of it, and recovers to the end of the log, or to an instant before."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tarfile
from datetime import datetime
from pathlib import Path

from deploy.backup.take import BASE, WAL, Backup, measured, position
from deploy.stack.errors import StackError
from deploy.stack.servers import DATABASE, Postgres

RECOVERY_S = 24 * 3600.0
"""Recovery of a week's log takes hours; the server's log shows the progress."""
PARTIAL = ".partial"
"""The suffix of the file that pg_receivewal was writing."""


def restore(store: Path, backup: Backup, server: Postgres, until: datetime | None = None) -> None:
    """Restore a backup and the log after it into `server`, which is then left running. Its data directory must not
    exist yet.

    Raises StackError, and leaves what was restored by then.
    """
    base = store / backup.label / BASE
    if server.cluster.exists():
        raise StackError(f"{server.cluster} is there already: move it away")
    size, digest = measured(base)
    if (size, digest) != (backup.bytes, backup.sha256):
        raise StackError(f"{base} is damaged: it is not the file that was written")
    server.data.mkdir(parents=True, exist_ok=True)
    new, log = server.cluster.with_name("17.new"), server.data / WAL
    for directory in (new, log):
        shutil.rmtree(directory, ignore_errors=True)
        server.place.make(directory, server.user)
    _unpack(server, base, new)
    verify = [f"{server.programs}/pg_verifybackup", "--quiet", server.place.inside(new)]
    server.place.run(verify, server.user)
    received = give_log(store / WAL, backup, server, log)
    server.place.run(["touch", f"{server.place.inside(new)}/recovery.signal"], server.user)
    new.rename(server.cluster)
    settings = {
        "restore_command": f'cp "{server.place.inside(log)}/%f" "%p"',
        "recovery_target_action": "promote",
        "hot_standby": "off",  # ready means: recovered
        "synchronous_standby_names": "",  # whoever that was, nobody would answer
        **({"recovery_target_time": until.isoformat()} if until else {}),
        # without a log there is only what the backup itself has
        **({} if received or until else {"recovery_target": "immediate"}),
    }
    usual, server.settings = server.settings, {**server.settings, **settings}
    try:
        server.start(RECOVERY_S)
        server.stop()
    finally:
        server.settings = usual
    word = server.password().read_text().replace("'", "''")
    server.run_single(server.cluster, f"ALTER ROLE {DATABASE} PASSWORD '{word}'")
    shutil.rmtree(log)
    server.start()


def _unpack(server: Postgres, base: Path, to: Path) -> None:
    command = server.place.command(["tar", "-xzf", "-", "-C", server.place.inside(to)], server.user, signal.SIGKILL)
    with base.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, check=False)
    if done.returncode != 0:
        raise StackError(f"the backup cannot be unpacked: {done.stderr.decode(errors='replace').strip()}")


def give_log(store: Path, backup: Backup, server: Postgres, to: Path) -> int:
    """Return the number of log files from the backup on, and give the file that was being written its final name."""
    needed = [
        path
        for path in sorted(store.glob("?" * 8 + "*"))
        if path.suffix == ".history" or position(path.name) >= position(backup.first_wal)
    ]
    reader = subprocess.Popen(
        server.place.command(["tar", "-xf", "-", "-C", server.place.inside(to)], server.user, signal.SIGKILL),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert reader.stdin is not None
    try:
        with tarfile.open(fileobj=reader.stdin, mode="w|") as tar:
            for path in needed:
                if not (path.suffix == PARTIAL and path.with_suffix("") in needed):
                    tar.add(path, arcname=path.name.removesuffix(PARTIAL), filter=_nobodys)
    except OSError as error:
        raise StackError(f"the log cannot be copied: {error}") from error
    finally:
        _, said = reader.communicate()
    if reader.returncode != 0:
        raise StackError(f"the log cannot be copied: {said.decode(errors='replace').strip()}")
    return len(needed)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    return entry.replace(uid=0, gid=0, uname="", gname="", mode=0o600, deep=False)
