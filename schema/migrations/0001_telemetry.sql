-- devices, channels, layouts, frames, statuses, device events, quarantine, accounting
-- depends:

-- migrate: apply

create extension if not exists timescaledb;

create table devices (
    device_id     integer generated always as identity primary key,
    name          text not null unique check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    registered_at timestamptz not null default now()
);

create table channels (
    channel_id  integer generated always as identity primary key,
    name        text not null unique check (char_length(name) between 1 and 64),
    unit        text,
    description text
);

comment on column channels.unit is 'null until somebody or the standard list says it';

-- A layout says once which slot of frames.values is which channel. It never changes.
create table layouts (
    layout_id   integer generated always as identity primary key,
    channel_ids integer[] not null unique check (cardinality(channel_ids) > 0)
);

comment on column layouts.channel_ids is 'in ascending order of channel_id; the position is the ordinal';

create table layout_channels (
    layout_id  integer  not null references layouts,
    ordinal    smallint not null check (ordinal >= 1),
    channel_id integer  not null references channels,
    primary key (layout_id, ordinal),
    unique (layout_id, channel_id)
);

create index on layout_channels (channel_id, layout_id, ordinal);

create function layout_channels_fill() returns trigger language plpgsql as $$
begin
    insert into layout_channels (layout_id, ordinal, channel_id)
    select new.layout_id, u.ordinal, u.channel_id
      from unnest(new.channel_ids) with ordinality as u (channel_id, ordinal);
    return null;
end $$;

create trigger layout_channels_fill after insert on layouts for each row execute function layout_channels_fill();

-- The layouts a device uses, in the order in which it came to use them. A frame goes into the first one that has all
-- its channels; as layouts are only ever added at the end, a redelivered frame finds the same one again.
create table device_layouts (
    device_id integer not null references devices,
    position  integer not null,
    layout_id integer not null references layouts,
    primary key (device_id, position),
    unique (device_id, layout_id)
);

-- One row per frame: all channels of one device at one instant. No foreign keys here: COPY would look up each row's.
create table frames (
    time        timestamptz not null,
    device_id   integer     not null,
    layout_id   integer     not null,
    boot        bigint,
    seq         bigint,
    received_at timestamptz not null,
    values      float8[]    not null,
    quality     smallint[],
    primary key (device_id, time, layout_id)
);

select create_hypertable('frames', by_range('time', interval '1 day'), create_default_indexes => false);

comment on column frames.values is 'one slot per channel of the layout; null: no value (see quality)';
comment on column frames.quality is
    'null: all that have a value are good; else one slot per channel: 0 good, 1 bad, 2 uncertain, null channel not sent';

create view telemetry as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       f.values[lc.ordinal] as value, coalesce(f.quality[lc.ordinal], 0::smallint) as quality
  from frames f
  join devices d using (device_id)
  join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null;

comment on view telemetry is 'one row per sample: what people and dashboards query; filter on device_id, time and channel';

-- Every status a device ever sent; what holds now is the view presence. Older connections lose by (boot, time).
create table statuses (
    device_id   integer     not null references devices,
    boot        bigint      not null,
    time        timestamptz not null,
    online      boolean     not null,
    received_at timestamptz not null,
    oldest_seq  bigint,
    firmware    text,
    primary key (device_id, boot, time, online)
);

create view presence as
select d.device_id, d.name as device, s.online, s.boot, s.time as since, s.received_at, s.oldest_seq, s.firmware
  from devices d
  left join lateral (select * from statuses s where s.device_id = d.device_id
                      order by s.boot desc, s.time desc, s.online limit 1) s on true;

create table device_events (
    time        timestamptz not null,
    device_id   integer     not null,
    type        text        not null,
    data        jsonb       not null,
    boot        bigint,
    received_at timestamptz not null,
    digest      bytea       not null,
    primary key (device_id, time, digest)
);

select create_hypertable('device_events', by_range('time', interval '30 days'), create_default_indexes => false);

comment on column device_events.digest is 'of type, boot and data: the same event delivered twice is one row';

create table quarantine (
    quarantine_id bigint generated always as identity primary key,
    received_at   timestamptz not null,
    device        text,
    topic         text        not null,
    reason        text        not null check (reason in (
        'malformed-packet', 'unknown-topic', 'unknown-device', 'empty', 'malformed', 'wrong-type', 'wrong-shape',
        'bad-channel', 'too-many-channels', 'too-many-layouts', 'too-old', 'too-new', 'too-large', 'conflict',
        'refused')),
    detail        text        not null,
    content_type  text,
    payload       bytea       not null,
    sha256        bytea       not null unique
);

create index on quarantine (device, received_at);
create index on quarantine (reason, received_at);

comment on column quarantine.device is 'the device level of the topic, registered or not';
comment on column quarantine.payload is
    'can be published again as it is: the message, or, when only some frames of it were rejected, a message of those';
comment on column quarantine.sha256 is 'of topic, NUL, payload: a message delivered twice is one row';

-- A cell is one broker with its gateway. The client id is a secret: whoever connects with it takes over the session.
create table cells (
    cell      text primary key,
    client_id text not null
);

-- What became of everything received, counted in the transaction that stored it.
create table intake_totals (
    cell        text   not null references cells,
    kind        text   not null check (kind in ('frame', 'status', 'event', 'result')),
    committed   bigint not null default 0,
    duplicate   bigint not null default 0,
    quarantined bigint not null default 0,
    discarded   bigint not null default 0,
    primary key (cell, kind)
) with (fillfactor = 50);

-- migrate: rollback

drop table intake_totals, cells, quarantine, device_events;
drop view presence, telemetry;
drop table statuses, frames, device_layouts, layout_channels, layouts, channels, devices;
drop function layout_channels_fill;
