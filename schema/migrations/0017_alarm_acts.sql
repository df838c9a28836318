-- alarms: how long one may be shelved, by priority; acts that name the occurrence that a person has seen; keys are bounded
-- depends: 0016_account_life

-- migrate: apply

alter table alarm_acts add column seen_n bigint;
comment on column alarm_acts.seen_n is
    'the transition of the alarm that the person saw last: the act is refused if the alarm was raised since; null: any';

alter table alarms add column shelved_since timestamptz;
comment on column alarms.shelved_since is 'when its shelving began; a shelving that is prolonged goes on';

create function alarms_shelved() returns trigger language plpgsql as $$
begin
    if new.shelved_until is null then
        new.shelved_since := null;
    elsif new.shelved_since is null then
        new.shelved_since := clock_timestamp();
    end if;
    return new;
end $$;

create trigger alarms_shelved before insert or update of shelved_until on alarms
    for each row execute function alarms_shelved();

update alarms set shelved_until = shelved_until where shelved_until is not null;

-- Returns the number of the act. `longest_` has the seconds for which alarms of a priority may be shelved, from the begin
-- of the shelving on; a longer one is refused here, all else by the evaluator. Raises no_data_found.
create function api.alarm_act(
    device_ text, rule_ text, action_ text, until_ timestamptz, once_ boolean, who text, why_ text,
    longest_ jsonb, seen_ bigint
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r alarm_rules;
    device integer := api.device_owned(device_);
    id bigint;
    longest interval;
    latest timestamptz;
begin
    select * into r from alarm_rules
     where organization_id = api.organization() and name = rule_ and removed_at is null;
    if not found then
        raise exception 'there is no rule %', rule_ using errcode = 'no_data_found';
    end if;
    insert into alarm_acts (rule_id, device_id, organization_id, action, until, once, who, why, seen_n)
    values (r.rule_id, device, r.organization_id, action_, until_, once_, who, why_, seen_) returning act_id into id;
    longest := make_interval(secs => (longest_ ->> r.priority)::float8);
    if action_ = 'shelve' and longest is not null then
        latest := longest + coalesce((select a.shelved_since from alarms a
                                       where a.rule_id = r.rule_id and a.device_id = device), clock_timestamp());
        if until_ > latest then
            update alarm_acts set done_at = clock_timestamp(), refused = format(
                'an alarm of the priority %s can be shelved for %s h, from the begin of its shelving on: until %s',
                r.priority, trim_scale(round(extract(epoch from longest) / 3600, 2)),
                to_char(latest at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
             where act_id = id;
        end if;
    end if;
    return id;
end $$;

revoke all on function api.alarm_act(text, text, text, timestamptz, boolean, text, text, jsonb, bigint) from public;
grant execute on function api.alarm_act(text, text, text, timestamptz, boolean, text, text, jsonb, bigint) to biogate_api;

-- Raises object_not_in_prerequisite_state.
create or replace function api.key_create(
    key_id_ text, secret_hash_ bytea, name_ text, role_ text, scopes_ text[], expires_at_ timestamptz, who text
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform pg_advisory_xact_lock(1801812339, api.organization());  -- "keys"
    if (select count(*) from api_keys
         where organization_id = api.organization() and ended_at is null and coalesce(expires_at, 'infinity') > now()) >= 200
    then
        raise exception 'there are 200 keys that can be used already: end one'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by, expires_at)
    values (key_id_, api.organization(), name_, role_, scopes_, secret_hash_, who, expires_at_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who, 'key create', 'key/' || key_id_,
            jsonb_build_object('name', name_, 'role', role_, 'scopes', scopes_, 'expires_at', expires_at_), 'key');
end $$;

-- migrate: rollback

create or replace function api.key_create(
    key_id_ text, secret_hash_ bytea, name_ text, role_ text, scopes_ text[], expires_at_ timestamptz, who text
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by, expires_at)
    values (key_id_, api.organization(), name_, role_, scopes_, secret_hash_, who, expires_at_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who, 'key create', 'key/' || key_id_,
            jsonb_build_object('name', name_, 'role', role_, 'scopes', scopes_, 'expires_at', expires_at_), 'key');
end $$;

drop function api.alarm_act(text, text, text, timestamptz, boolean, text, text, jsonb, bigint);
drop trigger alarms_shelved on alarms;
drop function alarms_shelved;
alter table alarms drop column shelved_since;
alter table alarm_acts drop column seen_n;
