-- the audit trail is signed: checkpoints and keys; time in it never goes back; intake and alarms never wait for it
-- depends: 0034_roles

-- migrate: apply

create or replace function audit_append() returns trigger language plpgsql as $$
declare
    last audit;
begin
    if new.organization_id is null then
        new.organization_id := coalesce(
            (select d.organization_id from devices d where 'device/' || d.name = new.subject),
            (select s.organization_id from serials s where 'serial/' || s.serial = new.subject), 1);
    end if;
    perform pg_advisory_xact_lock(1635083369, new.organization_id);  -- "audi"
    select * into last from audit where organization_id = new.organization_id order by n desc limit 1;
    new.n := coalesce(last.n, 0) + 1;
    new.at := greatest(clock_timestamp(), last.at);
    new.login := session_user;
    new.hash := audit_hash(coalesce(last.hash, audit_seed(new.organization_id)), new);
    return new;
end $$;

-- What the process `biogate evidence` has signed: docs/evidence.md has the text. What it says holds for the text alone; the
-- columns are there to find it.
create table checkpoints (
    organization_id integer     not null references organizations,
    number          bigint      not null check (number >= 1),
    n               bigint      not null,
    at              timestamptz not null,
    text            text        not null,
    signature       bytea       not null,
    key_id          text        not null,
    token           bytea,
    primary key (organization_id, number)
);

create index on checkpoints (organization_id, n);

comment on column checkpoints.n is 'the newest event of the audit trail that it vouches for, and for all before';
comment on column checkpoints.token is 'RFC 3161 time stamp token (DER) over the SHA-256 of text; null: none, or not yet';

-- Each key that has signed, as the process tells it: the first signs itself, each later one is signed by the one before, too.
create table evidence_keys (
    key_id           text        primary key,
    at               timestamptz not null,
    text             text        not null,
    signature        bytea       not null,
    signature_before bytea
);

create function evidence_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'what is signed is append-only' using errcode = 'insufficient_privilege';
end $$;

create function checkpoints_token_only() returns trigger language plpgsql as $$
begin
    if old.token is not null or to_jsonb(new) - 'token' <> to_jsonb(old) - 'token' then
        raise exception 'what is signed is append-only' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create trigger checkpoints_token_only before update on checkpoints for each row execute function checkpoints_token_only();
create trigger evidence_refuse before delete or truncate on checkpoints for each statement execute function evidence_refuse();
create trigger evidence_refuse before update or delete or truncate on evidence_keys
    for each statement execute function evidence_refuse();

create table evidence_lead (only_one boolean primary key default true check (only_one), epoch bigint not null default 0);
insert into evidence_lead default values;

-- Up to which row the records of an organization are in its chain by digest, by kind (schema/evidence/records.py).
create table record_positions (
    organization_id integer not null references organizations,
    kind            text    not null,
    last            bigint  not null,
    primary key (organization_id, kind)
);

-- The newest of each organization is asked for every half minute.
create index lab_samples_organization on lab_samples (organization_id, lab_sample_id);
create index materials_organization on materials (organization_id, material_id);

-- Events of devices have no number of their own: here each has one, in the order of storing.
create table device_event_numbers (
    number          bigint generated always as identity primary key,
    organization_id integer     not null,
    device_id       integer     not null,
    time            timestamptz not null,
    digest          bytea       not null
);

create index on device_event_numbers (organization_id, number);

insert into device_event_numbers (organization_id, device_id, time, digest)
select d.organization_id, e.device_id, e.time, e.digest from device_events e join devices d using (device_id)
 order by e.received_at, e.device_id, e.time, e.digest;

create function device_events_number() returns trigger language plpgsql as $$
begin
    insert into device_event_numbers (organization_id, device_id, time, digest)
    select d.organization_id, new.device_id, new.time, new.digest from devices d where d.device_id = new.device_id;
    return null;
end $$;

create trigger device_events_number after insert on device_events for each row execute function device_events_number();

