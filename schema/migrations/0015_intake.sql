-- one value harms one value; what else the intake tells apart
-- depends: 0014_evaluation

-- migrate: apply

-- PostgreSQL's avg and stddev fail where the squares of finite values have no finite sum, and with them the query of all
-- devices. So a value beyond 1e100, which no probe measures, is shown as null of bad quality.
create or replace view telemetry as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       case when f.values[lc.ordinal] between -1e100 and 1e100 then f.values[lc.ordinal] end as value,
       case when f.quality[lc.ordinal] <> 0 then f.quality[lc.ordinal]
            when f.values[lc.ordinal] between -1e100 and 1e100 then 0 else 1 end::smallint as quality
  from frames f
  join devices d using (device_id)
  join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null;

create or replace view org.telemetry with (security_barrier) as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       case when f.values[lc.ordinal] between -1e100 and 1e100 then f.values[lc.ordinal] end as value,
       case when f.quality[lc.ordinal] <> 0 then f.quality[lc.ordinal]
            when f.values[lc.ordinal] between -1e100 and 1e100 then 0 else 1 end::smallint as quality
  from public.frames f
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where (f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null)
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

-- migrate: rollback

create or replace view org.telemetry with (security_barrier) as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       f.values[lc.ordinal] as value, coalesce(f.quality[lc.ordinal], 0::smallint) as quality
  from public.frames f
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where (f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null)
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create or replace view telemetry as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       f.values[lc.ordinal] as value, coalesce(f.quality[lc.ordinal], 0::smallint) as quality
  from frames f
  join devices d using (device_id)
  join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null;
