"""Writes digests of new records into the audit trail of their organization (schema/evidence/records.py).

Numbers are given before a transaction commits: a row with a small number may come after one with a greater. So the rows
up to a number are digested once all transactions have ended that ran when it was the newest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import asyncpg

from gateway.errors import LeadLost
from gateway.evidence import metrics
from gateway.evidence.lead import HELD, EvidenceLead
from gateway.runtime.database import Pool, PoolConnection
from schema.evidence.records import DIGEST, NEWEST, ROWS, SUBJECT, record_digest

NOW = """
select pg_snapshot_xmin(s)::text::bigint as xmin, pg_snapshot_xmax(s)::text::bigint as xmax
  from (select pg_current_snapshot()) as now (s)"""
POSITIONS = "select kind, last from record_positions where organization_id = $1"
ADVANCE = """
insert into record_positions values ($1, $2, $3)
on conflict (organization_id, kind) do update set last = excluded.last"""
WRITE = """
insert into audit (organization_id, who, action, subject, new, why)
values ($1, 'biogate evidence', $2, $3, $4, 'what the records were when they were stored')"""


@dataclass
class _Seen:
    """The newest numbers at a moment, and the transaction before which all were over, or had begun, then."""

    xmax: int
    newest: dict[str, int] = field(default_factory=dict)


class RecordDigests:
    """Digests of all organizations. What was seen as the newest is digested at a later look."""

    def __init__(self, pool: Pool, lead: EvidenceLead) -> None:
        self._pool, self._lead = pool, lead
        self._seen: dict[int, _Seen] = {}

    async def write(self, organization: int) -> None:
        """Write an event with the digests of what is new and settled. Raises LeadLost."""
        async with self._pool.acquire() as connection:
            seen = self._seen.get(organization)
            now = await connection.fetchrow(NOW)
            if seen is None or (now["xmin"] >= seen.xmax and await self._digest(connection, organization, seen.newest)):
                self._seen[organization] = await self._look(connection, organization, now["xmax"])

    async def _look(self, connection: PoolConnection, organization: int, xmax: int) -> _Seen:
        row: asyncpg.Record = await connection.fetchrow(NEWEST, organization)
        return _Seen(xmax, {kind: row[kind] for kind in ROWS if row[kind] is not None})

    async def _digest(self, connection: PoolConnection, organization: int, newest: dict[str, int]) -> bool:
        """Digest what is new up to these numbers; false if there was more than fits into one event."""
        positions = dict(await connection.fetch(POSITIONS, organization))
        found = {}
        for kind, last in newest.items():
            if last > positions.get(kind, 0):
                digest = await record_digest(connection, organization, kind, positions.get(kind, 0), last)
                if digest is not None:
                    found[kind] = digest
        if not found:
            return True
        async with connection.transaction():
            if await connection.fetchval(HELD) != self._lead.epoch:
                raise LeadLost("another process has taken the lead")
            for kind, digest in found.items():
                await connection.execute(ADVANCE, organization, kind, digest.last)
                metrics.RECORDS.labels(kind).inc(digest.count)
            said = json.dumps({kind: digest.to_json() for kind, digest in found.items()})
            await connection.execute(WRITE, organization, DIGEST, SUBJECT, said)
        return all(digest.last >= newest[kind] for kind, digest in found.items())
