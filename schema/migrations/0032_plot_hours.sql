-- what plots need of each hour; a role for control rooms, which may acknowledge and nothing more; models of devices
-- depends: 0031_notice_channels

-- migrate: apply

-- What a plot takes of each channel in an hour (the samples of M4 and the first one that is not good), of hours with many
-- frames. A worker makes it once an hour is over. channel_id 0 stands for the hour: where it is, a channel that is not has
-- no sample. No foreign keys, as for frames.
create table plot_hours (
    device_id   integer     not null,
    channel_id  integer     not null,
    hour        timestamptz not null,
    first_time  timestamptz,
    first       float8,
    least_time  timestamptz,
    least       float8,
    most_time   timestamptz,
    most        float8,
    last_time   timestamptz,
    last        float8,
    bad_time    timestamptz,
    bad         float8,
    bad_quality smallint,
    primary key (device_id, channel_id, hour)
);

create index on plot_hours using brin (hour);

comment on table plot_hours is 'only of hours with many frames, and while plot_hours_stale does not have the hour';

-- Hours that were over when frames of them were stored, by the transaction that stored them.
create table plot_hours_stale (
    device_id integer     not null,
    hour      timestamptz not null
);

create index on plot_hours_stale (device_id, hour);

create table plot_hours_until (
    device_id integer     primary key references devices,
    until     timestamptz not null
);

comment on table plot_hours_until is 'up to where hours have been looked at: later ones need no mark';

-- Dropped frames are in no plot.
create function plot_hours_drop() returns trigger language plpgsql as $$
begin
    delete from plot_hours where hour >= coalesce(new.begins, '-infinity') and hour < new.ends;
    return null;
end $$;

create trigger plot_hours_drop after insert on retention_drops for each row when (new.kind = 'frame')
    execute function plot_hours_drop();

create view api.plot_hours as
select h.* from public.plot_hours h join public.devices d using (device_id)
 where d.organization_id = (select api.organization())
   and not exists (select from public.plot_hours_stale s where s.device_id = h.device_id and s.hour = h.hour);

grant select on api.plot_hours to biogate_api;

create view api.device_models as
select device_id, name as device, model from public.devices
 where organization_id = (select api.organization()) and model is not null;

grant select on api.device_models to biogate_api;

alter table memberships drop constraint memberships_role_check;
alter table memberships add constraint memberships_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

alter table invitations drop constraint invitations_role_check;
alter table invitations add constraint invitations_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

alter table api_keys drop constraint api_keys_role_check;
alter table api_keys add constraint api_keys_role_check
    check (role in ('viewer', 'control-room', 'operator', 'engineer', 'admin'));

-- migrate: rollback

drop view api.plot_hours, api.device_models;
drop trigger plot_hours_drop on retention_drops;
drop function plot_hours_drop;
drop table plot_hours, plot_hours_stale, plot_hours_until;

update memberships set role = 'viewer' where role = 'control-room';
alter table memberships drop constraint memberships_role_check;
alter table memberships add constraint memberships_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));

update invitations set role = 'viewer' where role = 'control-room';
alter table invitations drop constraint invitations_role_check;
alter table invitations add constraint invitations_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));

update api_keys set role = 'viewer' where role = 'control-room';
alter table api_keys drop constraint api_keys_role_check;
alter table api_keys add constraint api_keys_role_check check (role in ('viewer', 'operator', 'engineer', 'admin'));
