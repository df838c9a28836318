-- alarm routes: who is told of alarms, by which channel and when, and what is still to be told
-- depends: 0009_alarms

-- migrate: apply

create table alarm_routes (
    route_id        integer generated always as identity primary key,
    organization_id integer not null references organizations,
    name            text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
    version         integer not null default 1,
    definition      jsonb not null check (jsonb_typeof(definition) = 'object'),
    enabled         boolean not null generated always as ((definition ->> 'enabled')::boolean) stored,
    url             bytea not null,
    address         text not null,
    created_at      timestamptz not null default now(),
    changed_at      timestamptz not null default now(),
    sent_at         timestamptz,
    failing_since   timestamptz,
    failures        integer not null default 0,
    retry_at        timestamptz,
    last_error      text,
    last_error_at   timestamptz,
    reported_at     timestamptz,
    unique (organization_id, name)
) with (fillfactor = 50);

comment on column alarm_routes.definition is 'schema/alarms/routes.py: Route, whole';
comment on column alarm_routes.url is 'sealed for "alarm-routes/<organization_id>/<name>": it holds passwords and tokens';
comment on column alarm_routes.address is 'what of the url is no secret';
comment on column alarm_routes.failures is 'in a row';
comment on column alarm_routes.reported_at is 'when the others were told that it fails; null again when it works';

-- What a route has to tell. A row of the kinds raised and escalated is watched after it was told: until somebody has
-- acknowledged the alarm it is told again, and escalated.
create table alarm_notifications (
    notification_id bigint generated always as identity primary key,
    route_id        integer not null references alarm_routes on delete cascade,
    kind            text not null check (kind in ('raised', 'ended', 'escalated', 'test', 'failing', 'works')),
    transition_id   bigint,
    rule_id         integer,
    device_id       integer,
    n               bigint,
    about           text,
    state           text not null default 'pending' check (state in ('pending', 'watched', 'done', 'dropped', 'failed')),
    created_at      timestamptz not null default clock_timestamp(),
    due_at          timestamptz,
    escalate_at     timestamptz,
    tried_at        timestamptz,
    sent_at         timestamptz,
    times           integer not null default 0,
    unique (route_id, transition_id),
    check ((kind in ('raised', 'ended', 'escalated')) = (transition_id is not null))
) with (fillfactor = 70);

create index alarm_notifications_due on alarm_notifications (route_id, due_at) where state in ('pending', 'watched');
create index alarm_notifications_escalate on alarm_notifications (escalate_at) where escalate_at is not null;
create index alarm_notifications_alarm on alarm_notifications (route_id, rule_id, device_id, n)
    where kind in ('raised', 'escalated');
create index alarm_notifications_ended on alarm_notifications (created_at) where state in ('done', 'dropped', 'failed');
create unique index alarm_notifications_test on alarm_notifications (route_id) where kind = 'test' and state = 'pending';

comment on column alarm_notifications.kind is 'test, failing and works are of no transition; of the last two a route is told
 that another one, `about`, fails, or works again';
comment on column alarm_notifications.state is
    'dropped: there was nothing to tell any more when its time came; failed: the channel was dead for a day';
comment on column alarm_notifications.due_at is 'when it is told, or told again';
comment on column alarm_notifications.tried_at is 'the first time it could not be told';
comment on column alarm_notifications.sent_at is 'when the channel had it last';

