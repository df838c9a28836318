-- commands: what people ask devices to do, and what became of it
-- depends: 0006_accounts

-- migrate: apply

create table commands (
    command_id      uuid primary key default gen_random_uuid(),
    organization_id integer not null references organizations,
    device_id       integer not null references devices,
    name            text not null check (name ~ '^[a-z][a-z0-9-]{0,63}$'),
    parameters      jsonb not null default '{}' check (jsonb_typeof(parameters) = 'object'),
    precondition    jsonb,
    boot            bigint,
    state           text not null default 'waiting' check (state in
                        ('waiting', 'sent', 'accepted', 'done', 'refused', 'failed', 'expired', 'cancelled')),
    requested_by    text not null,
    why             text not null,
    idempotency_key text,
    request_hash    bytea,
    requested_at    timestamptz not null default now(),
    expires_at      timestamptz not null,
    sent_at         timestamptz,
    accepted_at     timestamptz,
    ended_at        timestamptz,
    detail          text,
    result          jsonb,
    check (expires_at > requested_at),
    unique (organization_id, requested_by, idempotency_key)
);

create index commands_device on commands (device_id, requested_at desc, command_id desc);
create index commands_open on commands (expires_at) where state in ('waiting', 'sent', 'accepted');

comment on column commands.state is
    'waiting: for a gateway; sent: the broker has it; accepted, done, refused, failed: the device said so; expired: it'
    ' was not sent, or not answered, in time: whether the device has done it is not known if it was sent';
comment on column commands.boot is 'the device is to refuse it in any other boot: it was meant for what ran then';
comment on column commands.precondition is 'what was true of the newest values when it was taken: was checked then';

create function commands_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('biogate_commands', '');
    return null;
end $$;

create trigger commands_notify after insert on commands for each statement execute function commands_notify();

-- The request and each state after it are in the audit trail.
create function commands_audit() returns trigger language plpgsql as $$
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

create trigger commands_audit_request after insert on commands for each row execute function commands_audit();
create trigger commands_audit_state after update of state on commands
    for each row when (old.state is distinct from new.state) execute function commands_audit();

-- What the giver of a device has asked of it, and no gateway has sent, is nothing for the one who has it now. (Locked
-- before the audit trail, as gateways do it.)
create function commands_given_away() returns trigger language plpgsql as $$
begin
    perform from commands where device_id = new.device_id and state = 'waiting' order by command_id for update;
    update commands set state = 'cancelled', ended_at = now(), detail = 'the device was given away'
     where device_id = new.device_id and state = 'waiting';
    return null;
end $$;

create trigger commands_given_away after update of organization_id on devices
    for each row when (old.organization_id is distinct from new.organization_id) execute function commands_given_away();

create view api.commands as
select c.*, d.name as device from public.commands c join public.devices d using (device_id)
 where c.organization_id = (select api.organization()) and d.organization_id = (select api.organization());

-- Returns the command, and whether it is new: the same idempotency key with the same request is the same command.
-- Raises object_not_in_prerequisite_state if the key was used for another request.
create function api.command_request(
    device_ text, name_ text, parameters_ jsonb, precondition_ jsonb, boot_ bigint, expires_at_ timestamptz,
    who text, why_ text, idempotency_key_ text, request_hash_ bytea, out command_id_ uuid, out is_new boolean
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer := api.device_owned(device_);
    known commands;
begin
    if not exists (select from devices where device_id = id and state in ('active', 'pending')) then
        raise exception 'device % takes no commands: it is %', device_, (select state from devices where device_id = id)
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into commands (organization_id, device_id, name, parameters, precondition, boot, expires_at, requested_by,
                          why, idempotency_key, request_hash)
    values (api.organization(), id, name_, parameters_, precondition_, boot_, expires_at_, who, why_,
            idempotency_key_, request_hash_)
    on conflict (organization_id, requested_by, idempotency_key) do nothing
    returning command_id into command_id_;
    is_new := found;
    if not is_new then
        select * into known from commands
         where organization_id = api.organization() and requested_by = who and idempotency_key = idempotency_key_;
        if known.request_hash is distinct from request_hash_ then
            raise exception 'this Idempotency-Key was used for another request'
                using errcode = 'object_not_in_prerequisite_state';
        end if;
        command_id_ := known.command_id;
    end if;
end $$;

-- As long as no gateway has sent it.
create function api.command_cancel(id uuid, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    was text;
begin
    perform set_config('biogate.who', who, true);
    select c.state into was from commands c join devices d using (device_id)
     where c.command_id = id and c.organization_id = api.organization() and d.organization_id = api.organization()
       for update of c;
    if not found then
        raise exception 'there is no command %', id using errcode = 'no_data_found';
    elsif was <> 'waiting' then
        raise exception 'command % is %: only one that waits can be cancelled', id, was
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    update commands set state = 'cancelled', ended_at = now(), detail = why_ where command_id = id;
end $$;

create view org.commands with (security_barrier) as
select d.name as device, c.command_id, c.name, c.parameters, c.state, c.requested_by, c.why, c.requested_at,
       c.expires_at, c.sent_at, c.accepted_at, c.ended_at, c.detail, c.result
  from public.commands c join public.devices d using (device_id)
 where c.organization_id = d.organization_id
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

revoke all on all functions in schema api from public;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;
grant select on all tables in schema org to biogate_sql;

alter table quarantine
    drop constraint quarantine_reason_check,
    add constraint quarantine_reason_check check (reason in (
        'malformed-packet', 'unknown-topic', 'unknown-device', 'empty', 'malformed', 'wrong-type', 'wrong-shape',
        'bad-channel', 'too-many-channels', 'too-many-layouts', 'too-old', 'too-new', 'too-large', 'conflict',
        'unknown-command', 'refused'));

-- migrate: rollback

update quarantine set reason = 'refused' where reason = 'unknown-command';
alter table quarantine
    drop constraint quarantine_reason_check,
    add constraint quarantine_reason_check check (reason in (
        'malformed-packet', 'unknown-topic', 'unknown-device', 'empty', 'malformed', 'wrong-type', 'wrong-shape',
        'bad-channel', 'too-many-channels', 'too-many-layouts', 'too-old', 'too-new', 'too-large', 'conflict',
        'refused'));
drop view org.commands;
drop function api.command_cancel, api.command_request;
drop view api.commands;
drop trigger commands_given_away on devices;
drop table commands;
drop function commands_audit, commands_notify, commands_given_away;
