-- runs: what is made in devices, from its start through its phases to its end
-- depends: 0027_log_in_links

-- migrate: apply

-- Words of ISA-88. `idle` is planned. What may follow what, `run_next_states` says.
create table runs (
    run_id          bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    name            text        not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$'),
    material        text        check (char_length(material) between 1 and 200),
    strain          text        check (char_length(strain) between 1 and 200),
    recipe          text        check (char_length(recipe) between 1 and 200),
    recipe_version  text        check (char_length(recipe_version) between 1 and 200),
    note            text        check (char_length(note) between 1 and 2000),
    plan            jsonb       not null default '[]',
    state           text        not null default 'idle' check (state in ('idle', 'running', 'holding', 'held', 'restarting',
                                                   'stopping', 'stopped', 'aborting', 'aborted', 'complete')),
    begins          timestamptz,
    ends            timestamptz check (ends > begins),
    version         integer     not null default 1,
    created_by      text        not null,
    created_at      timestamptz not null default now(),
    sorted_at       timestamptz not null generated always as (coalesce(begins, created_at)) stored,
    words           text        not null generated always as (lower(name || ' ' || coalesce(material, '') || ' '
        || coalesce(strain, '') || ' ' || coalesce(recipe, '') || ' ' || coalesce(note, ''))) stored,
    unique (organization_id, name),
    check (begins is not null or ends is null and state in ('idle', 'aborting', 'aborted')),
    check ((ends is not null) = (begins is not null and state in ('stopped', 'aborted', 'complete')))
);

create index on runs (organization_id, sorted_at desc, run_id desc);
create index on runs (organization_id, begins) where ends is null;

comment on column runs.name is 'the id that people and other systems call it by: a batch, SupervisoryJobId of LADS';
comment on column runs.words is 'what is looked through for words, in small letters';
comment on column runs.plan is 'the planned setpoints; api/shapes/run_plans.py says what they hold';

-- The devices of a run. Their times are those of the run, for the constraint: a device is in one run at a time.
create table run_devices (
    run_id          bigint  not null references runs,
    device_id       integer not null references devices,
    organization_id integer not null references organizations,
    begins          timestamptz,
    ends            timestamptz,
    primary key (run_id, device_id),
    constraint run_devices_one_at_a_time exclude using gist (
        int4range(organization_id, organization_id, '[]') with &&, int4range(device_id, device_id, '[]') with &&,
        tstzrange(begins, ends) with &&) where (begins is not null)
);

create index on run_devices (device_id, begins desc);

-- The phases that somebody confirmed or made. What is only proposed is not stored: it is found when it is read.
create table run_phases (
    run_id       bigint      not null references runs,
    name         text        not null check (char_length(name) between 1 and 100),
    begins       timestamptz not null,
    ends         timestamptz check (ends > begins),
    origin       text        not null check (origin in ('person', 'event', 'data')),
    confirmed_by text        not null,
    confirmed_at timestamptz not null default now(),
    primary key (run_id, begins),
    constraint run_phases_one_at_a_time exclude using gist (
        int8range(run_id, run_id, '[]') with &&, tstzrange(begins, ends) with &&)
);

comment on column run_phases.ends is 'null: until the end of the run';

create table run_states (
    run_state_id bigint generated always as identity primary key,
    run_id       bigint      not null references runs,
    state        text        not null,
    at           timestamptz not null,
    who          text        not null,
    why          text        not null
);

create index on run_states (run_id, run_state_id);

alter table organizations add column runs_automatic boolean not null default false;

comment on column organizations.runs_automatic is 'whether events `run` of devices start and end runs';

-- What a run can become next. A run that is over stays so: another one has another name.
create function run_next_states(state_ text) returns text[] language sql immutable parallel safe as $$
    select case state_
        when 'idle'       then array['running', 'aborting', 'aborted']
        when 'running'    then array['complete', 'holding', 'held', 'stopping', 'stopped', 'aborting', 'aborted']
        when 'holding'    then array['held', 'stopping', 'stopped', 'aborting', 'aborted']
        when 'held'       then array['restarting', 'running', 'stopping', 'stopped', 'aborting', 'aborted']
        when 'restarting' then array['running', 'holding', 'held', 'stopping', 'stopped', 'aborting', 'aborted']
        when 'stopping'   then array['stopped', 'aborting', 'aborted']
        when 'aborting'   then array['aborted']
        else array[]::text[] end