-- Of a statement at once: an evaluator's turn can have thousands of transitions.
create function alarm_transitions_queue() returns trigger language plpgsql as $$
begin
    insert into alarm_notifications (route_id, kind, transition_id, rule_id, device_id, n, due_at, escalate_at)
    select r.route_id, w.kind, t.transition_id, t.rule_id, t.device_id, t.n,
           clock_timestamp() + make_interval(secs => (r.definition ->> 'group_wait_s')::float8),
           case when w.kind = 'raised' then least(
               clock_timestamp() + make_interval(secs => (r.definition ->> 'escalate_after_s')::float8), b.escalate_at) end
      from fresh t
      join alarm_routes r on r.organization_id = t.organization_id and r.enabled
      join devices d on d.device_id = t.device_id and d.organization_id = t.organization_id
     cross join lateral (
         select case when t.after = 'unacknowledged' then 'raised'
                     when t.before in ('unacknowledged', 'acknowledged', 'returned-unacknowledged', 'latched')
                      and t.after in ('normal', 'acknowledged', 'returned-unacknowledged', 'latched')
                      and (r.definition ->> 'send_returns')::boolean then 'ended' end as kind) w
      -- One that comes and goes shall not put its escalation off each time.
      left join lateral (
         select o.escalate_at from alarm_notifications o
          where t.before = 'returned-unacknowledged' and w.kind = 'raised' and o.escalate_at is not null
            and o.route_id = r.route_id and o.rule_id = t.rule_id and o.device_id = t.device_id
            and o.kind in ('raised', 'escalated')
          order by o.n desc limit 1) b on true
     where t.before <> t.after and w.kind is not null
       and r.definition -> 'priorities' ? t.priority
       and (r.definition -> 'devices' = '[]' or r.definition -> 'devices' ? d.name)
       and to_jsonb(d.tags) @> (r.definition -> 'tags')
     order by t.transition_id
    on conflict do nothing;
    return null;
end $$;

create trigger alarm_transitions_queue after insert on alarm_transitions referencing new table as fresh
    for each statement execute function alarm_transitions_queue();

-- Whether the alarm of a notification is still what it was raised as: nobody has acknowledged it since, or held it back,
-- and it is not told anew.
create function alarm_stands(q alarm_notifications) returns boolean language sql stable as $$
    select exists (select from alarms a
                    where a.rule_id = q.rule_id and a.device_id = q.device_id and a.removed_at is null
                      and a.state in ('unacknowledged', 'returned-unacknowledged'))
       and not exists (select from alarm_transitions t
                        where t.rule_id = q.rule_id and t.device_id = q.device_id and t.n > q.n
                          and t.after not in ('unacknowledged', 'returned-unacknowledged'))
       and not exists (select from alarm_notifications o
                        where o.route_id = q.route_id and o.rule_id = q.rule_id and o.device_id = q.device_id
                          and o.n > q.n and o.kind in ('raised', 'escalated') and o.state <> 'dropped')
       and exists (select from alarm_routes r join devices d using (organization_id)
                    where r.route_id = q.route_id and d.device_id = q.device_id)
$$;

-- Whether the route has told that it was raised.
create function alarm_was_told(q alarm_notifications) returns boolean language sql stable as $$
    select coalesce((select o.sent_at is not null from alarm_notifications o
                      where o.route_id = q.route_id and o.rule_id = q.rule_id and o.device_id = q.device_id
                        and o.n < q.n and o.kind in ('raised', 'escalated') and o.state <> 'dropped'
                      order by o.n desc limit 1), false)
$$;

-- For the API.

create view api.alarm_routes as
select r.route_id, r.organization_id, r.name, r.version, r.definition, r.enabled, r.address, r.created_at, r.changed_at,
       r.sent_at, r.failing_since, r.last_error, r.last_error_at, q.waiting,
       t.created_at as test_asked_at, t.state as test_state, t.sent_at as test_sent_at
  from public.alarm_routes r
 cross join lateral (
       select count(*) as waiting from public.alarm_notifications n
        where n.route_id = r.route_id and n.state = 'pending' and n.kind <> 'test') q
  left join lateral (
       select n.created_at, n.state, n.sent_at from public.alarm_notifications n
        where n.route_id = r.route_id and n.kind = 'test' order by n.notification_id desc limit 1) t on true
 where r.organization_id = (select api.organization());

-- What secrets are sealed to: no secret itself.
create function api.vault_key() returns bytea language sql stable security definer set search_path = public, pg_temp as $$
    select public_key from vault
$$;

