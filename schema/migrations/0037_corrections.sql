-- corrections: what people say of samples that are wrong. The samples stay; a correction is a row that names them
-- depends: 0036_seals

-- migrate: apply

-- A row is a version of a correction of a channel of a device from `begins` to `ends`, which is not part of it. What holds is
-- the newest version of each correction that was not withdrawn; of two that overlap, the row that was made later.
create table corrections (
    correction_id   bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    number          bigint      not null,
    version         integer     not null check (version >= 1),
    act             text        not null check (act in ('make', 'change', 'withdraw')),
    device_id       integer     not null references devices,
    channel_id      integer     not null references channels,
    begins          timestamptz not null,
    ends            timestamptz not null check (begins < ends),
    value           float8      check (value > '-Infinity' and value < 'Infinity'),
    factor          float8      check (factor > '-Infinity' and factor < 'Infinity'),
    added           float8      check (added > '-Infinity' and added < 'Infinity'),
    quality         smallint    check (quality >= 0),
    unit            text,
    deviation       text,
    who             text        not null,
    why             text        not null check (char_length(why) between 1 and 1000),
    made_at         timestamptz not null default clock_timestamp(),
    unique (number, version),
    check ((factor is null) = (added is null)),
    check (num_nonnulls(value, factor) <= 1 and num_nonnulls(value, factor, quality) >= 1)
);

create sequence correction_numbers owned by corrections.number;
create index on corrections (device_id, number, version);

comment on column corrections.correction_id is 'of overlapping corrections the greatest holds';
comment on column corrections.number is 'of the correction; a version replaces the one before it';
comment on column corrections.organization_id is 'whose device it was; a correction goes with the device to the next one';
comment on column corrections.value is 'in place of what was sent';
comment on column corrections.factor is 'what was sent times this, plus `added`';
comment on column corrections.unit is 'of value and added: that in which the channel is stored in that time';
comment on column corrections.deviation is 'the number of the deviation that it belongs to';

create function correction_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'a correction is never overwritten: change it by a new version, or withdraw it'
        using errcode = 'insufficient_privilege';
end $$;

create trigger correction_refuse before update or delete or truncate on corrections
    for each statement execute function correction_refuse();

-- For the API.

create view api.corrections as
select c.correction_id, c.number, c.version, c.act, c.device_id, d.name as device, c.channel_id, n.name as channel, c.begins,
       c.ends, c.value, c.factor, c.added, c.quality, c.unit, c.deviation, c.who, c.why, c.made_at
  from public.corrections c
  join public.devices d using (device_id)
  join public.channels n using (channel_id)
 where d.organization_id = (select api.organization());

-- Stores a version of a correction and returns its number. number_ null: it is a new one. version_: null, or the version that
-- must be the newest. act_ withdraw: `said` is not looked at. Raises no_data_found, BG412,
-- object_not_in_prerequisite_state.
create function api.correction_put(
    device_ text, number_ bigint, version_ integer, act_ text, said jsonb, who_ text, why_ text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    device integer := api.device_owned(device_);
    o corrections;
    n corrections;
    reference_ text;
begin
    perform pg_advisory_xact_lock(1635083369, org);  -- "audi": one after the other, in the order of the trail
    if act_ <> 'make' then
        select * into o from corrections c
         where c.number = number_ and c.device_id = device order by c.version desc limit 1;
        if not found then
            raise exception 'there is no correction % of device %', number_, device_ using errcode = 'no_data_found';
        elsif version_ is not null and version_ <> o.version then
            raise exception 'correction % was changed meanwhile', number_ using errcode = 'BG412';
        elsif o.act = 'withdraw' then
            raise exception 'correction % is withdrawn: make another one', number_
                using errcode = 'object_not_in_prerequisite_state';
        end if;
    end if;
    if (select count(*) from corrections c where c.device_id = device) >= 2000 then
        raise exception 'device % has 2000 versions of corrections, and may not have more', device_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    n := o;
    if act_ <> 'withdraw' then
        n := jsonb_populate_record(null::corrections, said);
        select c.channel_id into n.channel_id
          from channels c join layout_channels l using (channel_id) join device_layouts u using (layout_id)
         where u.device_id = device and c.name = said ->> 'channel' limit 1;
        if n.channel_id is null then
            raise exception '% has never sent %', device_, said ->> 'channel' using errcode = 'no_data_found';
        elsif o.channel_id <> n.channel_id then
            raise exception 'correction % is of another channel: withdraw it, and make another one', number_
                using errcode = 'object_not_in_prerequisite_state';
        elsif n.ends > clock_timestamp() + interval '1 minute' then
            raise exception 'what is yet to be sent cannot be corrected: `to` is in the future'
                using errcode = 'object_not_in_prerequisite_state';
        end if;
    end if;
    insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, value, factor, added,
                             quality, unit, deviation, who, why)
    select org, coalesce(o.number, nextval('correction_numbers')), coalesce(o.version, 0) + 1, act_, device, n.channel_id,
           n.begins, n.ends, n.value, n.factor, n.added, n.quality, n.unit, n.deviation, who_, why_
    returning * into n;
    if act_ <> 'withdraw' and n.deviation is not null then
        reference_ := format('%s/%s/%s', device_, to_char(n.begins at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                             to_char(n.ends at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));
        if not exists (select from deviation_links l join deviations v using (deviation_id)
                        where v.organization_id = org and v.deviation = n.deviation and l.type = 'corrected-by'
                          and l.kind = 'span' and l.reference = reference_ and l.withdrawn_at is null) then
            perform deviation_link(deviation_unclosed(org, n.deviation, null), 'corrected-by', 'span', reference_, who_, why_);
        end if;
    end if;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (org, who_, 'correction ' || act_, 'correction/' || n.number, correction_document(o), correction_document(n), why_);
    return n.number;
end $$;

-- A version as the audit trail has it.
create function correction_document(it corrections) returns jsonb language sql stable as $$
    select case when it.number is not null then jsonb_strip_nulls(
           (to_jsonb(it) || jsonb_build_object('device', d.name, 'channel', n.name))
           - '{correction_id,organization_id,number,device_id,channel_id,who,why,made_at,act}'::text[]) end
      from (select 1) one left join devices d on d.device_id = it.device_id left join channels n on n.channel_id = it.channel_id
$$;

revoke all on function api.correction_put from public;
grant select on api.corrections to biogate_api;
grant execute on function api.correction_put to biogate_api;

-- In the name of who has shown a credential: see 0034_roles.sql.
create trigger a_written_by before insert on corrections for each row execute function written_by('who');

-- migrate: rollback

drop function api.correction_put;
drop view api.corrections;
drop function correction_document(corrections);
drop table corrections;
drop function correction_refuse;
