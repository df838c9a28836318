-- alarms after ISA-18.2: rules, the state of each rule on each device, every transition, what people did
-- depends: 0008_wide_frames

-- migrate: apply

create table alarm_rules (
    rule_id         integer generated always as identity primary key,
    organization_id integer not null references organizations,
    name            text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
    version         integer not null default 1,
    definition      jsonb not null check (jsonb_typeof(definition) = 'object'),
    enabled         boolean not null generated always as ((definition ->> 'enabled')::boolean) stored,
    priority        text not null generated always as (definition ->> 'priority') stored,
    created_at      timestamptz not null default now(),
    changed_at      timestamptz not null default now(),
    removed_at      timestamptz
);

create unique index alarm_rules_name on alarm_rules (organization_id, name) where removed_at is null;

comment on column alarm_rules.definition is 'schema/alarms/rules.py: Rule, whole, without its name';
comment on column alarm_rules.version is 'counts changes: what was remembered of an older version is not carried on';

-- How far each device has been evaluated: everything up to there, and nothing after it, is in its alarms.
create table alarm_devices (
    device_id       integer primary key references devices,
    evaluated_until timestamptz,
    memory          jsonb not null default '{}'
) with (fillfactor = 50);

comment on column alarm_devices.evaluated_until is 'by the clock of the device: goes back when that is set back';
comment on column alarm_devices.memory is 'schema/alarms/engine.py: DeviceAlarms.memory, and the versions of its rules';

-- An alarm: a rule on a device, from its first transition on. What holds it back is apart from what it is.
create table alarms (
    rule_id         integer not null references alarm_rules,
    device_id       integer not null references devices,
    n               bigint not null,
    rule_version    integer not null,
    condition       text not null check (condition in ('normal', 'active', 'unknown')),
    active          boolean not null,
    acknowledged    boolean not null,
    latched         boolean not null,
    shelved_until   timestamptz,
    shelved_once    boolean not null,
    suppressed      boolean not null,
    out_of_service  boolean not null,
    state           text not null check (state in ('normal', 'unacknowledged', 'acknowledged',
                        'returned-unacknowledged', 'latched', 'shelved', 'suppressed', 'out-of-service')),
    priority        text not null,
    since           timestamptz not null,
    raised_at       timestamptz,
    raised_n        bigint,
    value           float8,
    detail          text not null,
    published_n     bigint not null default 0,
    removed_at      timestamptz,
    primary key (rule_id, device_id)
) with (fillfactor = 50);

create index alarms_device on alarms (device_id);
create index alarms_standing on alarms (rule_id, device_id) where state <> 'normal';
create index alarms_unpublished on alarms (rule_id, device_id) where published_n < n;

comment on column alarms.n is 'counts its transitions';
comment on column alarms.active is 'what the condition said last that was not unknown';
comment on column alarms.state is 'schema/alarms/machine.py: State, made of the others';
comment on column alarms.since is 'when it came into its state';
comment on column alarms.raised_at is 'when it became active last';
comment on column alarms.raised_n is 'the transition by which it was announced last: to unacknowledged';
comment on column alarms.published_n is 'the transition that is retained on alarms/{device}/{rule}';
comment on column alarms.removed_at is
    'there is no such alarm any more: the rule was removed or switched off or has lost the device';

-- Written by one process, which has the lead: transition_id is the order of their commits.
create table alarm_transitions (
    transition_id   bigint generated always as identity primary key,
    rule_id         integer not null,
    device_id       integer not null,
    n               bigint not null,
    organization_id integer not null references organizations,
    at              timestamptz not null,
    recorded_at     timestamptz not null default clock_timestamp(),
    cause           text not null,
    before          text not null,
    after           text not null,
    condition       text not null,
    priority        text not null,
    value           float8,
    detail          text not null,
    who             text,
    why             text,
    raised_n        bigint,
    unique (rule_id, device_id, n),
    foreign key (rule_id, device_id) references alarms
);

create index alarm_transitions_organization on alarm_transitions (organization_id, transition_id);
create index alarm_transitions_at on alarm_transitions (organization_id, recorded_at);
create index alarm_transitions_device on alarm_transitions (device_id, transition_id);

comment on column alarm_transitions.at is 'of the sample or the act that caused it';
comment on column alarm_transitions.cause is
    'condition, return, unknown, known, shelving-ended, phase, rule-changed, removed, or an action of alarm_acts';