-- Creates it, or changes it, like alarm_rule_put. Without a url it keeps the one it has. Raises no_data_found, BG412,
-- object_not_in_prerequisite_state.
create function api.alarm_route_put(
    name_ text, definition_ jsonb, url_ bytea, address_ text, version_ integer, who text, why_ text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o alarm_routes;
    n alarm_routes;
begin
    perform pg_advisory_xact_lock(1634496367, org);  -- "alro"
    select * into o from alarm_routes where organization_id = org and name = name_ for no key update;
    if version_ is not null and version_ <> coalesce(o.version, 0) then
        raise exception '%', case when o.route_id is null then 'there is no route ' || name_
                             when version_ = 0 then 'there is a route ' || name_ || ' already'
                             else 'route ' || name_ || ' was changed meanwhile' end using errcode = 'BG412';
    elsif o.route_id is null and url_ is null then
        raise exception 'there is no route %: give its url to make it', name_ using errcode = 'no_data_found';
    elsif definition_ ->> 'escalate_to' is not null and not exists (
        select from alarm_routes
         where organization_id = org and name = definition_ ->> 'escalate_to' and name <> name_) then
        raise exception 'escalate_to names no other route: %', definition_ ->> 'escalate_to'
            using errcode = 'object_not_in_prerequisite_state';
    elsif o.definition = definition_ and url_ is null then
        return o.version;
    elsif o.route_id is null then
        if (select count(*) from alarm_routes where organization_id = org) >= 100 then
            raise exception 'there are 100 routes already: remove one' using errcode = 'object_not_in_prerequisite_state';
        end if;
        insert into alarm_routes (organization_id, name, definition, url, address)
        values (org, name_, definition_, url_, address_) returning * into n;
    else
        update alarm_routes
           set definition = definition_, url = coalesce(url_, url), address = coalesce(address_, address),
               version = version + 1, changed_at = now(), retry_at = null,
               failures = case when url_ is null then failures else 0 end,
               failing_since = case when url_ is null then failing_since end,
               last_error = case when url_ is null then last_error end,
               last_error_at = case when url_ is null then last_error_at end
         where route_id = o.route_id returning * into n;
    end if;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (org, who, 'alarm route ' || case when o.route_id is null then 'create' else 'change' end,
            'alarm-route/' || name_, o.definition || jsonb_build_object('address', o.address),
            n.definition || jsonb_build_object('address', n.address, 'url_changed', url_ is not null), why_);
    return n.version;
end $$;

-- Raises no_data_found, BG412, object_not_in_prerequisite_state.
create function api.alarm_route_remove(name_ text, version_ integer, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o alarm_routes;
    other text;
begin
    perform pg_advisory_xact_lock(1634496367, org);
    select * into o from alarm_routes where organization_id = org and name = name_ for update;
    if not found then
        raise exception 'there is no route %', name_ using errcode = 'no_data_found';
    elsif version_ is not null and version_ <> o.version then
        raise exception 'route % was changed meanwhile', name_ using errcode = 'BG412';
    end if;
    select name into other from alarm_routes
     where organization_id = org and definition ->> 'escalate_to' = name_ order by name limit 1;
    if found then
        raise exception 'route % escalates to it: change that first', other
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    delete from alarm_routes where route_id = o.route_id;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (org, who, 'alarm route remove', 'alarm-route/' || name_,
            o.definition || jsonb_build_object('address', o.address), null, why_);
end $$;

-- Asks for a message without an alarm; one at a time. Raises no_data_found, object_not_in_prerequisite_state.
create function api.alarm_route_test(name_ text, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o alarm_routes;
begin
    select * into o from alarm_routes where organization_id = api.organization() and name = name_;
    if not found then
        raise exception 'there is no route %', name_ using errcode = 'no_data_found';
    elsif not o.enabled then
        raise exception 'route % is switched off', name_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into alarm_notifications (route_id, kind, due_at) values (o.route_id, 'test', now()) on conflict do nothing;
    if found then
        insert into audit (organization_id, who, action, subject, old, new, why)
        values (o.organization_id, who, 'alarm route test', 'alarm-route/' || name_, null, null, why_);
    end if;
end $$;

revoke all on all functions in schema api from public;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;

-- migrate: rollback

drop function api.alarm_route_test, api.alarm_route_remove, api.alarm_route_put, api.vault_key;
drop view api.alarm_routes;
drop function alarm_was_told, alarm_stands;
drop trigger alarm_transitions_queue on alarm_transitions;
drop function alarm_transitions_queue;
drop table alarm_notifications, alarm_routes;
