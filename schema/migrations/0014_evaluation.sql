-- frames that came out of the order of time; what of alarms is evaluated; since when the intake is well
-- depends: 0013_newest_enrollments

-- migrate: apply

-- Frames on the topic `telemetry` that are older than what is stored of their device already, and the first frames of a
-- device: the evaluator finds the others by their time. One row for frames of a device that lie close together.
create table late_arrivals (
    late_id         bigint      generated always as identity primary key,
    device_id       integer     not null,
    begins          timestamptz not null,
    ends            timestamptz not null,
    first_received  timestamptz not null,
    last_received   timestamptz not null,
    last_time       timestamptz not null,
    newest_time     timestamptz,
    newest_received timestamptz,
    noted_at        timestamptz not null default clock_timestamp()
);

create index late_arrivals_device on late_arrivals (device_id, late_id desc);
create index late_arrivals_noted on late_arrivals (noted_at);

comment on column late_arrivals.begins is 'the earliest time of the frames, by the clock of the device';
comment on column late_arrivals.last_time is 'the time of the frame that was received last';
comment on column late_arrivals.newest_time is 'of the newest stored frame of the device; null: there was none';

alter table alarm_devices add received_until timestamptz, add set_back_at timestamptz, add numbers_back_at timestamptz;

comment on column alarm_devices.received_until is 'when the frame of evaluated_until was received';
comment on column alarm_devices.set_back_at is 'when the clock of the device was found to be set back last';
comment on column alarm_devices.numbers_back_at is 'when its numbers (boot, seq) went back last, though its frames were newer';

alter table alarms add not_evaluated text;

-- When the process that evaluates alarms did so last. No row: none ever did.
create table alarm_beat (only_one boolean primary key default true check (only_one), at timestamptz not null);

-- Of each cell's intake: all that it received until settled_until is committed, without a gap since well_since, by the
-- clock of the gateway.
create table intake_beats (
    cell          text        primary key references cells,
    settled_until timestamptz not null,
    well_since    timestamptz not null,
    beat_at       timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

comment on column alarms.not_evaluated is 'why the rule is not evaluated on the device just now; null: it is';

create or replace view api.alarms as
select a.rule_id, a.device_id, a.n, a.rule_version, a.condition, a.active, a.acknowledged, a.latched, a.shelved_until,
       a.shelved_once, a.suppressed, a.out_of_service, a.state, a.priority, a.since, a.raised_at, a.raised_n, a.value,
       a.detail, a.published_n, a.removed_at, r.name as rule, r.definition, r.definition ->> 'title' as title,
       r.definition ->> 'message' as message, r.definition ->> 'response' as response, d.name as device, d.tags,
       coalesce((select 'no process has evaluated alarms since ' || to_char(b.at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
                   from public.alarm_beat b where b.at < now() - interval '1 minute'),
                a.not_evaluated, case when a.condition = 'unknown' then a.detail end) as not_evaluated,
       e.evaluated_until, e.received_until, e.set_back_at as clock_set_back_at, e.numbers_back_at
  from public.alarms a
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
  left join public.alarm_devices e using (device_id)
 where a.removed_at is null
   and r.organization_id = (select api.organization()) and d.organization_id = (select api.organization());

-- Devices whose clock was set back: for a minute after the frame with the time `before`, nothing came but older ones, the
-- last of which has the time `until`.
create view api.clocks_set_back as
select l.device_id, l.newest_time as before, l.last_time as until
  from public.devices d
 cross join lateral (select * from public.late_arrivals l where l.device_id = d.device_id
                      order by l.late_id desc limit 1) l
 where d.organization_id = (select api.organization()) and l.last_received > l.newest_received + interval '1 minute';

grant select on api.clocks_set_back to biogate_api;

-- migrate: rollback

drop view api.clocks_set_back, api.alarms;
alter table alarms drop not_evaluated;
create view api.alarms as
select a.*, r.name as rule, r.definition, r.definition ->> 'title' as title, r.definition ->> 'message' as message,
       r.definition ->> 'response' as response, d.name as device, d.tags
  from public.alarms a
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where a.removed_at is null
   and r.organization_id = (select api.organization()) and d.organization_id = (select api.organization());
grant select on api.alarms to biogate_api;
drop table alarm_beat, intake_beats;
alter table alarm_devices drop received_until, drop set_back_at, drop numbers_back_at;
drop table late_arrivals;