comment on column alarm_transitions.before is 'state; the same as after where the condition alone has changed';
comment on column alarm_transitions.who is 'null: the process, not a person';
comment on column alarm_transitions.raised_n is
    'of the alarm: n itself where this announces it; else what it was acknowledged for, returned from, …';

-- What people ask for. The evaluator does it, in the order of asking, and writes what became of it.
create table alarm_acts (
    act_id          bigint generated always as identity primary key,
    rule_id         integer not null references alarm_rules,
    device_id       integer not null references devices,
    organization_id integer not null references organizations,
    action          text not null check (action in ('acknowledge', 'reset', 'shelve', 'unshelve', 'suppress',
                        'unsuppress', 'remove-from-service', 'return-to-service')),
    until           timestamptz,
    once            boolean not null default false,
    who             text not null,
    why             text not null,
    asked_at        timestamptz not null default clock_timestamp(),
    done_at         timestamptz,
    refused         text,
    n               bigint,
    check ((action = 'shelve') = (until is not null))
);

create index alarm_acts_open on alarm_acts (act_id) where done_at is null;
create index alarm_acts_alarm on alarm_acts (device_id, rule_id, act_id);

comment on column alarm_acts.n is 'the transition that it became';
comment on column alarm_acts.refused is 'why nothing was done';

-- Which phase a run is in is asked all the time, and among all events it would be looked for far back.
create index device_events_phase on device_events (device_id, time) where type = 'phase';

-- One evaluator for all: it has the newest epoch, and writes only under it.
create table alarm_lead (only_one boolean primary key default true check (only_one), epoch bigint not null default 0);
insert into alarm_lead default values;

create function alarms_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify(tg_argv[0], '');
    return null;
end $$;

create trigger alarm_rules_notify after insert or update on alarm_rules
    for each statement execute function alarms_notify('biogate_alarm_rules');
create trigger alarm_rules_notify after update of name, organization_id, tags, state on devices
    for each statement execute function alarms_notify('biogate_alarm_rules');
create trigger alarm_acts_notify after insert on alarm_acts
    for each statement execute function alarms_notify('biogate_alarm_acts');
create trigger alarm_acts_notify_done after update of done_at on alarm_acts
    for each statement execute function alarms_notify('biogate_alarm_acts_done');
create trigger alarm_transitions_notify after insert on alarm_transitions
    for each statement execute function alarms_notify('biogate_alarms');

create function alarm_acts_audit() returns trigger language plpgsql as $$
begin
    insert into audit (organization_id, who, action, subject, old, new, why)
    select new.organization_id, new.who, 'alarm ' || new.action || case when new.refused is null then '' else ' refused' end,
           'alarm/' || d.name || '/' || r.name,
           (select to_jsonb(t.before) from alarm_transitions t
             where t.rule_id = new.rule_id and t.device_id = new.device_id and t.n = new.n),
           jsonb_strip_nulls(jsonb_build_object('state', t.after, 'until', new.until, 'once', nullif(new.once, false),
                                                'refused', new.refused)),
           new.why
      from devices d cross join alarm_rules r
      left join alarm_transitions t on t.rule_id = new.rule_id and t.device_id = new.device_id and t.n = new.n
     where d.device_id = new.device_id and r.rule_id = new.rule_id;
    return null;
end $$;

create trigger alarm_acts_audit after update of done_at on alarm_acts
    for each row when (old.done_at is null and new.done_at is not null) execute function alarm_acts_audit();

-- For the API.

create view api.alarm_rules as
select * from public.alarm_rules where organization_id = (select api.organization()) and removed_at is null;

create view api.alarms as
select a.*, r.name as rule, r.definition, r.definition ->> 'title' as title, r.definition ->> 'message' as message,
       r.definition ->> 'response' as response, d.name as device, d.tags
  from public.alarms a
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where a.removed_at is null
   and r.organization_id = (select api.organization()) and d.organization_id = (select api.organization());

-- Also of devices that were given away: what was raised and done while one had them, and that it has ended.
create view api.alarm_transitions as
select t.*, r.name as rule, r.definition ->> 'title' as title, d.name as device
  from public.alarm_transitions t
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where t.organization_id = (select api.organization());

create view api.alarm_acts as
select a.*, r.name as rule, d.name as device
  from public.alarm_acts a
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where a.organization_id = (select api.organization()) and d.organization_id = (select api.organization());

