"""Verifies a backup: restores it into a server of its own, and checks what must hold in every database."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import asyncpg

from deploy.backup.restore import restore
from deploy.backup.take import Backup
from deploy.stack import choose
from deploy.stack.local import TEMPORARY, database, erase, hold, sweep
from deploy.stack.paths import Paths
from deploy.stack.ports import any_free
from schema.migrate import MIGRATIONS, pending

ACCOUNT = """
with counted as (
    select 'frame' as kind, count(*) as stored from frames
    union all select 'event', count(*) from device_events
    union all select 'status', count(*) from statuses
    union all select 'quarantined', count(*) from quarantine
), said as (
    select kind, sum(committed) as n from intake_totals where kind <> 'result' group by kind
    union all select 'quarantined', sum(quarantined) from intake_totals
), dropped as (
    select kind, sum(rows) as n from retention_drops group by kind
)
select kind, stored, coalesce(d.n, 0)::bigint as dropped, coalesce(s.n, 0)::bigint as said
  from counted left join said s using (kind) left join dropped d using (kind)
 where stored + coalesce(d.n, 0) <> coalesce(s.n, 0) order by kind"""
FAULTS = "select name, array(select audit_faults(organization_id) limit 10) as faults from organizations order by 1"
NOTE = "update backups set verified_at = now(), newest = $2, ok = $3, detail = $4 where label = $1"


@dataclass
class Findings:
    """The result of a verification. `faults` are sentences; without any, the database is whole."""

    newest: datetime | None = None
    frames: int = 0
    faults: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join([*self.faults, *self.notices]) or "whole"


async def verified(store: Path, backup: Backup) -> Findings:
    """Restore the backup, check it, and remove that server again. Raises StackError."""
    paths = Paths(f"verify-{os.getpid()}")
    held = hold(paths)
    try:
        sweep()
        (paths.run / TEMPORARY).touch()
        server = database(paths, choose.postgres(given=False), port=any_free())
        try:
            restore(store, backup, server)
            return await look(server.url)
        finally:
            server.stop()
    finally:
        erase(paths)
        os.close(held)


async def look(url: str) -> Findings:
    """Check what must hold in every database."""
    found = Findings()
    connection = await asyncpg.connect(url, timeout=10)
    try:
        missing = await pending(connection)
        known = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
        if missing != known[len(known) - len(missing) :]:
            found.faults.append(f"migrations are missing in between: {', '.join(missing)}")
        elif missing:
            found.notices.append(f"older than this version, which has also: {', '.join(missing)}")
        if found.faults or "0011_retention" in missing:
            found.faults.append("the account cannot be checked by this version: check it with the one that made it")
            return found
        for row in await connection.fetch(ACCOUNT):
            found.faults.append(
                f"{row['kind']}: {row['stored']} stored and {row['dropped']} dropped, but {row['said']} were counted"
            )
        for row in await connection.fetch(FAULTS):
            if row["faults"]:
                events = ", ".join(map(str, row["faults"]))
                found.faults.append(f"the audit trail of {row['name']} was changed, or has lost something, at {events}")
        row = await connection.fetchrow("select count(*) as frames, max(time) as newest from frames")
        found.frames, found.newest = row["frames"], row["newest"]
    finally:
        await connection.close(timeout=5)
    return found


async def note(url: str, label: str, found: Findings, words: str) -> bool:
    """Note the result in the database that was backed up, for the gateway's metrics; false if it has no such backup."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        noted = await connection.execute(NOTE, label, found.newest, not found.faults, words[:2000])
        return bool(noted == "UPDATE 1")
    finally:
        await connection.close(timeout=5)
