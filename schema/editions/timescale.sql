-- TimescaleDB's community edition (2.20 or later): column store, continuous aggregates, policies. Runs at every migrate.
-- An existing policy stays as it is: operators tune it by alter_job.

-- Ordered by device and time, a batch of the column store covers little time, so a duplicate is searched in few batches.
do $$
begin
    if exists (select from timescaledb_information.hypertables where hypertable_schema = current_schema
                and hypertable_name = 'frames' and not compression_enabled) then
        alter table frames set (timescaledb.enable_columnstore, timescaledb.segmentby = 'device_id',
                                timescaledb.orderby = 'time, layout_id');
    end if;
    if exists (select from timescaledb_information.hypertables where hypertable_schema = current_schema
                and hypertable_name = 'device_events' and not compression_enabled) then
        alter table device_events set (timescaledb.enable_columnstore, timescaledb.segmentby = 'device_id',
                                       timescaledb.orderby = 'time, digest');
    end if;
end $$;

call add_columnstore_policy('frames', after => interval '7 days', if_not_exists => true);
call add_columnstore_policy('device_events', after => interval '60 days', if_not_exists => true);

-- A database that was of the apache edition has plain views of these names.
do $$
begin
    if not exists (select from timescaledb_information.continuous_aggregates where view_schema = current_schema) then
        drop view if exists telemetry_1h, telemetry_1m;
    end if;
end $$;

-- Samples that are bad, uncertain, without a value or beyond 1e100 count in `bad` alone: two of 1e308 have no sum, and a
-- refresh that fails would stop the aggregates of all devices. Averages are sum / count.
create materialized view if not exists telemetry_1m
  with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = false) as
select time_bucket(interval '1 minute', f.time) as bucket, f.device_id, lc.channel_id,
       sum(s.value) filter (where s.good) as sum, count(*) filter (where s.good) as count,
       min(s.value) filter (where s.good) as min, max(s.value) filter (where s.good) as max,
       first(s.value, f.time) filter (where s.good) as first, last(s.value, f.time) filter (where s.good) as last,
       count(*) filter (where not s.good) as bad
  from frames f
  join layout_channels lc using (layout_id)
 cross join lateral (select f.values[lc.ordinal] as value,
                            coalesce(f.values[lc.ordinal] between -1e100 and 1e100, false)
                            and coalesce(f.quality[lc.ordinal], 0) = 0 as good) s
 where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null
 group by 1, 2, 3
  with no data;

create materialized view if not exists telemetry_1h
  with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = false) as
select time_bucket(interval '1 hour', m.bucket) as bucket, m.device_id, m.channel_id,
       sum(m.sum) as sum, sum(m.count)::bigint as count, min(m.min) as min, max(m.max) as max,
       first(m.first, m.bucket) filter (where m.count > 0) as first,
       last(m.last, m.bucket) filter (where m.count > 0) as last,
       sum(m.bad)::bigint as bad
  from telemetry_1m m
 group by 1, 2, 3
  with no data;

create index if not exists telemetry_1m_key on telemetry_1m (device_id, channel_id, bucket);
create index if not exists telemetry_1h_key on telemetry_1h (device_id, channel_id, bucket);

-- Without this the minutes of a year are four times as large as the frames in the column store.
do $$
declare
    name text;
begin
    for name in select view_name from timescaledb_information.continuous_aggregates
                 where view_schema = current_schema and view_name in ('telemetry_1m', 'telemetry_1h')
                   and not compression_enabled loop
        execute format('alter materialized view %I set (timescaledb.enable_columnstore, '
                       'timescaledb.segmentby = ''device_id, channel_id'', timescaledb.orderby = ''bucket'')', name);
    end loop;
end $$;

call add_columnstore_policy('telemetry_1m', after => interval '7 days', if_not_exists => true);
call add_columnstore_policy('telemetry_1h', after => interval '7 days', if_not_exists => true);

-- The policies begin at the beginning of time: each run computes only what changed since the last one, however old it
-- is. So a late frame is in the aggregates a minute (in the hourly ones ten minutes) after its commit. Buckets after the
-- end offset are computed when they are read. The oldest come first, because everything below the newest computed bucket
-- counts as computed: so a database with a past stays right. To keep the aggregates of dropped frames, set a
-- start_offset below the age at which frames are dropped.
select add_continuous_aggregate_policy('telemetry_1m', start_offset => null, end_offset => interval '10 minutes',
           schedule_interval => interval '1 minute', buckets_per_batch => 60, refresh_newest_first => false,
           if_not_exists => true);
select add_continuous_aggregate_policy('telemetry_1h', start_offset => null, end_offset => interval '1 hour',
           schedule_interval => interval '10 minutes', buckets_per_batch => 24, refresh_newest_first => false,
           if_not_exists => true);

comment on view telemetry_1m is
    'good samples by minute: sum and count (average: sum / count), min, max, first, last; bad counts the others. Filter by device_id and channel_id, as values or scalar subqueries: through a join everything would be computed first';
comment on view telemetry_1h is
    'good samples by hour: sum and count (average: sum / count), min, max, first, last; bad counts the others. Filter by device_id and channel_id, as values or scalar subqueries: through a join everything would be computed first';

-- The views for an organization's own logins, in which a bucket has no unit if it changed within, and those for the API,
-- which uses the aggregates where they are real. (A database that was of the apache edition has the former already,
-- computed from the frames.)
do $$
declare
    name text;
    unit text;
begin
    for name, unit in values ('telemetry_1m', 'minute'), ('telemetry_1h', 'hour') loop
        execute format($view$
            create or replace view org.%1$I with (security_barrier) as
            select t.bucket, t.device_id, d.name as device, c.name as channel,
                   case when (select not exists (select from public.channel_units u where not u.plain)) then c.unit
                        when not exists (select from public.unit_spans s
                                          where s.device_id = d.device_id and s.channel_id = c.channel_id
                                            and s.since > t.bucket and s.since < t.bucket + interval '1 %2$s')
                        then nullif(coalesce((select s.unit from public.unit_spans s
                                               where s.device_id = d.device_id and s.channel_id = c.channel_id
                                                 and s.since <= t.bucket
                                               order by s.since desc limit 1), c.unit), '') end as unit,
                   t.sum, t.count, t.min, t.max, t.first, t.last, t.bad
              from public.%1$I t
              join public.devices d using (device_id)
              join public.channels c using (channel_id)
             where d.organization_id = (select s.organization_id from public.sql_logins s
                                         where s.role = current_user)$view$, name, unit);
        execute format('grant select on org.%I to biogate_sql', name);
        execute format($view$
            create or replace view api.%1$I as
            select t.* from public.%1$I t join public.devices d using (device_id)
             where d.organization_id = (select api.organization())$view$, name);
        execute format('grant select on api.%I to biogate_api', name);
    end loop;
end $$;
