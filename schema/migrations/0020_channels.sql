-- channels of an organization: unit with its history, display name, range, decimals, step, kind; by device where it differs
-- depends: 0019_lead_beats

-- migrate: apply

-- `channels` has what holds for everybody: names, and for those of the standard list what they mean. What an organization
-- says is in the tables below, and changes nothing for others.
alter table channels
    add column kind     text check (kind in ('PV', 'SP', 'output')),
    add column low      float8,
    add column high     float8,
    add column decimals smallint,
    add column step     boolean;

comment on column channels.unit is 'of the standard list; what an organization says is in channel_units';
comment on column channels.low is 'with high: the range of usual values';
comment on column channels.step is 'a value holds until the next one: it is never interpolated';

-- schema/channels.py: STANDARD
update channels c set kind = s.kind, low = s.low, high = s.high, decimals = s.decimals, step = s.kind = 'SP'
  from (values
    ('temperature',               'PV',          0,     60, 2),
    ('temperature_setpoint',      'SP',          0,     60, 2),
    ('temperature_output',        'output',   -100,    100, 1),
    ('ph',                        'PV',          0,     14, 2),
    ('ph_setpoint',               'SP',          0,     14, 2),
    ('ph_output',                 'output',   -100,    100, 1),
    ('dissolved_oxygen',          'PV',          0,    150, 1),
    ('dissolved_oxygen_setpoint', 'SP',          0,    150, 1),
    ('dissolved_oxygen_output',   'output',      0,    100, 1),
    ('agitation',                 'PV',          0,   2000, 0),
    ('gas_flow',                  'PV',          0,    600, 1),
    ('exhaust_o2',                'PV',          0,    100, 2),
    ('exhaust_co2',               'PV',          0,    100, 2),
    ('otr',                       'PV',          0,    500, 1),
    ('ctr',                       'PV',          0,    500, 1),
    ('rq',                        'PV',          0,      3, 2),
    ('feed_a_rate',               'PV',          0,   1000, 2),
    ('feed_a_total',              'PV',          0,  10000, 1),
    ('volume',                    'PV',          0,  20000, 0),
    ('torque',                    'PV',          0,   1000, 0),
    ('feed_b_rate',               'PV',          0,   1000, 2),
    ('feed_b_total',              'PV',          0,  10000, 1),
    ('feed_c_rate',               'PV',          0,   1000, 2),
    ('feed_c_total',              'PV',          0,  10000, 1),
    ('feed_d_rate',               'PV',          0,   1000, 2),
    ('feed_d_total',              'PV',          0,  10000, 1),
    ('level',                     'PV',          0,   1000, 0),
    ('weight',                    'PV',          0,    100, 3),
    ('pressure',                  'PV',          0,      5, 3),
    ('foam',                      'PV',          0,    100, 0),
    ('redox',                     'PV',      -1000,   1000, 0),
    ('optical_density',           'PV',          0,    200, 2),
    ('conductivity',              'PV',          0,    200, 2)
  ) as s (name, kind, low, high, decimals)
 where c.name = s.name;

-- What is said of a channel beside its unit, for all devices of an organization (device_id null) or for one. What is null
-- is as the organization says, and then as the standard list says.
create table channel_descriptions (
    organization_id integer not null references organizations,
    device_id       integer references devices,
    channel_id      integer not null references channels,
    title           text check (char_length(title) between 1 and 100),
    kind            text check (kind in ('PV', 'SP', 'output')),
    low             float8,
    high            float8,
    range_unit      text,
    decimals        smallint check (decimals between 0 and 9),
    step            boolean,
    claimed         jsonb not null default '{}',
    version         integer not null default 2,
    changed_at      timestamptz not null default now(),
    unique nulls not distinct (organization_id, channel_id, device_id),
    check ((low is null) = (high is null) and low > '-infinity' and low < high and high < 'infinity')
) with (fillfactor = 80);

create index on channel_descriptions (device_id) where device_id is not null;

comment on column channel_descriptions.range_unit is
    'the unit that low and high are numbers of: while the channel has another one, they say nothing';
