-- TimescaleDB's apache edition: views in place of the other edition's continuous aggregates. Runs at every migrate. They
-- have the same names, columns and numbers as in timescale.sql, so that their readers need not know the edition.

do $$
begin
    if exists (select from timescaledb_information.continuous_aggregates where view_schema = current_schema) then
        raise exception 'this database was migrated under timescaledb.license = timescale; there is no way back'
            using hint = 'Set timescaledb.license to timescale again.', errcode = 'object_not_in_prerequisite_state';
    end if;
end $$;

-- The views `org.…` are for an organization's own logins: with names, and grouped so that conditions on device and channel
-- come first.
do $$
declare
    name text;
    unit text;
begin
    for name, unit in values ('telemetry_1m', 'minute'), ('telemetry_1h', 'hour') loop
        execute format($view$
            create or replace view %1$I as
            select time_bucket(interval '1 %2$s', f.time) as bucket, f.device_id, lc.channel_id,
                   sum(s.value) filter (where s.good) as sum, count(*) filter (where s.good) as count,
                   min(s.value) filter (where s.good) as min, max(s.value) filter (where s.good) as max,
                   first(s.value, f.time) filter (where s.good) as first,
                   last(s.value, f.time) filter (where s.good) as last,
                   count(*) filter (where not s.good) as bad
              from frames f
              join layout_channels lc using (layout_id)
             cross join lateral (select f.values[lc.ordinal] as value,
                                        coalesce(f.values[lc.ordinal] between -1e100 and 1e100, false)
                                        and coalesce(f.quality[lc.ordinal], 0) = 0 as good) s
             where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null
             group by 1, 2, 3$view$, name, unit);
        execute format('comment on view %I is %L', name, format(
            'good samples by %s: sum and count (average: sum / count), min, max, first, last; bad counts the others. '
            'Filter by device_id and channel_id, as values or scalar subqueries: through a join everything would be '
            'computed first', unit));
        execute format($view$
            create or replace view org.%1$I with (security_barrier) as
            select t.bucket, t.device_id, t.device, t.channel,
                   case when (select not exists (select from public.channel_units u where not u.plain)) then t.unit
                        when not exists (select from public.unit_spans s
                                          where s.device_id = t.device_id and s.channel_id = t.channel_id
                                            and s.since > t.bucket and s.since < t.bucket + interval '1 %2$s')
                        then nullif(coalesce((select s.unit from public.unit_spans s
                                               where s.device_id = t.device_id and s.channel_id = t.channel_id
                                                 and s.since <= t.bucket
                                               order by s.since desc limit 1), t.unit), '') end as unit,
                   t.sum, t.count, t.min, t.max, t.first, t.last, t.bad
              from (select time_bucket(interval '1 %2$s', f.time) as bucket, d.device_id, d.name as device,
                           c.channel_id, c.name as channel, c.unit,
                           sum(s.value) filter (where s.good) as sum, count(*) filter (where s.good) as count,
                           min(s.value) filter (where s.good) as min, max(s.value) filter (where s.good) as max,
                           first(s.value, f.time) filter (where s.good) as first,
                           last(s.value, f.time) filter (where s.good) as last,
                           count(*) filter (where not s.good) as bad
                      from public.frames f
                      join public.devices d using (device_id)
                      join public.layout_channels lc using (layout_id)
                      join public.channels c using (channel_id)
                     cross join lateral (select f.values[lc.ordinal] as value,
                                                coalesce(f.values[lc.ordinal] between -1e100 and 1e100, false)
                                                and coalesce(f.quality[lc.ordinal], 0) = 0 as good) s
                     where (f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null)
                       and d.organization_id = (select s.organization_id from public.sql_logins s
                                                 where s.role = current_user)
                     group by 1, d.device_id, c.channel_id) t$view$, name, unit);
        execute format('grant select on org.%I to biogate_sql', name);
    end loop;
end $$;