-- Numbers of events that are not what was appended, behind which events are missing, or that are not what a checkpoint has
-- signed; also the number of a signed event that is gone. Time that goes back counts after the first checkpoint alone: the
-- clock of a server may have been set back before. Whoever owns this database can change checkpoints, too:
-- `biogate audit verify` looks at those that are kept elsewhere.
create or replace function audit_faults(organization_id_ integer default 1) returns setof bigint language sql stable as $$
    with signed as materialized (
        select substring(text from '"n":(\d{1,18})')::bigint as n,
               decode(substring(text from '"hash":"([0-9a-f]{64})"'), 'hex') as hash
          from checkpoints where organization_id = organization_id_
    )
    select (e).n
      from (select a as e, lag(a.n, 1, 0::bigint) over chain as before, lag(a.at) over chain as earlier,
                   lag(a.hash, 1, audit_seed(organization_id_)) over chain as hash
              from audit a where a.organization_id = organization_id_ window chain as (order by a.n)) events
     where (e).n <> before + 1 or (e).hash is distinct from audit_hash(hash, e)
        or (e).at < earlier and (e).n > (select coalesce(min(s.n), 0) from signed s)
     union
    select s.n from signed s left join audit a on a.organization_id = organization_id_ and a.n = s.n
     where a.hash is distinct from s.hash
     order by 1
$$;

-- What happens without a person is not to wait for a person's transaction, which has the chain of its organization until it
-- ends. It is done at once if the chain is free, else by the gateway that leads, in this order, as soon as it is.
create table waiting_acts (
    act_id          bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    act             text        not null check (act in ('event', 'run', 'records')),
    content         jsonb       not null,
    since           timestamptz not null default clock_timestamp()
);

create index on waiting_acts (organization_id, act_id);

comment on column waiting_acts.act is
    'event: a row of audit to be; run: what an event of a device says of a run; records: samples and material that it tells of';

create function run_event_do(organization_ integer, said jsonb) returns void language plpgsql as $$
declare
    device_ integer := (said ->> 'device_id')::integer;
    at_ timestamptz := (said ->> 'time')::timestamptz;
    data_ jsonb := said -> 'data';
    name_ text := data_ ->> 'run';
    state_ text := data_ ->> 'state';
    device text := (select d.name from devices d where d.device_id = device_);
begin
    if exists (select from runs r where r.organization_id = organization_ and r.name = name_) then
        if not exists (select from runs r join run_devices m using (run_id)
                        where r.organization_id = organization_ and r.name = name_ and m.device_id = device_) then
            raise exception 'device % is not in run %', device, name_;
        end if;
        perform run_step(organization_, name_, state_, at_, null, 'device ' || device, 'event of the device');
    elsif state_ = 'running' then
        perform run_create(organization_, name_, array[device_], at_, data_, 'device ' || device, 'event of the device');
    end if;
exception when deadlock_detected or serialization_failure then
    raise;
when others then
    insert into audit (organization_id, who, action, subject, new, why)
    values (organization_, 'device ' || device, 'run refuse', 'device/' || device, data_, left(sqlerrm, 1000));
end $$;

create function device_records_do(organization_ integer, records jsonb) returns void language plpgsql as $$
declare
    r record;
begin
    for r in select x.*, d.name as device
               from rows from (jsonb_to_recordset(records) as (
                    device_id integer, event text, type text, said jsonb, sample text, analytes jsonb)) with ordinality
                    as x (device_id, event, type, said, sample, analytes, n)
               join devices d using (device_id)
              order by x.n loop
        if r.type = 'sample' then
            if exists (select from lab_samples s where s.organization_id = organization_ and s.sample = r.sample) then
                r.sample := null;
            end if;
            perform lab_sample_put(organization_, r.device_id, r.sample, 0, 'take', r.said, r.analytes, 'device',
                                   decode(r.event, 'hex'), 'device ' || r.device, 'event of the device');
        else
            perform material_put(organization_, r.device_id, null, 0, 'add', r.said, 'device', decode(r.event, 'hex'),
                                 'device ' || r.device, 'event of the device');
        end if;
    end loop;
end $$;

create function waiting_act_do(organization_ integer, act_ text, content_ jsonb) returns void language plpgsql as $$
begin
    case act_
        when 'run' then perform run_event_do(organization_, content_);
        when 'records' then perform device_records_do(organization_, content_);
        else
            insert into audit (organization_id, who, action, subject, old, new, why)
            select organization_, e.who, e.action, e.subject, e.old, e.new, e.why
              from jsonb_to_record(content_) as e (who text, action text, subject text, old jsonb, new jsonb, why text);
    end case;
end $$;

-- Whether nobody else has the chain of the organization, which this transaction then has, and nothing waits any more.
create function waiting_acts_do(organization_ integer) returns boolean language plpgsql as $$
declare
    w waiting_acts;