comment on column channel_descriptions.claimed is 'what the firmware said last, at an enrollment';
comment on column channel_descriptions.version is 'counts changes; 1 is a channel of which nothing was said';

-- In which unit a channel is stored, since when. Once somebody has said it, the history covers all of time: it begins at
-- -infinity. A device that has a history of its own does not have its organization's.
create table channel_units (
    organization_id integer not null references organizations,
    device_id       integer references devices,
    channel_id      integer not null references channels,
    since           timestamptz not null,
    unit            text not null check (char_length(unit) <= 20),
    plain           boolean not null,
    unique nulls not distinct (organization_id, channel_id, device_id, since)
);

create index on channel_units (device_id) where device_id is not null;
create index channel_units_telling on channel_units (organization_id, channel_id) where not plain;

comment on column channel_units.since is 'by the time of the samples';
comment on column channel_units.unit is 'empty: not known';
comment on column channel_units.plain is
    'it says what the standard list says, from the beginning: a channel of which all rows are plain needs none of them';

-- The histories that hold, by device: its own, else its organization's. No rows: the unit of the standard list.
create view unit_spans as
select d.device_id, d.organization_id, u.channel_id, u.since, u.unit
  from devices d
  join channel_units u on u.organization_id = d.organization_id
   and u.device_id is not distinct from
       (select o.device_id from channel_units o
         where o.organization_id = d.organization_id and o.channel_id = u.channel_id and o.device_id = d.device_id limit 1);

comment on view unit_spans is 'filter by device_id and channel_id';

-- What holds of a channel now, for each device and channel, sent or not.
create view channel_terms as
select d.organization_id, d.device_id, c.channel_id, c.name as channel, c.description,
       coalesce(v.title, o.title) as title, coalesce(v.kind, o.kind, c.kind) as kind,
       nullif(u.unit, '') as unit,
       case when v.range_unit = u.unit then v.low when o.range_unit = u.unit then o.low
            when coalesce(c.unit, '') = u.unit then c.low end as low,
       case when v.range_unit = u.unit then v.high when o.range_unit = u.unit then o.high
            when coalesce(c.unit, '') = u.unit then c.high end as high,
       coalesce(v.decimals, o.decimals, c.decimals) as decimals,
       coalesce(v.step, o.step, c.step, coalesce(v.kind, o.kind, c.kind) = 'SP', false) as step,
       coalesce(v.version, 1) as version, u.since, u.units
  from devices d
 cross join channels c
  left join channel_descriptions v
         on v.organization_id = d.organization_id and v.channel_id = c.channel_id and v.device_id = d.device_id
  left join channel_descriptions o
         on o.organization_id = d.organization_id and o.channel_id = c.channel_id and o.device_id is null
 cross join lateral (
       select u.since, u.units, coalesce(u.units[cardinality(u.units)], c.unit, '') as unit
         from (select array_agg(s.since order by s.since) as since, array_agg(s.unit order by s.since) as units
                 from unit_spans s
                where s.device_id = d.device_id and s.channel_id = c.channel_id) u) u;

comment on view channel_terms is 'filter by device_id and channel_id: it has a row for each of both';
comment on column channel_terms.units is 'the history, with the instants in since; null: of the standard list';

-- The same for all devices of an organization of which nothing else is said.
create view organization_channel_terms as
select g.organization_id, c.channel_id, c.name as channel, c.description,
       o.title, coalesce(o.kind, c.kind) as kind, nullif(u.unit, '') as unit,
       case when o.range_unit = u.unit then o.low when coalesce(c.unit, '') = u.unit then c.low end as low,
       case when o.range_unit = u.unit then o.high when coalesce(c.unit, '') = u.unit then c.high end as high,
       coalesce(o.decimals, c.decimals) as decimals,
       coalesce(o.step, c.step, coalesce(o.kind, c.kind) = 'SP', false) as step,
       coalesce(o.version, 1) as version, u.since, u.units
  from organizations g
 cross join channels c
  left join channel_descriptions o
         on o.organization_id = g.organization_id and o.channel_id = c.channel_id and o.device_id is null
 cross join lateral (
       select u.since, u.units, coalesce(u.units[cardinality(u.units)], c.unit, '') as unit
         from (select array_agg(u.since order by u.since) as since, array_agg(u.unit order by u.since) as units
                 from channel_units u
                where u.organization_id = g.organization_id and u.channel_id = c.channel_id and u.device_id is null) u) u;

