"""Drops data older than their retention, in the gateway that leads, with both editions of TimescaleDB: the retention
policies of the community edition know no holds.

Frames and events are dropped by whole chunks, which have all devices in them. The database copies what a hold keeps,
drops the chunk, counts the rest and tells the audit trail: schema/migrations/0018_tenants_apart.sql.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from gateway import metrics
from gateway.errors import words_of
from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.runtime.lead import pause_while
from gateway.settings import Settings

log = structlog.get_logger()

CHUNKS = {"frame": "frames", "event": "device_events"}
"""The hypertable of each kind that is dropped by chunks."""
ROWS = {
    "status": "select retention_drop_statuses($1, $2, $3)",
    "quarantined": "select retention_drop_quarantined($1, $2, $3)",
}
ROWS_AT_ONCE = 10_000
COUNTING_S = 3600.0
"""Longest time to drop a chunk: a million frames in memory take half a second, a day's from a slow disk minutes."""
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""Somebody reads the chunk for longer than others should wait: it is dropped another time."""

OLD = """
select format('%I.%I', chunk_schema, chunk_name) as chunk, range_start as begins, range_end as ends,
       case when retention_held(range_start, range_end - interval '1 microsecond')
            then not retention_any_free('public.' || hypertable_name, range_start, range_end) else false end as held
  from timescaledb_information.chunks
 where hypertable_schema = 'public' and hypertable_name = $1 and range_end <= $2
 order by range_start"""
DROP = "select retention_drop_chunk($1, $2::text::regclass, $3::text::regclass, $4, $5, $6)"
FORGET_LATE = """
delete from late_arrivals l
 where noted_at < now() - interval '1 hour'
   and exists (select from late_arrivals n where n.device_id = l.device_id and n.late_id > l.late_id)"""
POLICIES = """
select hypertable_name from timescaledb_information.jobs
 where proc_name = 'policy_retention' and hypertable_schema = 'public'
   and hypertable_name in ('frames', 'device_events')"""


class Retention:
    """Runs in every gateway, and drops data in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading, self._look_s = pool, leading, settings.timing.look_s
        self._every_s = settings.retention_interval_s
        self._days = {
            "frame": settings.retention_frames_days,
            "event": settings.retention_events_days,
            "status": settings.retention_statuses_days,
            "quarantined": settings.retention_quarantine_days,
        }

    async def run(self) -> None:
        """Drop old data every `retention_interval_s` while leading. Never returns."""
        trouble = Trouble({}, "drop what is older than its retention")
        while True:
            if not self._leading.is_set():
                metrics.RETENTION_AT.forget()
                metrics.RETENTION_HELD.forget()
                await self._leading.wait()
            try:
                await self.look(datetime.now(UTC))
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            trouble.reset()
            await pause_while(self._leading, self._every_s, self._look_s)

    async def look(self, now: datetime) -> None:
        """Drop the data that are older than their retention at `now`."""
        for policy in await self._pool.fetch(POLICIES):
            log.error("a retention policy drops chunks and knows no holds: remove it", table=policy["hypertable_name"])
        for kind, days in self._days.items():
            if days is None:
                continue
            why = f"older than {days} days"
            if kind in CHUNKS:
                await self._chunks(kind, now - timedelta(days=days), why)
            else:
                midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
                await self._rows(kind, midnight - timedelta(days=days), why)  # midnight: one audit event a day
        await self._pool.execute(FORGET_LATE)
        metrics.RETENTION_AT.set(now.timestamp())

    async def _chunks(self, kind: str, before: datetime, why: str) -> None:
        held = 0
        for chunk in await self._pool.fetch(OLD, CHUNKS[kind], before):
            if chunk["held"]:
                held += 1
                continue
            given = kind, CHUNKS[kind], chunk["chunk"], chunk["begins"], chunk["ends"], why
            try:
                rows = await self._pool.fetchval(DROP, *given, timeout=COUNTING_S)
            except BUSY as error:
                log.warning("an old chunk is in use; it is dropped later", chunk=chunk["chunk"], error=words_of(error))
                continue
            if rows is not None:
                metrics.RETENTION_CHUNKS.labels(kind).inc()
                self._dropped(kind, rows, chunk["begins"], chunk["ends"])
        metrics.RETENTION_HELD.set(held, kind)

    async def _rows(self, kind: str, before: datetime, why: str) -> None:
        rows = ROWS_AT_ONCE
        while rows == ROWS_AT_ONCE:
            rows = await self._pool.fetchval(ROWS[kind], before, ROWS_AT_ONCE, why)
            if rows:
                self._dropped(kind, rows, None, before)

    def _dropped(self, kind: str, rows: int, begins: datetime | None, ends: datetime) -> None:
        metrics.RETENTION_ROWS.labels(kind).inc(rows)
        log.info("dropped old data", kind=kind, rows=rows, begins=begins and str(begins), ends=str(ends))