begin
    if by_api() then  -- a person waits, and does nothing in the name of others
        perform pg_advisory_xact_lock(1635083369, organization_);
        return true;
    end if;
    if not pg_try_advisory_xact_lock(1635083369, organization_) then
        return false;
    end if;
    for w in select * from waiting_acts where organization_id = organization_ order by act_id limit 1000 loop
        perform waiting_act_do(w.organization_id, w.act, w.content);
        delete from waiting_acts where act_id = w.act_id;
    end loop;
    return not exists (select from waiting_acts where organization_id = organization_);
end $$;

create function act_soon(organization_ integer, act_ text, content_ jsonb) returns void language plpgsql as $$
begin
    if waiting_acts_do(organization_) then
        perform waiting_act_do(organization_, act_, content_);
    else
        insert into waiting_acts (organization_id, act, content) values (organization_, act_, content_);
    end if;
end $$;

create or replace function run_event() returns trigger language plpgsql as $$
declare
    owner integer;
begin
    select d.organization_id into owner from devices d join organizations o using (organization_id)
     where d.device_id = new.device_id and o.runs_automatic;
    if found and new.data ->> 'run' is not null and new.data ->> 'state' is not null then
        perform act_soon(owner, 'run',
                         jsonb_build_object('device_id', new.device_id, 'time', new.time, 'data', new.data));
    end if;
    return null;
end $$;

create or replace function device_records_make(records jsonb) returns void language sql as $$
    select act_soon(o.organization_id, 'records', o.said)
      from (select d.organization_id, jsonb_agg(x.said order by x.n) as said
              from jsonb_array_elements(records) with ordinality as x (said, n)
              join devices d on d.device_id = (x.said ->> 'device_id')::integer
             group by d.organization_id order by d.organization_id) o
$$;

create or replace function commands_audit() returns trigger language plpgsql as $$
declare
    device text := (select name from devices where device_id = new.device_id);
begin
    perform act_soon(new.organization_id, 'event', jsonb_build_object(
        'who', case when tg_op = 'INSERT' then new.requested_by
                    else coalesce(nullif(current_setting('biogate.who', true), ''), 'device ' || device) end,
        'action', 'command ' || case when tg_op = 'INSERT' then 'request' else new.state end,
        'subject', 'device/' || device,
        'old', case when tg_op = 'UPDATE' then to_jsonb(old.state) end,
        'new', jsonb_strip_nulls(jsonb_build_object(
            'command', new.command_id, 'name', new.name, 'parameters', new.parameters,
            'detail', new.detail, 'result', new.result)),
        'why', new.why));
    return null;
end $$;

create or replace function alarm_acts_audit() returns trigger language plpgsql as $$
begin
    perform act_soon(new.organization_id, 'event', jsonb_build_object(
        'who', new.who,
        'action', 'alarm ' || new.action || case when new.refused is null then '' else ' refused' end,
        'subject', 'alarm/' || d.name || '/' || r.name,
        'old', (select to_jsonb(t.before) from alarm_transitions t
                 where t.rule_id = new.rule_id and t.device_id = new.device_id and t.n = new.n),
        'new', jsonb_strip_nulls(jsonb_build_object('state', t.after, 'until', new.until, 'once', nullif(new.once, false),
                                                    'refused', new.refused)),
        'why', new.why))
      from devices d cross join alarm_rules r
      left join alarm_transitions t on t.rule_id = new.rule_id and t.device_id = new.device_id and t.n = new.n
     where d.device_id = new.device_id and r.rule_id = new.rule_id;
    return null;
end $$;

-- Migrations of a database that is in use are in the first organization's trail, which runs the installation.
create function migrations_audit() returns trigger language plpgsql as $$
begin
    if exists (select from audit) or exists (select from devices) then
        insert into audit (organization_id, who, action, subject, old, new, why)
        values (1, session_user, case tg_op when 'INSERT' then 'migration' else 'migration undo' end,
                'migration/' || coalesce(new.migration_id, old.migration_id),
                to_jsonb(tg_op = 'DELETE'), to_jsonb(tg_op = 'INSERT'), 'biogate migrate');
    end if;
    return null;
end $$;

create trigger migrations_audit after insert or delete on _pogo_migration for each row execute function migrations_audit();

create function backups_audit() returns trigger language plpgsql as $$
begin
    insert into audit (organization_id, who, action, subject, new, why)
    select 1, session_user, x.action, 'backup/' || new.label, x.new, 'biogate backup'
      from (values ('backup take', jsonb_build_object('bytes', new.bytes, 'taken_at', new.taken_at), tg_op = 'INSERT'),
                   ('backup verify', jsonb_build_object('ok', new.ok, 'detail', new.detail), tg_op = 'UPDATE'))
           as x (action, new, does)
     where x.does;
    return null;