-- Says something of a channel: of all devices of an organization (device_ null), or of one. `change` has the fields that
-- are said; null takes back what was said of that field. since_: when the unit began to hold; null: now, or from the
-- beginning where no unit was known. A device of which a unit is said has a history of its own from then on, also if that
-- is the unit which it had. version_: null, or what the version must be. Returns the version; what changes nothing keeps
-- it. Raises BG412, object_not_in_prerequisite_state.
create function channel_describe(
    organization_ integer, device_ integer, channel_ text, change jsonb, since_ timestamptz, version_ integer,
    who text, why text
) returns integer language plpgsql as $$
declare
    id integer;
    standard text;
    o channel_descriptions;
    n channel_descriptions;
    was text;
    becomes text;
    begins timestamptz;
    old jsonb;
    new jsonb;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    insert into channels (name) values (channel_) on conflict do nothing;
    select channel_id, coalesce(unit, '') into id, standard from channels where name = channel_;
    select * into o from channel_descriptions d
     where d.organization_id = organization_ and d.channel_id = id and d.device_id is not distinct from device_ for update;
    if version_ is not null and version_ <> coalesce(o.version, 1) then
        raise exception 'channel % was changed meanwhile', channel_ using errcode = 'BG412';
    elsif since_ > now() then
        raise exception 'a unit cannot begin to hold in the future' using errcode = 'object_not_in_prerequisite_state';
    elsif o.channel_id is null
          and (select count(*) from channel_descriptions d
                where d.organization_id = organization_ and d.device_id is not distinct from device_)
              >= (case when device_ is null then 1000 else 256 end) then
        raise exception 'so many channels are described already that no more can be'
            using errcode = 'object_not_in_prerequisite_state';
    end if;

    was := channel_unit_of(organization_, device_, id, standard);
    becomes := case when not change ? 'unit' then was
                    when change ->> 'unit' is not null then change ->> 'unit'
                    when device_ is not null then channel_unit_of(organization_, null, id, standard)
                    else standard end;
    if becomes <> was
       or since_ is not null and change ? 'unit'
          and exists (select from channel_units u where u.organization_id = organization_ and u.channel_id = id
                                                    and (u.device_id is null or u.device_id = device_)) then
        begins := channel_unit_begin(organization_, device_, id, standard, becomes, since_);
    elsif device_ is not null and change ->> 'unit' is not null then
        perform channel_units_own(organization_, device_, id, standard);
    end if;

    n := o;
    n.title := case when change ? 'title' then change ->> 'title' else o.title end;
    n.kind := case when change ? 'kind' then change ->> 'kind' else o.kind end;
    n.decimals := case when change ? 'decimals' then (change ->> 'decimals')::smallint else o.decimals end;
    n.step := case when change ? 'step' then (change ->> 'step')::boolean else o.step end;
    if change ? 'low' then
        n.low := (change ->> 'low')::float8;
        n.high := (change ->> 'high')::float8;
        n.range_unit := case when n.low is not null then becomes end;
    end if;

    old := channel_said(o) || case when becomes <> was then jsonb_build_object('unit', nullif(was, '')) else '{}' end;
    new := channel_said(n) || case when becomes <> was or begins is not null
                                   then jsonb_build_object('unit', nullif(becomes, ''), 'since', begins) else '{}' end;
    if old = new then
        return coalesce(o.version, 1);
    end if;
    insert into channel_descriptions as d (organization_id, device_id, channel_id, title, kind, low, high, range_unit,
                                           decimals, step)
    values (organization_, device_, id, n.title, n.kind, n.low, n.high, n.range_unit, n.decimals, n.step)
    on conflict (organization_id, channel_id, device_id) do update
       set title = excluded.title, kind = excluded.kind, low = excluded.low, high = excluded.high,
           range_unit = excluded.range_unit, decimals = excluded.decimals, step = excluded.step,
           version = d.version + 1, changed_at = now()
    returning d.version into n.version;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_, who, 'channel change',
           coalesce((select 'device/' || name from devices where device_id = device_), 'channel/' || channel_),
           jsonb_build_object('channel', channel_) || old, jsonb_build_object('channel', channel_) || new, why;
    return n.version;
