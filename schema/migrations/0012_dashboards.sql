-- what dashboards ask, for SQL logins: frames as such, connections, channels, what is missing, what was rejected
-- depends: 0011_retention

-- migrate: apply

create view org.frames with (security_barrier) as
select f.time, f.device_id, d.name as device, f.boot, f.seq, f.received_at
  from public.frames f join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.statuses with (security_barrier) as
select s.time, s.device_id, d.name as device, s.online, s.boot, s.received_at, s.firmware
  from public.statuses s join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.gaps with (security_barrier) as
select d.device_id, d.name as device, s.boot, lower(h.seqs) as first_seq, upper(h.seqs) - 1 as last_seq,
       upper(h.seqs) - lower(h.seqs) as frames, h.lost, s.changed_at
  from public.device_streams s
  join public.devices d using (device_id)
 cross join lateral (
           select unnest(int8multirange(int8range(0, upper(s.received))) - s.received - s.lost) as seqs, false as lost
            union all
           select unnest(s.lost - s.received), true) h
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

comment on view org.gaps is
    'seqs of a boot that did not arrive, also those that may just be late; lost: the device does not have them any more';

create view org.device_channels with (security_barrier) as
select distinct d.device_id, d.name as device, c.name as channel, c.unit, c.description
  from public.device_layouts l
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.quarantine with (security_barrier) as
select q.quarantine_id, q.received_at, q.device, q.topic, q.reason, q.detail, q.state, q.settled_at
  from public.quarantine q left join public.devices d on d.name = q.device
 where coalesce(d.organization_id, 1) = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on all tables in schema org to biogate_sql;

-- migrate: rollback

drop view org.quarantine, org.device_channels, org.gaps, org.statuses, org.frames;
