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

-- When a device was heard last: any message of it but a will. The gateway notes it two or three times a minute.
create table device_heard (
    device_id integer     primary key references devices,
    heard_at  timestamptz not null
) with (fillfactor = 50);

create index statuses_received on statuses (device_id, received_at);

-- Boot and time say which of several statuses is the newest as long as they were received within ten minutes: a will
-- comes late by less. What is received later holds, whatever its numbers: a board was swapped, a clock set back. And who
-- is heard after its `offline` is online. Who is shut out is offline: the broker does not publish the will of a client
-- that may publish no more.
create or replace view presence as
select d.device_id, d.name as device,
       case when s.online or h.later then d.state in ('active', 'pending') else s.online end as online, s.boot,
       case when not s.online and h.later then coalesce(o.time, s.received_at)
            when s.online then s.time else s.received_at end as since,
       s.received_at, s.oldest_seq, s.firmware,
       case when not s.online and h.later then 'heard'
            when exists (select from statuses x where x.device_id = d.device_id and (x.boot, x.time) > (s.boot, s.time))
            then 'received later' when s.online is not null then 'newest' end as why
  from devices d
  left join lateral (
       select * from (select * from statuses s
                       where s.device_id = d.device_id
                         and s.received_at >= (select max(received_at) - interval '10 minutes' from statuses n
                                                where n.device_id = d.device_id)
                      offset 0) s
        order by s.boot desc, s.time desc, s.online limit 1) s on true
  left join lateral (
       select h.heard_at > s.received_at + interval '10 s' as later from device_heard h
        where h.device_id = d.device_id) h on true
  left join lateral (
       select time from statuses o
        where not s.online and h.later and o.device_id = d.device_id and o.online and o.received_at > s.received_at
        order by o.received_at desc limit 1) o on true;

comment on column presence.since is
    'online: the begin of the connection, by the clock of the device; offline: when the will or the status was received';
comment on column presence.why is
    'why this status holds. newest: it has the greatest boot and time; received later: others are greater, and were received
more than ten minutes before; heard: offline was said, and the device was heard after that';

create or replace view api.presence as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create or replace view org.presence with (security_barrier) as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create or replace view org.statuses with (security_barrier) as
select s.time, s.device_id, d.name as device, s.online, s.boot, s.received_at, s.firmware,
       case when s.online then s.time
            when not exists (select from public.statuses n
                              where n.device_id = s.device_id and n.online and (n.boot, n.time) > (s.boot, s.time)
                                and n.received_at between s.received_at - interval '10 minutes' and s.received_at)
            then s.received_at end as since
  from public.statuses s join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

comment on column org.statuses.since is
    'from when on it held: of offline its receipt, as its time is the begin of the connection; null: the late will of an
older connection';

alter table device_events add column n bigint;

comment on column device_events.n is 'a number of the device''s own, which tells equal events of one instant apart';
comment on column device_events.digest is 'of type, boot, data and n: the same event delivered twice is one row';

create or replace view api.device_events as
select e.* from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create or replace view org.events with (security_barrier) as
select e.time, e.device_id, d.name as device, e.type, e.data, e.boot, e.received_at, e.n
  from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

-- migrate: rollback

drop view api.device_events, org.events;
alter table device_events drop column n;

create view api.device_events as
select e.* from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view org.events with (security_barrier) as
select e.time, e.device_id, d.name as device, e.type, e.data, e.boot, e.received_at
  from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on api.device_events to biogate_api;
grant select on org.events to biogate_sql;
comment on column device_events.digest is 'of type, boot and data: the same event delivered twice is one row';

drop view org.statuses, org.presence, api.presence, presence;

create view presence as
select d.device_id, d.name as device,
       case when s.online then d.state in ('active', 'pending') else s.online end as online, s.boot, s.time as since,
       s.received_at, s.oldest_seq, s.firmware
  from devices d
  left join lateral (select * from statuses s where s.device_id = d.device_id
                      order by s.boot desc, s.time desc, s.online limit 1) s on true;

create view api.presence as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view org.presence with (security_barrier) as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.statuses with (security_barrier) as
select s.time, s.device_id, d.name as device, s.online, s.boot, s.received_at, s.firmware
  from public.statuses s join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on api.presence to biogate_api;
grant select on org.presence, org.statuses to biogate_sql;

drop index statuses_received;
drop table device_heard;

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
