-- rules that follow confirmed phases, and what runs, samples and probes lacked
-- depends: 0039_reviews

-- migrate: apply

-- Alarm rules follow phases that people confirm: the alarms process hears of each change.
create trigger run_phases_notify after insert or update or delete on run_phases
    for each statement execute function alarms_notify('biogate_alarm_rules');
create trigger run_devices_notify after insert or update or delete on run_devices
    for each statement execute function alarms_notify('biogate_alarm_rules');

-- It asks for the runs that last or have just ended.
create index run_devices_ends on run_devices (ends);

-- For logins of SQL: the newest version of what is not withdrawn. Of a device that was given away nobody sees it.

create view org.samples with (security_barrier) as
select s.sample, d.name as device, s.taken_at, s.location, s.note, s.status, s.version, s.who, s.created_at
  from public.lab_samples s join public.devices d using (device_id)
 where s.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user)
   and d.organization_id = s.organization_id and s.superseded_at is null and not s.withdrawn;

create view org.sample_analytes with (security_barrier) as
select s.sample, d.name as device, s.taken_at, a.analyte, a.value, a.reading, a.unit, a.method, a.status, a.measured_at,
       a.measured_by, a.approved_at, a.approved_by
  from public.lab_samples s join public.devices d using (device_id) join public.lab_analytes a using (lab_sample_id)
 where s.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user)
   and d.organization_id = s.organization_id and s.superseded_at is null and not s.withdrawn;

create view org.materials with (security_barrier) as
select m.number as material_number, d.name as device, m.kind, m.material, m.lot, m.quantity, m.unit, m.begins, m.ends, m.note,
       m.version, m.who, m.created_at
  from public.materials m join public.devices d using (device_id)
 where m.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user)
   and d.organization_id = m.organization_id and m.superseded_at is null and not m.withdrawn;

grant select on org.samples, org.sample_analytes, org.materials to biogate_sql;

-- Versions as they were made, for the activity.
create index lab_samples_created on lab_samples (device_id, created_at desc);
create index materials_created on materials (device_id, created_at desc);

-- A probe is in one device at a time. Raises object_not_in_prerequisite_state where another card has it.
create or replace function device_card_put(
    organization_ integer, device_ integer, card_ jsonb, due_on_ date, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o device_cards;
    becomes integer;
    elsewhere text;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from device_cards c where c.organization_id = organization_ and c.device_id = device_;
    if version_ is not null and version_ <> coalesce(o.version, 1) then
        raise exception 'the card was changed meanwhile' using errcode = 'BG412';
    elsif o.card = card_ then
        return o.version;
    end if;
    select format('probe %s is on the card of %s: take it off there first', x ->> 'serial', d.name) into elsewhere
      from device_cards c join devices d using (device_id), jsonb_array_elements(c.card -> 'probes') x
     where c.organization_id = organization_ and d.organization_id = organization_ and c.device_id <> device_
       and d.state in ('active', 'pending', 'suspended')
       and x ->> 'serial' in (select y ->> 'serial' from jsonb_array_elements(card_ -> 'probes') y)
     order by 1 limit 1;
    if elsewhere is not null then
        raise exception '%', elsewhere using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into device_cards as c (organization_id, device_id, card, due_on, version)
    values (organization_, device_, card_, due_on_, 2)
    on conflict (organization_id, device_id) do update
       set card = excluded.card, due_on = excluded.due_on, version = c.version + 1, changed_at = now()
    returning version into becomes;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_, who, 'device card', 'device/' || d.name, o.card, card_, why_
      from devices d where d.device_id = device_;
    return becomes;
end $$;

-- The place of an entry is one that is known, as a place or as that of a device. Raises no_data_found.
create or replace function api.shift_entry(text_ text, location_ text, devices_ text[], handed_to_ text, who_ text) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    if handed_to_ is not null and not exists (select from memberships m join users u using (user_id)
            where m.organization_id = api.organization() and u.email = handed_to_) then
        raise exception '% is no member', handed_to_ using errcode = 'no_data_found';
    end if;
    if location_ is not null
       and not exists (select from locations l where l.organization_id = api.organization() and l.path = location_)
       and not exists (select from devices d where d.organization_id = api.organization() and d.location = location_) then
        raise exception 'there is no place %', location_ using errcode = 'no_data_found';
    end if;
    insert into shift_entries (organization_id, text, location, devices, who, handed_to)
    select api.organization(), text_, location_, array(select api.device_owned(d) from unnest(devices_) d), who_, handed_to_
    returning entry_id into id;
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who_, 'shift entry', 'shift/' || id, jsonb_build_object(
        'text', text_, 'location', location_, 'devices', devices_, 'handed_to', handed_to_), 'shift log');
    return id;
end $$;

-- The run becomes another state, now or at `at_`. The same state again is no change; at another time than it became so, that
-- would be a correction, and is refused.
create or replace function api.run_step(
    name_ text, state_ text, at_ timestamptz, version_ integer, who text, why_ text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    since timestamptz;
begin
    select s.at into since from runs r join run_states s using (run_id)
     where r.organization_id = api.organization() and r.name = name_ and r.state = state_ and s.state = state_
     order by s.run_state_id desc limit 1;
    if at_ <> since then
        raise exception 'run % is % since %: PATCH corrects when a run began and ended', name_, state_,
            to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') using errcode = 'object_not_in_prerequisite_state';
    end if;
    return public.run_step(api.organization(), name_, state_, coalesce(at_, now()), version_, who, why_);
end $$;

-- migrate: rollback

create or replace function api.run_step(
    name_ text, state_ text, at_ timestamptz, version_ integer, who text, why_ text
) returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.run_step(api.organization(), name_, state_, at_, version_, who, why_)
$$;

create or replace function api.shift_entry(text_ text, location_ text, devices_ text[], handed_to_ text, who_ text) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    if handed_to_ is not null and not exists (select from memberships m join users u using (user_id)
            where m.organization_id = api.organization() and u.email = handed_to_) then
        raise exception '% is no member', handed_to_ using errcode = 'no_data_found';
    end if;
    insert into shift_entries (organization_id, text, location, devices, who, handed_to)
    select api.organization(), text_, location_, array(select api.device_owned(d) from unnest(devices_) d), who_, handed_to_
    returning entry_id into id;
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who_, 'shift entry', 'shift/' || id, jsonb_build_object(
        'text', text_, 'location', location_, 'devices', devices_, 'handed_to', handed_to_), 'shift log');
    return id;
end $$;

create or replace function device_card_put(
    organization_ integer, device_ integer, card_ jsonb, due_on_ date, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o device_cards;
    becomes integer;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from device_cards c where c.organization_id = organization_ and c.device_id = device_;
    if version_ is not null and version_ <> coalesce(o.version, 1) then
        raise exception 'the card was changed meanwhile' using errcode = 'BG412';
    elsif o.card = card_ then
        return o.version;
    end if;
    insert into device_cards as c (organization_id, device_id, card, due_on, version)
    values (organization_, device_, card_, due_on_, 2)
    on conflict (organization_id, device_id) do update
       set card = excluded.card, due_on = excluded.due_on, version = c.version + 1, changed_at = now()
    returning version into becomes;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_, who, 'device card', 'device/' || d.name, o.card, card_, why_
      from devices d where d.device_id = device_;
    return becomes;
end $$;

drop index materials_created, lab_samples_created;
drop view org.materials, org.sample_analytes, org.samples;
drop index run_devices_ends;
drop trigger run_devices_notify on run_devices;
drop trigger run_phases_notify on run_phases;
