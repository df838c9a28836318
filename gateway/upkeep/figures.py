"""Exports figures of the database, which the leading gateway reads once a minute: no scrape waits for the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from gateway import metrics
from gateway.errors import words_of
from gateway.runtime.database import FAILURES, Pool, PoolConnection
from gateway.runtime.lead import pause_while
from gateway.runtime.metric_kinds import OptionalGauge
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings

log = structlog.get_logger()

EVERY_S = 60.0
ANSWER_S = 20.0

SERVER = """
select pg_database_size(current_database())::float8 as bytes,
       current_setting('max_connections')::float8 as max_connections,
       (select count(*) from pg_stat_activity where backend_type = 'client backend')::float8 as backends,
       (select count(*) from pg_stat_activity where wait_event_type = 'Lock')::float8 as waiting,
       (select coalesce(extract(epoch from now() - min(xact_start)), 0) from pg_stat_activity
         where backend_type = 'client backend' and datname = current_database())::float8 as oldest_transaction,
       pg_notification_queue_usage()::float8 as notification_queue,
       (select age(datfrozenxid) from pg_database where datname = current_database())::float8 as xid_age,
       (select deadlocks from pg_stat_database where datname = current_database())::float8 as deadlocks"""
WAL = """
select case when pg_is_in_recovery() then 0 else pg_current_wal_lsn() - '0/0' end::float8 as written,
       (select count(*) from pg_stat_replication)::float8 as replicas,
       (select coalesce(max(pg_current_wal_lsn() - replay_lsn), 0) from pg_stat_replication
         where not pg_is_in_recovery())::float8 as behind,
       (select coalesce(max(pg_current_wal_lsn() - restart_lsn), 0) from pg_replication_slots
         where not pg_is_in_recovery())::float8 as retained"""
HYPERTABLES = """
select h.hypertable_name as label, h.num_chunks::float8 as chunks,
       hypertable_size(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass)::float8 as bytes,
       count(*) filter (where c.range_start > now())::float8 as ahead,
       extract(epoch from min(c.range_start))::float8 as oldest
  from timescaledb_information.hypertables h
  left join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)
 where h.hypertable_schema = 'public'
 group by h.hypertable_schema, h.hypertable_name, h.num_chunks"""
JOBS = """
select w.status as label,
       (select count(*) from timescaledb_information.jobs j left join timescaledb_information.job_stats s using (job_id)
         where j.scheduled and j.proc_name not in ('policy_telemetry', 'policy_job_stat_history_retention')
           and lower(coalesce(s.last_run_status, 'never')) = w.status)::float8 as jobs
  from unnest('{success,failed,never}'::text[]) as w (status)"""
PLANT = """
select (select coalesce(sum(rows), 0) from quarantine_usage where device is null)::float8 as quarantine_rows,
       (select coalesce(sum(bytes), 0) from quarantine_usage where device is null)::float8 as quarantine_bytes,
       (select coalesce(max(bytes), 0) from
         (select sum(bytes) as bytes from quarantine_usage where device is not null group by device) d)::float8
         as quarantine_device_bytes,
       (select count(*) from enrollments where state = 'awaiting')::float8 as enrollments_pending,
       (select count(*) from device_cards c join devices d using (device_id)
         where c.due_on <= (now() at time zone 'UTC')::date and c.organization_id = d.organization_id
           and d.state in ('active', 'pending', 'suspended'))::float8 as calibrations_due"""
DEVICES = """
select w.presence as label,
       (select count(*) from devices d left join presence p using (device_id)
         where d.state = 'active' and coalesce(p.online, false) = (w.presence = 'online'))::float8 as devices
  from unnest('{online,offline}'::text[]) as w (presence)"""
BACKUPS = """
select (select count(*) from retention_holds where ended_at is null)::float8 as holds,
       (select extract(epoch from max(taken_at)) from backups)::float8 as taken,
       (select extract(epoch from max(verified_at)) from backups where ok)::float8 as verified,
       (select (not ok)::int from backups where verified_at is not null order by verified_at desc limit 1)::float8
         as faulty"""

Gauges = Mapping[str, OptionalGauge]
"""The gauge of each column; a query whose rows have a `label` gives a value for each."""

LOOKS: Mapping[str, Mapping[str, Gauges]] = {
    "server": {
        SERVER: {
            "bytes": metrics.DATABASE_BYTES,
            "backends": metrics.DATABASE_BACKENDS,
            "max_connections": metrics.DATABASE_MAX_CONNECTIONS,
            "waiting": metrics.DATABASE_WAITING,
            "oldest_transaction": metrics.DATABASE_OLDEST_TRANSACTION,
            "notification_queue": metrics.NOTIFICATION_QUEUE,
            "xid_age": metrics.DATABASE_XID_AGE,
            "deadlocks": metrics.DATABASE_DEADLOCKS,
        }
    },
    "wal": {
        WAL: {
            "written": metrics.WAL_WRITTEN,
            "replicas": metrics.REPLICAS,
            "behind": metrics.REPLICA_BEHIND,
            "retained": metrics.WAL_RETAINED,
        }
    },
    "hypertables": {
        HYPERTABLES: {
            "bytes": metrics.HYPERTABLE_BYTES,
            "chunks": metrics.HYPERTABLE_CHUNKS,
            "ahead": metrics.CHUNKS_AHEAD,
            "oldest": metrics.CHUNK_OLDEST,
        }
    },
    "jobs": {JOBS: {"jobs": metrics.DATABASE_JOBS}},
    "plant": {
        PLANT: {
            "quarantine_rows": metrics.QUARANTINE_ROWS,
            "quarantine_bytes": metrics.QUARANTINE_BYTES,
            "quarantine_device_bytes": metrics.QUARANTINE_DEVICE_BYTES,
            "enrollments_pending": metrics.ENROLLMENTS_PENDING,
            "calibrations_due": metrics.CALIBRATIONS_DUE,
        },
        DEVICES: {"devices": metrics.DEVICES},
    },
    "backups": {
        BACKUPS: {
            "holds": metrics.RETENTION_HOLDS,
            "taken": metrics.BACKUP_TAKEN,
            "verified": metrics.BACKUP_VERIFIED,
            "faulty": metrics.BACKUP_FAULTY,
        }
    },
}
"""The queries that are read together, by the name under which their failures are counted."""


class Figures:
    """Runs in every gateway, and reads the figures in the one that leads."""

    def __init__(self, settings: Settings, pool: Pool, leading: asyncio.Event) -> None:
        self._pool, self._leading, self._look_s = pool, leading, settings.timing.look_s
        metrics.QUARANTINE_LIMIT.set(settings.quarantine_total_bytes)
        metrics.QUARANTINE_DEVICE_LIMIT.set(settings.quarantine_bytes)
        if settings.database_bytes is not None:
            metrics.DATABASE_LIMIT.set(settings.database_bytes)

    async def run(self) -> None:
        """Read the figures every EVERY_S while leading. Never returns."""
        try:
            while True:
                await self._leading.wait()
                await self.look()
                await pause_while(self._leading, EVERY_S, self._look_s)
                if not self._leading.is_set():
                    forget()
        finally:
            forget()

    async def look(self) -> None:
        """Read all figures once. A query that fails, as for a right that is missing, costs its own figures alone."""
        for what in LOOKS:
            try:
                async with asyncio.timeout(ANSWER_S), self._pool.acquire() as connection:
                    await read(connection, what)
            except FAILURES as error:
                metrics.FIGURES_FAILURES.labels(what).inc()
                log.warning(
                    "figures of the database cannot be read", what=what, error=f"{sqlstate(error)}: {words_of(error)}"
                )
            else:
                metrics.FIGURES_AT.labels(what).set_to_current_time()


async def read(connection: PoolConnection, what: str) -> None:
    """Export the figures of LOOKS[what]; a figure that is null is absent."""
    for query, gauges in LOOKS[what].items():
        rows = await connection.fetch(query)
        for column, gauge in gauges.items():
            values = [(row, row[column]) for row in rows if row[column] is not None]
            gauge.replace({(row["label"],) if "label" in row else (): value for row, value in values})


def forget() -> None:
    """Export no figures of the database any more: this gateway does not lead."""
    for look in LOOKS.values():
        for gauges in look.values():
            for gauge in gauges.values():
                gauge.forget()