end $$;

-- What was said, without nulls, for the audit trail.
create function channel_said(d channel_descriptions) returns jsonb language sql immutable as $$
    select jsonb_strip_nulls(jsonb_build_object('title', d.title, 'kind', d.kind, 'low', d.low, 'high', d.high,
                                                'decimals', d.decimals, 'step', d.step))
$$;

-- The unit that holds now; empty: not known.
create function channel_unit_of(organization_ integer, device_ integer, channel_ integer, standard text) returns text
language sql stable as $$
    select coalesce((select u.unit from channel_units u
                      where u.organization_id = organization_ and u.channel_id = channel_
                        and (u.device_id is null or u.device_id = device_)
                      order by u.device_id nulls last, u.since desc limit 1), standard)
$$;

-- Gives an organization, or a device, a history of its own, which says what held for it up to now.
create function channel_units_own(organization_ integer, device_ integer, channel_ integer, standard text) returns void
language plpgsql as $$
begin
    if exists (select from channel_units u where u.organization_id = organization_ and u.channel_id = channel_
                                             and u.device_id is not distinct from device_) then
        return;
    end if;
    insert into channel_units (organization_id, device_id, channel_id, since, unit, plain)
    select organization_, device_, channel_, u.since, u.unit, u.plain from channel_units u
     where u.organization_id = organization_ and u.channel_id = channel_ and u.device_id is null and device_ is not null;
    if not found then
        insert into channel_units values (organization_, device_, channel_, '-infinity', standard, true);
    end if;
end $$;

-- Has a unit hold from an instant on, which is returned. What was stored before keeps the unit that it had.
create function channel_unit_begin(
    organization_ integer, device_ integer, channel_ integer, standard text, unit_ text, since_ timestamptz
) returns timestamptz language plpgsql as $$
declare
    begins timestamptz;
    units text[];
begin
    perform channel_units_own(organization_, device_, channel_, standard);
    select array_agg(u.unit) into units from channel_units u
     where u.organization_id = organization_ and u.channel_id = channel_ and u.device_id is not distinct from device_;
    if cardinality(units) >= 100 then
        raise exception 'the unit of this channel has changed a hundred times: use another channel'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    begins := coalesce(since_, case when units = '{""}' then '-infinity' else now() end);
    delete from channel_units u
     where u.organization_id = organization_ and u.channel_id = channel_ and u.device_id is not distinct from device_
       and u.since >= begins;
    insert into channel_units
    select organization_, device_, channel_, begins, unit_, begins = '-infinity' and unit_ = standard
     where unit_ is distinct from (
           select u.unit from channel_units u
            where u.organization_id = organization_ and u.channel_id = channel_
              and u.device_id is not distinct from device_
            order by u.since desc limit 1);
    return begins;
end $$;

-- What a device's firmware says of its channels, {name: {field: value}}, at an enrollment. Only what it says for the first
-- time, or otherwise than last time, changes anything: people's words are not taken back by each enrollment. A device that
-- has sent nothing yet has always had the unit that it says.
create function channels_claim(device_ integer, claims jsonb, why text) returns void language plpgsql as $$
declare
    d devices;
    claim record;
    before jsonb;
    change jsonb;
    since_ timestamptz;