end $$;

create trigger backups_audit_take after insert on backups for each row execute function backups_audit();
create trigger backups_audit_verify after update of verified_at on backups for each row execute function backups_audit();

create view api.checkpoints as
select * from public.checkpoints where organization_id = (select api.organization());
-- Keys are no one's: whoever reads what they have signed may know them.
create view api.evidence_keys as select * from public.evidence_keys;
grant select on api.checkpoints, api.evidence_keys to biogate_api;

-- migrate: rollback

drop view api.evidence_keys, api.checkpoints;
drop index materials_organization, lab_samples_organization;
drop trigger backups_audit_take on backups;
drop trigger backups_audit_verify on backups;
drop trigger migrations_audit on _pogo_migration;
drop function backups_audit, migrations_audit;
create or replace function alarm_acts_audit() returns trigger language plpgsql as $$
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
create or replace function commands_audit() returns trigger language plpgsql as $$
declare
    device text := (select name from devices where device_id = new.device_id);
begin
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (new.organization_id,
            case when tg_op = 'INSERT' then new.requested_by
                 else coalesce(nullif(current_setting('biogate.who', true), ''), 'device ' || device) end,
            'command ' || case when tg_op = 'INSERT' then 'request' else new.state end, 'device/' || device,
            case when tg_op = 'UPDATE' then to_jsonb(old.state) end,
            jsonb_strip_nulls(jsonb_build_object(
                'command', new.command_id, 'name', new.name, 'parameters', new.parameters,
                'detail', new.detail, 'result', new.result)),
            new.why);
    return null;
end $$;
create or replace function device_records_make(records jsonb) returns void language plpgsql as $$
declare
    r record;
begin
    for r in select x.*, d.organization_id, d.name as device
               from rows from (jsonb_to_recordset(records) as (
                    device_id integer, event text, type text, said jsonb, sample text, analytes jsonb)) with ordinality
                    as x (device_id, event, type, said, sample, analytes, n)
               join devices d using (device_id)
              order by d.organization_id, x.n loop
        perform pg_advisory_xact_lock(1635083369, r.organization_id);
        if r.type = 'sample' then
            if exists (select from lab_samples s where s.organization_id = r.organization_id and s.sample = r.sample) then
                r.sample := null;
            end if;
            perform lab_sample_put(r.organization_id, r.device_id, r.sample, 0, 'take', r.said, r.analytes, 'device',
                                   decode(r.event, 'hex'), 'device ' || r.device, 'event of the device');
        else
            perform material_put(r.organization_id, r.device_id, null, 0, 'add', r.said, 'device', decode(r.event, 'hex'),
                                 'device ' || r.device, 'event of the device');
        end if;
    end loop;
end $$;
create or replace function run_event() returns trigger language plpgsql as $$
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
drop function act_soon, waiting_acts_do, waiting_act_do, device_records_do, run_event_do;
drop table waiting_acts;
create or replace function audit_faults(organization_id_ integer default 1) returns setof bigint language sql stable as $$
    select (e).n
      from (select a as e, lag(a.n, 1, 0::bigint) over chain as before,
                   lag(a.hash, 1, audit_seed(organization_id_)) over chain as hash
              from audit a where a.organization_id = organization_id_ window chain as (order by a.n)) events
     where (e).n <> before + 1 or (e).hash is distinct from audit_hash(hash, e)
     order by 1
$$;
drop trigger device_events_number on device_events;
drop function device_events_number;
drop table device_event_numbers, record_positions, evidence_lead, evidence_keys, checkpoints;
drop function evidence_refuse, checkpoints_token_only;
create or replace function audit_append() returns trigger language plpgsql as $$
declare
    last audit;
begin
    if new.organization_id is null then
        new.organization_id := coalesce(
            (select d.organization_id from devices d where 'device/' || d.name = new.subject),
            (select s.organization_id from serials s where 'serial/' || s.serial = new.subject), 1);
    end if;
    perform pg_advisory_xact_lock(1635083369, new.organization_id);  -- "audi"
    select * into last from audit where organization_id = new.organization_id order by n desc limit 1;
    new.n := coalesce(last.n, 0) + 1;
    new.at := clock_timestamp();
    new.login := session_user;
    new.hash := audit_hash(coalesce(last.hash, audit_seed(new.organization_id)), new);
    return new;
end $$;
