-- to demand less of a second person takes one; acts that nobody confirmed in time expire in the trail; first passwords
-- depends: 0041_signed_versions

-- migrate: apply

-- A first password.

alter table users add column has_password boolean not null default true;

comment on column users.has_password is 'false: the account was made by a log-in link, and nobody has its password';

create function users_has_password() returns trigger language plpgsql as $$
begin
    new.has_password := true;
    return new;
end $$;

create trigger users_has_password before update of password_hash on users
    for each row when (new.password_hash <> old.password_hash) execute function users_has_password();

create function api.has_password(user_id_ integer) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
    select u.has_password from users u where u.user_id = user_id_
$$;

-- Sets the password of an account that has none, and ends its other sessions. Raises object_not_in_prerequisite_state.
create function api.password_first(user_id_ integer, password_hash_ text, keep_ bigint) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update users set password_hash = password_hash_ where user_id = user_id_ and not has_password;
    if not found then
        raise exception 'the account has a password: say the old one' using errcode = 'object_not_in_prerequisite_state';
    end if;
    update sessions set ended_at = now()
     where user_id = user_id_ and ended_at is null and session_id is distinct from keep_;
    delete from password_resets where user_id = user_id_;
    insert into audit (organization_id, who, action, subject, why)
    select 1, account_who(user_id_), 'password change', 'user/' || email, 'the first one' from users where user_id = user_id_;
end $$;

-- A policy that demands a second person for less than before, where another admin is there to confirm it.

alter table pending_acts drop constraint pending_acts_kind_check, drop constraint pending_acts_state_check;
alter table pending_acts
    add constraint pending_acts_kind_check check (kind in ('rules', 'deviations', 'samples', 'setpoints', 'policy')),
    add constraint pending_acts_state_check check (state in ('waiting', 'done', 'refused', 'withdrawn', 'expired'));

alter function api.policy_put(jsonb, text, text) set schema public;
alter function policy_put(jsonb, text, text) security invoker reset search_path;
revoke all on function policy_put from biogate_api;

create function api.policy_takes_two(policy_ jsonb) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
    select exists (select unnest(p.second_person) except select jsonb_array_elements_text(policy_ -> 'second_person'))
       and (select count(*) from memberships m join users u using (user_id)
             where m.organization_id = p.organization_id and m.role = 'admin' and u.verified and not u.disabled) >= 2
      from policies p where p.organization_id = api.organization()
$$;

