-- what has arrived of each boot of a device, and what is known to be lost
-- depends: 0001_telemetry

-- migrate: apply

-- A cache of what frames and quarantine say: losing its last seconds costs a few harmless duplicates.
create table device_streams (
    device_id  integer        not null references devices,
    boot       bigint         not null,
    received   int8multirange not null default '{}',
    lost       int8multirange not null default '{}',
    changed_at timestamptz    not null default now(),
    primary key (device_id, boot)
) with (fillfactor = 50);

comment on column device_streams.received is 'seqs stored as frames or in quarantine';
comment on column device_streams.lost is 'seqs that never arrived and that the device does not have any more';

-- The first `most` ranges: what a lying or broken device can make of a multirange stays small.
create function oldest_ranges(ranges int8multirange, most integer) returns int8multirange
language sql immutable strict parallel safe as $$
    select coalesce(range_agg(r), '{}') from (select r from unnest(ranges) r order by r limit most) s
$$;

alter table cells add epoch bigint not null default 0;

comment on column cells.epoch is 'counts the takings of the lead: who finds it unchanged has been the only leader since';

-- migrate: rollback

alter table cells drop epoch;
drop function oldest_ranges;
drop table device_streams;
