-- computed channels: formulas of an organization over the channels that its devices send, and constants of devices for them
-- depends: 0024_wide_views

-- migrate: apply

-- What a definition holds, and what a formula is, api/shapes/computed.py says. Values are computed when they are read.
create table computed_channels (
    organization_id integer     not null references organizations,
    name            text        not null check (char_length(name) between 1 and 64),
    definition      jsonb       not null,
    version         integer     not null default 1,
    changed_at      timestamptz not null default now(),
    primary key (organization_id, name)
);

-- The constants of a device that differ from those of the definitions, by name.
create table computed_constants (
    organization_id integer     not null references organizations,
    device_id       integer     not null references devices,
    constants       jsonb       not null,
    version         integer     not null default 1,
    changed_at      timestamptz not null default now(),
    primary key (organization_id, device_id)
);

create index on computed_constants (device_id);

-- Creates it, or changes it. version_: null, or what the version must be (0: there must be none). Returns the version; the
-- same definition again changes nothing. Raises BG412, object_not_in_prerequisite_state.
create function computed_channel_put(
    organization_ integer, name_ text, definition_ jsonb, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o computed_channels;
    n computed_channels;
    other text;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    select * into o from computed_channels c where c.organization_id = organization_ and c.name = name_;
    if version_ is not null and version_ <> coalesce(o.version, 0) then
        raise exception '%', case when o.name is null then 'there is no computed channel ' || name_
                             when version_ = 0 then 'there is a computed channel ' || name_ || ' already'
                             else 'computed channel ' || name_ || ' was changed meanwhile' end using errcode = 'BG412';
    elsif o.definition = definition_ then
        return o.version;
    end if;
    select min(d.name) into other from devices d join device_layouts l using (device_id)
      join layout_channels lc using (layout_id) join channels c using (channel_id)
     where d.organization_id = organization_ and c.name = name_;
    if o.name is null and other is not null then
        raise exception '% sends a channel of the name %: take another name', other, name_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    select min(c.name) into other from computed_channels c
     where c.organization_id = organization_ and definition_ -> 'inputs' ? c.name
       and not exists (select from devices d join device_layouts l using (device_id)
                         join layout_channels lc using (layout_id) join channels s using (channel_id)
                        where d.organization_id = organization_ and s.name = c.name);
    if other is not null then
        raise exception '% is computed, and a formula reads channels that devices send: write its formula out', other
            using errcode = 'object_not_in_prerequisite_state';
    elsif o.name is null and (select count(*) from computed_channels c where c.organization_id = organization_) >= 100 then
        raise exception 'there are 100 computed channels already' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into computed_channels as c (organization_id, name, definition) values (organization_, name_, definition_)
    on conflict (organization_id, name) do update
       set definition = excluded.definition, version = c.version + 1, changed_at = now()
    returning * into n;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'computed channel ' || case when o.name is null then 'create' else 'change' end,
            'computed-channel/' || name_, o.definition, n.definition, why_);
    return n.version;
end $$;

-- Raises no_data_found, BG412.
create function computed_channel_remove(organization_ integer, name_ text, version_ integer, who text, why_ text)
returns void language plpgsql as $$
declare
    o computed_channels;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from computed_channels c where c.organization_id = organization_ and c.name = name_;
    if not found then
        raise exception 'there is no computed channel %', name_ using errcode = 'no_data_found';
    elsif version_ is not null and version_ <> o.version then
        raise exception 'computed channel % was changed meanwhile', name_ using errcode = 'BG412';
    end if;
    delete from computed_channels c where c.organization_id = organization_ and c.name = name_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'computed channel remove', 'computed-channel/' || name_, o.definition, null, why_);
end $$;

-- Sets constants of a device; one that is null is taken back. version_: null, or what the version must be, which is 1
-- where nothing was said. Returns the version; what changes nothing keeps it. Raises BG412, object_not_in_prerequisite_state.
create function computed_constants_set(
    organization_ integer, device_ integer, change jsonb, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o computed_constants;
    n jsonb;
    becomes integer;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from computed_constants c where c.organization_id = organization_ and c.device_id = device_;
    if version_ is not null and version_ <> coalesce(o.version, 1) then
        raise exception 'the constants were changed meanwhile' using errcode = 'BG412';
    end if;
    n := jsonb_strip_nulls(coalesce(o.constants, '{}') || change);
    if n = coalesce(o.constants, '{}') then
        return coalesce(o.version, 1);
    elsif (select count(*) from jsonb_object_keys(n)) > 100 then
        raise exception 'a device has at most 100 constants' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into computed_constants as c (organization_id, device_id, constants, version)
    values (organization_, device_, n, 2)
    on conflict (organization_id, device_id) do update
       set constants = excluded.constants, version = c.version + 1, changed_at = now()
    returning version into becomes;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_, who, 'device constants', 'device/' || d.name, coalesce(o.constants, '{}'), n, why_
      from devices d where d.device_id = device_;
    return becomes;
end $$;

-- For the API.

create view api.computed_channels as
select * from public.computed_channels where organization_id = (select api.organization());

create view api.computed_constants as
select c.* from public.computed_constants c join public.devices d using (device_id)
 where c.organization_id = (select api.organization()) and d.organization_id = c.organization_id;

create function api.computed_channel_put(name_ text, definition_ jsonb, version_ integer, who text, why_ text)
returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.computed_channel_put(api.organization(), name_, definition_, version_, who, why_)
$$;

create function api.computed_channel_remove(name_ text, version_ integer, who text, why_ text)
returns void language sql security definer set search_path = public, pg_temp as $$
    select public.computed_channel_remove(api.organization(), name_, version_, who, why_)
$$;

create function api.computed_constants_set(device_ text, change jsonb, version_ integer, who text, why_ text)
returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.computed_constants_set(api.organization(), api.device_owned(device_), change, version_, who, why_)
$$;

revoke all on function api.computed_channel_put, api.computed_channel_remove, api.computed_constants_set from public;
grant execute on function api.computed_channel_put, api.computed_channel_remove, api.computed_constants_set to biogate_api;
grant select on api.computed_channels, api.computed_constants to biogate_api;

-- migrate: rollback

drop function api.computed_channel_put, api.computed_channel_remove, api.computed_constants_set;
drop view api.computed_channels, api.computed_constants;
drop function computed_channel_put, computed_channel_remove, computed_constants_set;
drop table computed_constants, computed_channels;