create function api.policy_put(policy_ jsonb, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform pg_advisory_xact_lock(1635083369, api.organization());
    if api.policy_takes_two(policy_) then
        raise exception 'a second person has to confirm this: ask again' using errcode = 'BG202';
    end if;
    perform public.policy_put(policy_, who, why_);
end $$;

-- Puts the policy of a request in force, if `before` of the request is in force still. Raises BG403, BG412.
create function policy_take_back(organization_ integer, request jsonb, who text, why_ text) returns void
language plpgsql as $$
begin
    if not exists (select from memberships m where m.organization_id = organization_ and m.role = 'admin'
                      and account_who(m.user_id) = who) then
        raise exception 'another admin confirms what the organization demands' using errcode = 'BG403';
    elsif (select to_jsonb(p) - 'organization_id' from policies p where p.organization_id = organization_)
          is distinct from request -> 'before' then
        raise exception 'what the organization demands was changed meanwhile' using errcode = 'BG412';
    end if;
    perform policy_put(request -> 'policy', who, why_);
end $$;

create or replace function pending_act_do(it pending_acts, who text) returns jsonb language plpgsql as $$
declare
    r jsonb := it.request;
    why_ text := format('%s (act %s, asked for by %s)', it.why, it.act_id, it.who);
    step jsonb;
    made uuid;
begin
    case it.kind
    when 'policy' then
        perform policy_take_back(it.organization_id, r, who, why_);
        return null;
    when 'rules' then
        for step in select value from jsonb_array_elements(r -> 'steps') loop
            if step ->> 'definition' is null then
                perform alarm_rule_remove(step ->> 'rule', (step ->> 'version')::integer, who, why_);
            else
                perform alarm_rule_put(step ->> 'rule', step -> 'definition', (step ->> 'version')::integer, who, why_);
            end if;
        end loop;
        return null;
    when 'deviations' then
        perform deviation_move(r ->> 'deviation', 'closed', (r ->> 'end_hold')::boolean, (r ->> 'version')::integer,
                               who, why_);
        return null;
    when 'samples' then
        perform lab_sample_put(
            it.organization_id, api.device_owned(r ->> 'device'), r ->> 'sample', (r ->> 'version')::integer, 'approve',
            r -> 'said',
            (select jsonb_agg(case when a ->> 'status' = 'approved' and a ->> 'approved_at' is null
                                   then a || jsonb_build_object('approved_at', clock_timestamp()) else a end)
               from jsonb_array_elements(r -> 'analytes') a),
            'person', null, who, why_);
        return null;
    when 'setpoints' then
        select c.command_id_ into made
          from command_request(r ->> 'device', 'setpoint', r -> 'parameters', nullif(r -> 'precondition', 'null'),
                               (r ->> 'boot')::bigint, now() + (r ->> 'expires_in_s')::float8 * interval '1 s', who, why_,
                               'act/' || it.act_id, it.request_hash) c;
        return jsonb_build_object('command', made);
    end case;
end $$;

-- Acts that nobody confirmed in time: the gateway that leads notes it, of organizations whose trail is free.

create index on pending_acts (expires_at) where state = 'waiting';

create function pending_acts_expire() returns void language plpgsql as $$
declare
    it pending_acts;
begin
    for it in select * from pending_acts where state = 'waiting' and expires_at <= now() order by expires_at limit 100 loop
        if pg_try_advisory_xact_lock(1635083369, it.organization_id) then
            update pending_acts set state = 'expired', decided_at = it.expires_at
             where act_id = it.act_id and state = 'waiting';
            if found then
                insert into audit (organization_id, who, action, subject, old, new, why)
                values (it.organization_id, 'gateway', 'second person expire', it.subject,
                        jsonb_build_object('act', it.act_id, 'state', 'waiting'),
                        jsonb_build_object('act', it.act_id, 'state', 'expired'), 'nobody has confirmed it in time');
            end if;
        end if;
    end loop;
end $$;

-- migrate: rollback

drop function pending_acts_expire;
drop index pending_acts_expires_at_idx;
create or replace function pending_act_do(it pending_acts, who text) returns jsonb language plpgsql as $$
declare
    r jsonb := it.request;
    why_ text := format('%s (act %s, asked for by %s)', it.why, it.act_id, it.who);
    step jsonb;
    made uuid;
begin
    case it.kind
    when 'rules' then
        for step in select value from jsonb_array_elements(r -> 'steps') loop
            if step ->> 'definition' is null then
                perform alarm_rule_remove(step ->> 'rule', (step ->> 'version')::integer, who, why_);
            else
                perform alarm_rule_put(step ->> 'rule', step -> 'definition', (step ->> 'version')::integer, who, why_);
            end if;
        end loop;
        return null;
    when 'deviations' then
        perform deviation_move(r ->> 'deviation', 'closed', (r ->> 'end_hold')::boolean, (r ->> 'version')::integer,
                               who, why_);
        return null;
    when 'samples' then
        perform lab_sample_put(
            it.organization_id, api.device_owned(r ->> 'device'), r ->> 'sample', (r ->> 'version')::integer, 'approve',
            r -> 'said',
            (select jsonb_agg(case when a ->> 'status' = 'approved' and a ->> 'approved_at' is null
                                   then a || jsonb_build_object('approved_at', clock_timestamp()) else a end)
               from jsonb_array_elements(r -> 'analytes') a),
            'person', null, who, why_);
        return null;
    when 'setpoints' then
        select c.command_id_ into made
          from command_request(r ->> 'device', 'setpoint', r -> 'parameters', nullif(r -> 'precondition', 'null'),
                               (r ->> 'boot')::bigint, now() + (r ->> 'expires_in_s')::float8 * interval '1 s', who, why_,
                               'act/' || it.act_id, it.request_hash) c;
        return jsonb_build_object('command', made);
    end case;
end $$;
drop function policy_take_back, api.policy_put, api.policy_takes_two;
alter function policy_put(jsonb, text, text) set schema api;
alter function api.policy_put(jsonb, text, text) security definer set search_path = public, pg_temp;
grant execute on function api.policy_put to biogate_api;
alter table pending_acts drop constraint pending_acts_kind_check, drop constraint pending_acts_state_check;
alter table pending_acts
    add constraint pending_acts_kind_check check (kind in ('rules', 'deviations', 'samples', 'setpoints')),
    add constraint pending_acts_state_check check (state in ('waiting', 'done', 'refused', 'withdrawn'));
drop function api.password_first, api.has_password;
drop trigger users_has_password on users;
drop function users_has_password;
alter table users drop column has_password;