$$;

-- What of a run stands in the audit trail.
create function run_facts(run_ runs) returns jsonb language sql stable as $$
    select jsonb_strip_nulls(to_jsonb(run_) - '{run_id,organization_id,name,version,created_by,created_at,sorted_at,words}'::text[])
        || jsonb_build_object('devices', coalesce((select jsonb_agg(d.name order by d.name)
             from run_devices m join devices d using (device_id) where m.run_id = run_.run_id), '[]'))
$$;

create function run_locked(organization_ integer, name_ text, version_ integer) returns runs language plpgsql as $$
declare
    found_ runs;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    select * into found_ from runs r where r.organization_id = organization_ and r.name = name_;
    if not found then
        raise exception 'there is no run %', name_ using errcode = 'no_data_found';
    elsif version_ is not null and version_ <> found_.version then
        raise exception 'run % was changed meanwhile', name_ using errcode = 'BG412';
    end if;
    return found_;
end $$;

-- Makes the devices of the run these, in the time of the run. Raises object_not_in_prerequisite_state where one of them is
-- in another run then.
create function run_devices_put(run_ runs, devices_ integer[]) returns void language plpgsql as $$
declare
    other text;
begin
    select format('%s is in run %s from %s%s', d.name, r.name, to_char(m.begins at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
                  coalesce(to_char(m.ends at time zone 'UTC', '" to "YYYY-MM-DD HH24:MI'), ' on')) || ' (UTC)'
      into other
      from run_devices m join runs r using (run_id) join devices d using (device_id)
     where m.organization_id = run_.organization_id and m.device_id = any (devices_) and m.run_id <> run_.run_id
       and run_.begins is not null and m.begins is not null
       and tstzrange(m.begins, m.ends) && tstzrange(run_.begins, run_.ends)
     order by m.begins limit 1;
    if other is not null then
        raise exception '%: a device is in one run at a time', other using errcode = 'object_not_in_prerequisite_state';
    end if;
    delete from run_devices m where m.run_id = run_.run_id and m.device_id <> all (devices_);
    insert into run_devices (run_id, device_id, organization_id, begins, ends)
    select run_.run_id, d, run_.organization_id, run_.begins, run_.ends from unnest(devices_) d
    on conflict (run_id, device_id) do update set begins = excluded.begins, ends = excluded.ends;
end $$;

-- Raises object_not_in_prerequisite_state for times that cannot be.
create function run_check_times(run_ runs) returns void language plpgsql as $$
declare
    wrong text;
begin
    if run_.begins > now() + interval '1 minute' or run_.ends > now() + interval '1 minute' then
        raise exception 'a run starts and ends now or in the past' using errcode = 'object_not_in_prerequisite_state';
    elsif run_.ends <= run_.begins then
        raise exception 'run % would end before it starts', run_.name using errcode = 'object_not_in_prerequisite_state';
    end if;
    select p.name into wrong from run_phases p
     where p.run_id = run_.run_id
       and (p.begins < run_.begins or p.begins >= run_.ends or p.ends > run_.ends)
     order by p.begins limit 1;
    if wrong is not null then
        raise exception 'phase % would lie outside run %: change the phases, too', wrong, run_.name
            using errcode = 'object_not_in_prerequisite_state';
    end if;
end $$;

-- facts: material, strain, recipe, recipe_version, note, plan. begins_: null, then it is planned. Raises
-- object_not_in_prerequisite_state.
create function run_create(
    organization_ integer, name_ text, devices_ integer[], begins_ timestamptz, facts jsonb, who text, why_ text
) returns bigint language plpgsql as $$
declare
    n runs;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    if exists (select from runs r where r.organization_id = organization_ and r.name = name_) then
        raise exception 'there is a run % already', name_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into runs (organization_id, name, material, strain, recipe, recipe_version, note, plan, state, begins, created_by)
    values (organization_, name_, facts ->> 'material', facts ->> 'strain', facts ->> 'recipe', facts ->> 'recipe_version',
            facts ->> 'note', coalesce(facts -> 'plan', '[]'),
            case when begins_ is null then 'idle' else 'running' end, begins_, who)
    returning * into n;
    perform run_check_times(n);
    perform run_devices_put(n, devices_);
    insert into run_states (run_id, state, at, who, why) values (n.run_id, n.state, coalesce(begins_, now()), who, why_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (organization_, who, 'run create', 'run/' || name_, run_facts(n), why_);
    return n.run_id;
end $$;

-- change: the facts, `begins` and `ends` that become others; facts that are null are taken away. devices_: null, they stay.
-- Returns the version; what changes nothing keeps it. Raises no_data_found, BG412, object_not_in_prerequisite_state.
create function run_change(
    organization_ integer, name_ text, devices_ integer[], change jsonb, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o runs := run_locked(organization_, name_, version_);
    n runs := jsonb_populate_record(o, change - '{run_id,organization_id,name,state,version,created_by,created_at,sorted_at,words}'::text[]);
    was jsonb := run_facts(o);
begin
    if (o.begins is null) <> (n.begins is null) or (o.ends is null) <> (n.ends is null) then
        raise exception 'run % is %: start or end it first, then correct when it was', name_, o.state
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform run_check_times(n);
    perform run_devices_put(n, coalesce(devices_, array(select m.device_id from run_devices m where m.run_id = o.run_id)));
    if run_facts(n) = was then
        return o.version;
    end if;
    update runs r
       set material = n.material, strain = n.strain, recipe = n.recipe, recipe_version = n.recipe_version, note = n.note,
           plan = n.plan, begins = n.begins, ends = n.ends, version = r.version + 1
     where r.run_id = o.run_id;
    update run_states s set at = n.begins
     where s.run_state_id = (select min(f.run_state_id) from run_states f where f.run_id = o.run_id and f.state = 'running');
    update run_states s set at = n.ends where s.run_id = o.run_id and n.ends is not null and s.state = o.state;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'run change', 'run/' || name_, was, run_facts(n), why_);
    return o.version + 1;
end $$;

-- The run becomes another state at that time: `running` starts it, `complete`, `stopped` and `aborted` end it. The same state
-- again changes nothing. Raises no_data_found, BG412, object_not_in_prerequisite_state.
create function run_step(
    organization_ integer, name_ text, state_ text, at_ timestamptz, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o runs := run_locked(organization_, name_, version_);
    n runs := o;
    before timestamptz;
begin
    if state_ = o.state then
        return o.version;
    elsif not state_ = any (run_next_states(o.state)) then
        raise exception 'run % is %, and can become %', name_, o.state,
            coalesce(nullif(array_to_string(run_next_states(o.state), ', '), ''), 'nothing else')
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    select max(s.at) into before from run_states s where s.run_id = o.run_id and s.state <> 'idle';
    if at_ < before then
        raise exception 'run % became % at %, which is later', name_, o.state,
            to_char(before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') using errcode = 'object_not_in_prerequisite_state';
    elsif at_ > now() + interval '1 minute' then
        raise exception 'a run changes now or in the past' using errcode = 'object_not_in_prerequisite_state';
    end if;
    n.state := state_;
    n.begins := case when o.state = 'idle' and state_ = 'running' then at_ else o.begins end;
    n.ends := case when o.begins is not null and state_ in ('complete', 'stopped', 'aborted') then at_ end;
    perform run_check_times(n);
    perform run_devices_put(n, array(select m.device_id from run_devices m where m.run_id = o.run_id));
    update runs r set state = n.state, begins = n.begins, ends = n.ends, version = r.version + 1 where r.run_id = o.run_id;
    insert into run_states (run_id, state, at, who, why) values (o.run_id, state_, at_, who, why_);
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'run ' || state_, 'run/' || name_, jsonb_build_object('state', o.state),
            jsonb_build_object('state', state_, 'at', at_), why_);
    return o.version + 1;
end $$;

create function run_phases_of(run_id_ bigint) returns jsonb language sql stable as $$
    select coalesce(jsonb_agg(to_jsonb(p) - '{run_id,confirmed_by,confirmed_at}'::text[] order by p.begins), '[]')
      from run_phases p where p.run_id = run_id_
$$;

-- The confirmed phases become these, objects of name, begins, ends and origin. One that stays keeps who confirmed it. Raises
-- no_data_found, BG412, object_not_in_prerequisite_state.
create function run_phases_put(
    organization_ integer, name_ text, phases jsonb, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o runs := run_locked(organization_, name_, version_);
    kept jsonb;
    was jsonb := run_phases_of(o.run_id);
    becomes jsonb;
begin
    if o.begins is null then
        raise exception 'run % has not started', name_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    select coalesce(jsonb_agg(to_jsonb(p)), '[]') into kept from run_phases p where p.run_id = o.run_id;
    delete from run_phases p where p.run_id = o.run_id;
    insert into run_phases (run_id, name, begins, ends, origin, confirmed_by, confirmed_at)
    select o.run_id, p.name, p.begins, p.ends, p.origin, coalesce(k.confirmed_by, who), coalesce(k.confirmed_at, now())
      from jsonb_to_recordset(phases) as p (name text, begins timestamptz, ends timestamptz, origin text)
      left join jsonb_populate_recordset(null::run_phases, kept) k
        on (k.name, k.begins, k.origin) = (p.name, p.begins, p.origin) and k.ends is not distinct from p.ends;
    perform run_check_times(o);
    becomes := run_phases_of(o.run_id);
    if becomes = was then
        return o.version;
    end if;
    update runs r set version = r.version + 1 where r.run_id = o.run_id;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'run phases', 'run/' || name_, was, becomes, why_);
    return o.version + 1;
exception when exclusion_violation or unique_violation then
    raise exception 'two phases are at the same time' using errcode = 'object_not_in_prerequisite_state';
end $$;

-- What an event `run` of a device, like {"run": "B-7", "state": "running"}, means where its organization wants that: the run is
-- made, or becomes that state. What cannot be is in the audit trail with its reason, and holds up no intake.
create function run_event() returns trigger language plpgsql as $$
declare
    owner integer;
    device text;
    name_ text := new.data ->> 'run';
    state_ text := new.data ->> 'state';
begin
    select d.organization_id, d.name into owner, device
      from devices d join organizations o using (organization_id)
     where d.device_id = new.device_id and o.runs_automatic;
    if not found or name_ is null or state_ is null then
        return null;
    end if;
    begin
        if exists (select from runs r where r.organization_id = owner and r.name = name_) then
            if not exists (select from runs r join run_devices m using (run_id)
                            where r.organization_id = owner and r.name = name_ and m.device_id = new.device_id) then
                raise exception 'device % is not in run %', device, name_;
            end if;
            perform run_step(owner, name_, state_, new.time, null, 'device ' || device, 'event of the device');
        elsif state_ = 'running' then
            perform run_create(owner, name_, array[new.device_id], new.time, new.data, 'device ' || device,
                               'event of the device');
        end if;
    exception when others then
        insert into audit (organization_id, who, action, subject, new, why)
        values (owner, 'device ' || device, 'run refuse', 'device/' || device, new.data, left(sqlerrm, 1000));
    end;
    return null;
end $$;

create index device_events_run on device_events (device_id, time) where type = 'run';

create trigger run_event after insert on device_events for each row when (new.type = 'run') execute function run_event();

create function run_automation(organization_ integer, on_ boolean, who text, why_ text) returns void
language plpgsql as $$
declare
    was boolean;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select o.runs_automatic into was from organizations o where o.organization_id = organization_;
    if was is distinct from on_ then
        update organizations o set runs_automatic = on_ where o.organization_id = organization_;
        insert into audit (organization_id, who, action, subject, old, new, why)
        select organization_, who, 'run automation', 'organization/' || o.name, to_jsonb(was), to_jsonb(on_), why_
          from organizations o where o.organization_id = organization_;
    end if;
end $$;

-- For the API. A device that was given away is seen in no run of its giver.

create or replace view api.organizations as
select * from public.organizations where organization_id = (select api.organization());

create view api.runs as
select r.*, public.run_next_states(r.state) as next_states
  from public.runs r where r.organization_id = (select api.organization());

create view api.run_devices as
select m.run_id, m.device_id, d.name as device, m.begins, m.ends
  from public.run_devices m join public.devices d using (device_id)
 where m.organization_id = (select api.organization()) and d.organization_id = m.organization_id;

create view api.run_phases as
select p.* from public.run_phases p join public.runs r using (run_id)
 where r.organization_id = (select api.organization());

create view api.run_states as
select s.* from public.run_states s join public.runs r using (run_id)
 where r.organization_id = (select api.organization());

-- Its number. Raises no_data_found.
create function api.run_owned(name_ text) returns bigint
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    select run_id into id from runs where name = name_ and organization_id = api.organization();
    if not found then
        raise exception 'there is no run %', name_ using errcode = 'no_data_found';
    end if;
    return id;
end $$;

create function api.run_create(
    name_ text, devices_ text[], begins_ timestamptz, facts jsonb, who text, why_ text
) returns bigint language sql security definer set search_path = public, pg_temp as $$
    select public.run_create(api.organization(), name_, array(select api.device_owned(d) from unnest(devices_) d), begins_,
                             facts, who, why_)
$$;

create function api.run_change(
    name_ text, devices_ text[], change jsonb, version_ integer, who text, why_ text
) returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.run_change(api.organization(), name_,
                             case when devices_ is not null then array(select api.device_owned(d) from unnest(devices_) d) end,
                             change, version_, who, why_)
$$;

create function api.run_step(
    name_ text, state_ text, at_ timestamptz, version_ integer, who text, why_ text
) returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.run_step(api.organization(), name_, state_, at_, version_, who, why_)
$$;

create function api.run_phases_put(name_ text, phases jsonb, version_ integer, who text, why_ text)
returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.run_phases_put(api.organization(), name_, phases, version_, who, why_)
$$;

create function api.run_automation(on_ boolean, who text, why_ text)
returns void language sql security definer set search_path = public, pg_temp as $$
    select public.run_automation(api.organization(), on_, who, why_)
$$;

revoke all on function api.run_owned, api.run_create, api.run_change, api.run_step, api.run_phases_put, api.run_automation
    from public;
grant execute on function api.run_owned, api.run_create, api.run_change, api.run_step, api.run_phases_put,
    api.run_automation to biogate_api;
grant select on api.runs, api.run_devices, api.run_phases, api.run_states to biogate_api;

-- For logins of SQL.

create view org.runs with (security_barrier) as
select r.name as run, r.material, r.strain, r.recipe, r.recipe_version, r.note, r.state, r.begins, r.ends,
       array(select d.name from public.run_devices m join public.devices d using (device_id)
              where m.run_id = r.run_id and d.organization_id = r.organization_id order by d.name) as devices
  from public.runs r
 where r.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.run_phases with (security_barrier) as
select r.name as run, p.name as phase, p.begins, coalesce(p.ends, r.ends) as ends
  from public.run_phases p join public.runs r using (run_id)
 where r.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

grant select on org.runs, org.run_phases to biogate_sql;

-- migrate: rollback

drop view org.run_phases, org.runs;
drop function api.run_owned, api.run_create, api.run_change, api.run_step, api.run_phases_put, api.run_automation;
drop view api.runs, api.run_devices, api.run_phases, api.run_states;
drop trigger run_event on device_events;
drop index device_events_run;
drop function run_event, run_automation, run_phases_put, run_step, run_change, run_create, run_check_times, run_devices_put,
    run_locked, run_facts, run_next_states, run_phases_of;
drop table run_states, run_phases, run_devices, runs;
drop view api.organizations;
alter table organizations drop column runs_automatic;
create view api.organizations as
select * from public.organizations where organization_id = (select api.organization());
grant select on api.organizations to biogate_api;