-- Creates it, or changes it. `version_`: only if it is that one (0: only if there is none). Returns its version; the same
-- definition again changes nothing. Raises BG412, object_not_in_prerequisite_state.
create function api.alarm_rule_put(name_ text, definition_ jsonb, version_ integer, who text, why_ text) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o alarm_rules;
    n alarm_rules;
begin
    perform pg_advisory_xact_lock(1634493805, org);  -- "alrm"
    select * into o from alarm_rules where organization_id = org and name = name_ and removed_at is null for update;
    if version_ is not null and version_ <> coalesce(o.version, 0) then
        raise exception '%', case when o.rule_id is null then 'there is no rule ' || name_
                             when version_ = 0 then 'there is a rule ' || name_ || ' already'
                             else 'rule ' || name_ || ' was changed meanwhile' end using errcode = 'BG412';
    end if;
    if o.definition = definition_ then
        return o.version;
    elsif o.rule_id is null then
        -- what an exported file can hold: schema/alarms/files.py
        if (select count(*) from alarm_rules where organization_id = org and removed_at is null) >= 1000 then
            raise exception 'there are 1000 rules already' using errcode = 'object_not_in_prerequisite_state';
        end if;
        insert into alarm_rules (organization_id, name, definition) values (org, name_, definition_) returning * into n;
    else
        update alarm_rules set definition = definition_, version = version + 1, changed_at = now()
         where rule_id = o.rule_id returning * into n;
    end if;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (org, who, 'alarm rule ' || case when o.rule_id is null then 'create' else 'change' end,
            'alarm-rule/' || name_, o.definition, n.definition, why_);
    return n.version;
end $$;

-- Raises no_data_found, BG412.
create function api.alarm_rule_remove(name_ text, version_ integer, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o alarm_rules;
begin
    select * into o from alarm_rules
     where organization_id = api.organization() and name = name_ and removed_at is null for update;
    if not found then
        raise exception 'there is no rule %', name_ using errcode = 'no_data_found';
    elsif version_ is not null and version_ <> o.version then
        raise exception 'rule % was changed meanwhile', name_ using errcode = 'BG412';
    end if;
    update alarm_rules set removed_at = now() where rule_id = o.rule_id;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (o.organization_id, who, 'alarm rule remove', 'alarm-rule/' || name_, o.definition, null, why_);
end $$;

-- Returns the number of the act. Raises no_data_found.
create function api.alarm_act(
    device_ text, rule_ text, action_ text, until_ timestamptz, once_ boolean, who text, why_ text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    insert into alarm_acts (rule_id, device_id, organization_id, action, until, once, who, why)
    select r.rule_id, api.device_owned(device_), r.organization_id, action_, until_, once_, who, why_
      from alarm_rules r
     where r.organization_id = api.organization() and r.name = rule_ and r.removed_at is null
    returning act_id into id;
    if id is null then
        raise exception 'there is no rule %', rule_ using errcode = 'no_data_found';
    end if;
    return id;
end $$;

create view org.alarms with (security_barrier) as
select d.name as device, r.name as rule, r.definition ->> 'title' as title, a.state, a.condition, a.priority, a.since,
       a.raised_at, a.value, a.detail, a.shelved_until
  from public.alarms a
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where a.removed_at is null and r.organization_id = d.organization_id
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.alarm_transitions with (security_barrier) as
select t.transition_id, d.name as device, r.name as rule, t.at, t.recorded_at, t.cause, t.before, t.after, t.condition,
       t.priority, t.value, t.detail, t.who, t.why
  from public.alarm_transitions t
  join public.alarm_rules r using (rule_id)
  join public.devices d using (device_id)
 where t.organization_id = d.organization_id
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

revoke all on all functions in schema api from public;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;
grant select on all tables in schema org to biogate_sql;

-- migrate: rollback

drop view org.alarm_transitions, org.alarms;
drop function api.alarm_act, api.alarm_rule_remove, api.alarm_rule_put;
drop view api.alarm_acts, api.alarm_transitions, api.alarms, api.alarm_rules;
drop trigger alarm_rules_notify on devices;
drop index device_events_phase;
drop table alarm_lead, alarm_acts, alarm_transitions, alarms, alarm_devices, alarm_rules;
drop function alarm_acts_audit, alarms_notify;