begin
    select * into d from devices where device_id = device_;
    if not exists (select from device_layouts where device_id = device_) then
        since_ := '-infinity';
    end if;
    for claim in select key as channel, value as said from jsonb_each(claims) order by key loop
        select v.claimed into before from channel_descriptions v join channels c using (channel_id)
         where v.organization_id = d.organization_id and v.device_id = device_ and c.name = claim.channel;
        before := coalesce(before, '{}');
        select coalesce(jsonb_object_agg(key, value), '{}') into change from jsonb_each(claim.said) f
         where before -> f.key is distinct from f.value;
        if change ?| array['low', 'high'] then
            change := change || jsonb_build_object('low', claim.said -> 'low', 'high', claim.said -> 'high');
        end if;
        continue when change = '{}';
        begin
            perform channel_describe(d.organization_id, device_, claim.channel, change,
                                     case when change ? 'unit' then since_ end, null, 'device ' || d.name, why);
        exception when object_not_in_prerequisite_state then
            insert into audit (organization_id, who, action, subject, new, why)
            values (d.organization_id, 'device ' || d.name, 'channel change refused', 'device/' || d.name,
                    jsonb_build_object('channel', claim.channel, 'refused', sqlerrm) || change, why);
            continue;
        end;
        insert into channel_descriptions (organization_id, device_id, channel_id, claimed, version)
        select d.organization_id, device_, c.channel_id, claim.said, 1 from channels c where c.name = claim.channel
        on conflict (organization_id, channel_id, device_id) do update set claimed = excluded.claimed;
    end loop;
end $$;

-- A device that is given away takes the units along in which its data are stored, and what was said of it.
create function channels_given() returns trigger language plpgsql as $$
begin
    insert into channel_units (organization_id, device_id, channel_id, since, unit, plain)
    select old.organization_id, new.device_id, u.channel_id, u.since, u.unit, u.plain
      from channel_units u
     where u.organization_id = old.organization_id and u.device_id is null
       and not exists (select from channel_units own where own.device_id = new.device_id and own.channel_id = u.channel_id)
       and exists (select from device_layouts l join layout_channels lc using (layout_id)
                    where l.device_id = new.device_id and lc.channel_id = u.channel_id);
    insert into channel_units (organization_id, device_id, channel_id, since, unit, plain)
    select distinct old.organization_id, new.device_id, u.channel_id, '-infinity'::timestamptz, coalesce(c.unit, ''), true
      from channel_units u join channels c using (channel_id)
     where u.organization_id = new.organization_id and u.device_id is null
       and not exists (select from channel_units own where own.device_id = new.device_id and own.channel_id = u.channel_id)
       and exists (select from device_layouts l join layout_channels lc using (layout_id)
                    where l.device_id = new.device_id and lc.channel_id = u.channel_id);
    update channel_units set organization_id = new.organization_id where device_id = new.device_id;
    update channel_descriptions set organization_id = new.organization_id where device_id = new.device_id;
    return null;
end $$;

create trigger channels_given after update of organization_id on devices
    for each row when (old.organization_id <> new.organization_id) execute function channels_given();

-- For the API.

create or replace view api.channels as select * from public.channels;

create view api.channel_descriptions as
select * from public.channel_descriptions where organization_id = (select api.organization());

create view api.channel_units as
select * from public.channel_units where organization_id = (select api.organization());

create view api.unit_spans as
select * from public.unit_spans where organization_id = (select api.organization());

create view api.channel_terms as
select * from public.channel_terms where organization_id = (select api.organization());

create view api.organization_channel_terms as
select * from public.organization_channel_terms where organization_id = (select api.organization());

