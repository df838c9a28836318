"""Keeps the account of an import in the database: in the transaction that stores some frames, how far the file is.

An import that was interrupted is known again by organization, file and plan, and goes on at its position. The process
that takes it up gets the next attempt's number; one with an earlier number stores nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from gateway.errors import LeadLost
from gateway.history.report import ImportReport
from gateway.intake.accounting import ItemCounts
from gateway.items import EPOCH, Item
from gateway.runtime.database import Pool, PoolConnection

TAKE_UP = """
update imports set attempt = attempt + 1, pending = 0, job_id = $4
 where organization_id = $1 and sha256 = $2 and plan = $3 and finished_at is null
returning import_id, attempt, position, received_at, committed, duplicate, quarantined, discarded"""
BEGIN = """
insert into imports (organization_id, sha256, plan, job_id, name, who) values ($1, $2, $3, $4, $5, $6)
returning import_id, attempt, position, received_at, committed, duplicate, quarantined, discarded"""
DEVICES = """
insert into imported_devices (device_id, received_at, import_id)
select unnest($1::int[]), $2, $3 on conflict do nothing"""
SETTLED = """
update imports
   set committed = committed + $3, duplicate = duplicate + $4, quarantined = quarantined + $5,
       discarded = discarded + $6,
       position = case when pending + $7 >= $8 then $9 else position end,
       pending = case when pending + $7 >= $8 then 0 else pending + $7 end
 where import_id = $1 and attempt = $2
returning import_id"""
FINISH = """
update imports set finished_at = clock_timestamp(), result = $3
 where import_id = $1 and attempt = $2 and finished_at is null
returning import_id"""
FINISHED = "select finished_at is not null from imports where import_id = $1 and attempt = $2"
RESULT = "select result from imports where job_id = $1 and finished_at is not null"
AUDIT = """
insert into audit (organization_id, who, action, subject, new, why) values ($1, $2, $3, 'import/' || $4, $5, $6)"""
COUNTS = "select committed, duplicate, quarantined, discarded from imports where import_id = $1"
AUDITED = ("file", "sha256", "frames", "samples", "stored", "duplicate", "rejected", "discarded", "refused")
"""What of a report stands in the audit trail."""


class ImportedFile(NamedTuple):
    """What identifies an import, and who asked for it."""

    organization_id: int
    name: str
    sha256: bytes
    plan: bytes
    who: str
    why: str
    job_id: UUID | None = None


class FrameCounts(NamedTuple):
    """What became of the frames of a file."""

    committed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    discarded: int = 0


class Ledger:
    """The account of one import. `position` is where this process begins."""

    def __init__(self, file: ImportedFile, row: Any) -> None:
        self._file = file
        self._import_id: int = row["import_id"]
        self._attempt: int = row["attempt"]
        self._received_at: datetime = row["received_at"]
        self.position: int = row["position"]
        self._items = self._end = 0

    @property
    def received_ms(self) -> float:
        """The receipt of all frames of the import, in ms since 1970."""
        return (self._received_at - EPOCH) / timedelta(milliseconds=1)

    def expect(self, items: int, end: int) -> None:
        """The next batch has so many items, and ends at this position."""
        self._items, self._end = items, end

    async def settled(self, connection: PoolConnection, items: Sequence[Item], outcome: ItemCounts) -> None:
        """Count the items of a part of the batch, in the transaction that stores them. Raises LeadLost."""
        counters = outcome.committed, outcome.duplicate, outcome.quarantined, outcome.discarded
        counts = [counter["frame"] for counter in counters]
        arguments = *counts, len(items), self._items, self._end
        if await connection.fetchval(SETTLED, self._import_id, self._attempt, *arguments) is None:
            raise LeadLost("another process has taken this import up")

    async def counts(self, pool: Pool) -> FrameCounts:
        return FrameCounts(*await pool.fetchrow(COUNTS, self._import_id))

    async def finish(self, pool: Pool, report: ImportReport) -> None:
        """End the import with this result, also if it ended by a COMMIT that was not answered. Raises LeadLost."""
        said = msgspec.json.encode(report).decode()
        facts = {name: getattr(report, name) for name in AUDITED} | {"devices": [one.name for one in report.devices]}
        async with pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(FINISH, self._import_id, self._attempt, said) is None:
                if await connection.fetchval(FINISHED, self._import_id, self._attempt):
                    return
                raise LeadLost("another process has taken this import up")
            await _audit(connection, self._file, "import end", self._import_id, facts)


async def begin(pool: Pool, file: ImportedFile, device_ids: Sequence[int]) -> Ledger:
    """Begin the import of a file into these devices, or take it up again."""
    async with pool.acquire() as connection, connection.transaction():
        key = file.organization_id, file.sha256, file.plan, file.job_id
        row = await connection.fetchrow(TAKE_UP, *key)
        if row is None:
            row = await connection.fetchrow(BEGIN, *key, file.name, file.who)
            facts = {"file": file.name, "sha256": file.sha256.hex()}
            await _audit(connection, file, "import begin", row["import_id"], facts)
        await connection.execute(DEVICES, device_ids, row["received_at"], row["import_id"])
    return Ledger(file, row)


async def result_of(pool: Pool, job_id: UUID) -> dict[str, Any] | None:
    """The report of the import that this job has ended; None if it has not."""
    found = await pool.fetchval(RESULT, job_id)
    return None if found is None else msgspec.json.decode(found, type=dict[str, Any])


async def _audit(
    connection: PoolConnection, file: ImportedFile, action: str, import_id: int, facts: Mapping[str, Any]
) -> None:
    said = msgspec.json.encode(facts).decode()
    await connection.execute(AUDIT, file.organization_id, file.who, action, str(import_id), said, file.why)
