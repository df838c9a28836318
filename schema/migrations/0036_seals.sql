-- seals of stored frames by device and hour; what is stored late; clocks of devices and of the server
-- depends: 0035_checkpoints

-- migrate: apply

-- A seal is a text that has a digest over the frames of a device and an hour which were stored until `at`: what the
-- digest covers stands in schema/evidence/seals.py. A pass makes many seals, and one event of the audit trail vouches
-- for them. Later frames make a new version, which names the text of the one before.
create table seal_passes (
    pass            bigint  generated always as identity primary key,
    organization_id integer not null references organizations,
    n               bigint  not null
);

create index on seal_passes (organization_id, pass);

comment on column seal_passes.n is 'the event of the organization''s audit trail that vouches for the seals of the pass';

create table seal_layouts (
    digest bytea primary key,
    text   text not null
);

comment on table seal_layouts is 'what the layouts of a device meant when hours of it were sealed: names and units of channels';
comment on column seal_layouts.digest is 'SHA-256 of the text';

create table seals (
    organization_id integer     not null,
    device_id       integer     not null,
    hour            timestamptz not null,
    version         integer     not null,
    at              timestamptz not null,
    pass            bigint      not null,
    layouts         bytea       not null,
    text            text        not null,
    primary key (device_id, hour, version)
);

create index on seals (pass);

comment on table seals is 'no foreign keys, as for frames: a seal outlives what it is of';
comment on column seals.at is 'what was stored until then is covered';

create function seals_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'seals are append-only' using errcode = 'insufficient_privilege';
end $$;

create trigger seals_refuse before update or delete or truncate on seals for each statement execute function seals_refuse();
create trigger seals_refuse before update or delete or truncate on seal_passes
    for each statement execute function seals_refuse();
create trigger seals_refuse before update or delete or truncate on seal_layouts
    for each statement execute function seals_refuse();

create table seals_until (
    device_id integer     primary key references devices,
    until     timestamptz not null
);

comment on table seals_until is 'up to where the hours of a device have been looked at: those with frames are sealed';

-- Hours that were over when frames of them were stored. The marks come by those for plots, from whoever stores frames.
create table seals_stale (
    device_id integer     not null,
    hour      timestamptz not null,
    marked_at timestamptz not null default clock_timestamp()
);

create index on seals_stale (device_id, hour);

create function seals_stale_mark() returns trigger language plpgsql as $$
begin
    insert into seals_stale (device_id, hour) select device_id, hour from marks;
    return null;
end $$;

create trigger seals_stale_mark after insert on plot_hours_stale referencing new table as marks
    for each statement execute function seals_stale_mark();

-- A frame counts as stored when it was received; these were stored long after that: replayed from the quarantine, or held
-- through an outage of the database. Frames of an import count as stored when the import has ended.
create table stored_late (
    device_id integer     not null,
    time      timestamptz not null,
    layout_id integer     not null,
    stored_at timestamptz not null default clock_timestamp(),
    primary key (device_id, time, layout_id)
);

-- Of dropped frames the seals stay; what is of use to stored frames alone goes with them.
create function seals_drop() returns trigger language plpgsql as $$
begin
    delete from seals_stale where hour >= coalesce(new.begins, '-infinity') and hour + interval '1 hour' <= new.ends;
    delete from stored_late where time >= coalesce(new.begins, '-infinity') and time < new.ends;
    return null;
end $$;

create trigger seals_drop after insert on retention_drops for each row when (new.kind = 'frame')
    execute function seals_drop();

-- Looks at sealed hours, whether they still hold.
create table seal_checks (
    check_id   bigint      generated always as identity primary key,
    checked_at timestamptz not null default clock_timestamp(),
    begins     timestamptz not null,
    ends       timestamptz not null,
    hours      bigint      not null,
    frames     bigint      not null,
    faults     jsonb       not null
);

comment on column seal_checks.faults is 'the first of what was found: device, hour, what';

-- The least and the greatest time from a frame to its receipt, of the frames of an hour that came from the device. A message
-- takes no less than no time: the clock of the device is ahead by -least at least, and behind by least at most.
create table device_clocks (
    device_id integer     not null,
    hour      timestamptz not null,
    frames    bigint      not null,
    least     interval    not null,
    most      interval    not null,
    primary key (device_id, hour)
);

create view api.seals as
select s.*, d.name as device, l.text as layouts_text
  from public.seals s join public.devices d using (device_id) join public.seal_layouts l on l.digest = s.layouts
 where s.organization_id = (select api.organization()) and d.organization_id = (select api.organization());

create view api.seal_passes as
select * from public.seal_passes where organization_id = (select api.organization());

create view api.stored_late as
select l.* from public.stored_late l join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.device_clocks as
select c.* from public.device_clocks c join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

grant select on api.seals, api.seal_passes, api.stored_late, api.device_clocks to biogate_api;

-- migrate: rollback

drop view api.seals, api.seal_passes, api.stored_late, api.device_clocks;
drop table device_clocks, seal_checks;
drop trigger seals_drop on retention_drops;
drop trigger seals_stale_mark on plot_hours_stale;
drop table stored_late, seals_stale, seals_until, seals, seal_layouts, seal_passes;
drop function seals_drop, seals_stale_mark, seals_refuse;