-- device_ null: of all devices of the organization.
create function api.channel_describe(
    device_ text, channel_ text, change jsonb, since_ timestamptz, version_ integer, who text, why text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
begin
    return public.channel_describe(api.organization(), case when device_ is not null then api.device_owned(device_) end,
                                   channel_, change, since_, version_, who, why);
end $$;

revoke all on function api.channel_describe from public;
grant execute on function api.channel_describe to biogate_api;
grant select on api.channel_descriptions, api.channel_units, api.unit_spans, api.channel_terms,
    api.organization_channel_terms to biogate_api;

-- Each sample has the unit that held at its time. As a scalar subquery it costs nothing where nobody asks for the unit.
-- Whether anybody has said another unit than the standard list is looked for once a query: to look for each of 400,000
-- samples took 1.9 s.
create or replace view telemetry as
select f.time, f.device_id, d.name as device, c.name as channel,
       case when (select not exists (select from channel_units u where not u.plain)) then c.unit
            else nullif(coalesce((select s.unit from unit_spans s
                                   where s.device_id = d.device_id and s.channel_id = c.channel_id and s.since <= f.time
                                   order by s.since desc limit 1), c.unit), '') end as unit,
       case when f.values[lc.ordinal] between -1e100 and 1e100 then f.values[lc.ordinal] end as value,
       case when f.quality[lc.ordinal] <> 0 then f.quality[lc.ordinal]
            when f.values[lc.ordinal] between -1e100 and 1e100 then 0 else 1 end::smallint as quality
  from frames f
  join devices d using (device_id)
  join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null;

create or replace view org.telemetry with (security_barrier) as
select f.time, f.device_id, d.name as device, c.name as channel,
       case when (select not exists (select from public.channel_units u where not u.plain)) then c.unit
            else nullif(coalesce((select s.unit from public.unit_spans s
                                   where s.device_id = d.device_id and s.channel_id = c.channel_id and s.since <= f.time
                                   order by s.since desc limit 1), c.unit), '') end as unit,
       case when f.values[lc.ordinal] between -1e100 and 1e100 then f.values[lc.ordinal] end as value,
       case when f.quality[lc.ordinal] <> 0 then f.quality[lc.ordinal]
            when f.values[lc.ordinal] between -1e100 and 1e100 then 0 else 1 end::smallint as quality
  from public.frames f
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where (f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null)
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create or replace view org.channels with (security_barrier) as
select c.channel_id, c.name,
       nullif(coalesce((select u.unit from public.channel_units u
                         where u.organization_id = (select s.organization_id from public.sql_logins s
                                                     where s.role = current_user)
                           and u.channel_id = c.channel_id and u.device_id is null
                         order by u.since desc limit 1), c.unit), '') as unit,
       c.description
  from public.channels c
 where exists (select from public.layout_channels lc
                 join public.device_layouts l using (layout_id)
                 join public.devices d using (device_id)
                where lc.channel_id = c.channel_id
                  and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user));

create or replace view org.device_channels with (security_barrier) as
select t.device_id, d.name as device, t.channel, t.unit, t.description, t.title, t.kind, t.low, t.high, t.decimals, t.step
  from public.devices d
 cross join lateral (
       select distinct lc.channel_id from public.device_layouts l join public.layout_channels lc using (layout_id)
        where l.device_id = d.device_id) lc
  join public.channel_terms t on t.device_id = d.device_id and t.channel_id = lc.channel_id
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

comment on column org.device_channels.unit is 'the one that holds now; telemetry has the one of each sample';

create view org.channel_units with (security_barrier) as
select d.device_id, d.name as device, c.name as channel, s.since, nullif(s.unit, '') as unit
  from public.unit_spans s
  join public.devices d using (device_id)
  join public.channels c using (channel_id)
 where s.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user)
   and exists (select from public.device_layouts l join public.layout_channels lc using (layout_id)
                where l.device_id = s.device_id and lc.channel_id = s.channel_id);

comment on view org.channel_units is 'the units of a channel over time, where somebody has said or changed them';

grant select on org.channel_units to biogate_sql;

-- migrate: rollback

drop view org.channel_units, org.device_channels;

create view org.device_channels with (security_barrier) as
select distinct d.device_id, d.name as device, c.name as channel, c.unit, c.description
  from public.device_layouts l
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on org.device_channels to biogate_sql;

create or replace view org.channels with (security_barrier) as
select c.channel_id, c.name, c.unit, c.description
  from public.channels c
 where exists (select from public.layout_channels lc
                 join public.device_layouts l using (layout_id)
                 join public.devices d using (device_id)
                where lc.channel_id = c.channel_id
                  and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user));

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

drop function api.channel_describe;
drop view api.organization_channel_terms, api.channel_terms, api.unit_spans, api.channel_units, api.channel_descriptions, api.channels;
create view api.channels as select channel_id, name, unit, description from public.channels;
grant select on api.channels to biogate_api;
drop trigger channels_given on devices;
drop function channels_given, channels_claim, channel_unit_begin, channel_units_own, channel_unit_of, channel_describe, channel_said;
drop view organization_channel_terms, channel_terms, unit_spans;
drop table channel_units, channel_descriptions;
alter table channels drop column kind, drop column low, drop column high, drop column decimals, drop column step;
