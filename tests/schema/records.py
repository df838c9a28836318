"""What the tests put into a database, and a description of everything that is in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)

COLUMNS = ("time", "device_id", "layout_id", "boot", "seq", "received_at", "values", "quality")
Row = tuple[datetime, int, int, int, int, datetime, Sequence[float | None], Sequence[int | None] | None]


def after(seconds: float) -> datetime:
    """So long after NOON."""
    return NOON + timedelta(seconds=seconds)


def frame(
    seconds: float,
    values: Sequence[float | None],
    quality: Sequence[int | None] | None = None,
    *,
    layout: int,
    device: int = 1,
) -> Row:
    """A frame of a device."""
    return (after(seconds), device, layout, 1, int(seconds), after(seconds), values, quality)


async def device(connection: asyncpg.Connection, name: str) -> int:
    return int(await connection.fetchval("insert into devices (name) values ($1) returning device_id", name))


async def layout(connection: asyncpg.Connection, *channels: str) -> int:
    """A layout of channels that exist."""
    return int(
        await connection.fetchval(
            """insert into layouts (channel_ids)
               select array_agg(channel_id order by channel_id) from channels where name = any ($1)
               returning layout_id""",
            channels,
        )
    )


async def copy(connection: asyncpg.Connection, *rows: Row) -> None:
    """As the gateway does it."""
    await connection.copy_records_to_table("frames", records=rows, columns=COLUMNS)


CATALOG = """
select 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, a.attidentity::text
  from pg_attribute a join pg_class c on c.oid = attrelid
 where relnamespace = 'public'::regnamespace and attnum > 0 and relkind in ('r', 'v') and not attisdropped
union all
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
  from pg_constraint where connamespace = 'public'::regnamespace and conrelid <> 0
union all
select 'index', tablename, indexname, indexdef, '', '' from pg_indexes
 where schemaname in ('public', '_timescaledb_internal')
union all
select 'view', viewname, '', definition, coalesce(obj_description(format('public.%I', viewname)::regclass), ''), ''
  from pg_views where schemaname = 'public'
union all
select 'function', p.oid::regprocedure::text, '', prosrc, '', '' from pg_proc p
 where pronamespace = 'public'::regnamespace
   and not exists (select from pg_depend where objid = p.oid and deptype = 'e')
union all
select 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '' from pg_trigger
 where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
union all
select 'hypertable', h.hypertable_name, d.column_name, d.time_interval::text, h.compression_enabled::text, ''
  from timescaledb_information.hypertables h
  join timescaledb_information.dimensions d using (hypertable_schema, hypertable_name)
union all
select 'job', job_id::text, application_name, schedule_interval::text, config::text, scheduled::text
  from timescaledb_information.jobs
union all
select 'aggregate', view_name, materialization_hypertable_name, materialized_only::text, view_definition, ''
  from timescaledb_information.continuous_aggregates
union all
select 'channel', channel_id::text, name, unit, description, '' from channels
union all
select 'migration', migration_id, migration_hash, '', '', '' from _pogo_migration
order by 1, 2, 3, 4
"""


async def catalog(connection: asyncpg.Connection) -> list[tuple[str, ...]]:
    """Everything that migrations make."""
    return [tuple(row) for row in await connection.fetch(CATALOG)]
