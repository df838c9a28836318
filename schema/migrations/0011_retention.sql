-- retention: what was dropped on purpose, and holds that forbid it; backups, and which were tried
-- depends: 0010_alarm_routes

-- migrate: apply

-- A hold forbids to drop what is of its time. Chunks have all devices in them, so it keeps the others' of that time, too:
-- organization and device say what it was meant for.
create table retention_holds (
    hold_id         integer generated always as identity primary key,
    organization_id integer not null references organizations,
    device_id       integer references devices,
    begins          timestamptz,
    ends            timestamptz,
    who             text not null check (who <> ''),
    why             text not null check (why <> ''),
    made_at         timestamptz not null default now(),
    ended_at        timestamptz,
    check (begins < ends)
);

create index retention_holds_organization on retention_holds (organization_id, hold_id);

comment on column retention_holds.device_id is 'null: all of the organization';
comment on column retention_holds.begins is 'null: from the first on';
comment on column retention_holds.ends is 'null: and all that is to come';

-- With these the account adds up: committed = stored + dropped, for each kind. Exact, and in the dropping transaction.
create table retention_drops (
    drop_id    bigint generated always as identity primary key,
    kind       text        not null check (kind in ('frame', 'event', 'status', 'quarantined')),
    begins     timestamptz not null,
    ends       timestamptz not null,
    rows       bigint      not null,
    dropped_at timestamptz not null default now()
);

-- Errors as in 0005_enrollment.sql. organization_: whose hold it is.
create function retention_hold(
    organization_ integer, device_ integer, begins_ timestamptz, ends_ timestamptz, who text, why_ text
) returns integer language plpgsql as $$
declare
    id integer;
begin
    insert into retention_holds (organization_id, device_id, begins, ends, who, why)
    values (organization_, device_, begins_, ends_, who, why_) returning hold_id into id;
    insert into audit (organization_id, who, action, subject, new, why)
    values (organization_, who, 'retention hold', 'hold/' || id, jsonb_strip_nulls(jsonb_build_object(
               'device', (select name from devices where device_id = device_), 'begins', begins_, 'ends', ends_)), why_);
    return id;
end $$;

-- organization_ null: whoever's.
create function retention_hold_end(id integer, organization_ integer, who text, why_ text) returns void
language plpgsql as $$
declare
    owner integer;
begin
    update retention_holds set ended_at = now()
     where hold_id = id and ended_at is null and organization_id = coalesce(organization_, organization_id)
    returning organization_id into owner;
    if not found then
        raise exception 'there is no hold % that is in force', id using errcode = 'no_data_found';
    end if;
    insert into audit (organization_id, who, action, subject, why)
    values (owner, who, 'retention hold end', 'hold/' || id, why_);
end $$;

create function retention_held(begins_ timestamptz, ends_ timestamptz) returns boolean language sql stable as $$
    select exists (select from retention_holds h
                    where h.ended_at is null and tstzrange(h.begins, h.ends) && tstzrange(begins_, ends_, '[]'))
$$;

-- What is dropped is noted, and told to each organization of which there was something.
create function retention_note(
    kind_ text, begins_ timestamptz, ends_ timestamptz, organizations_ integer[], rows_ bigint[], why_ text
) returns bigint language plpgsql as $$
declare
    total bigint := (select coalesce(sum(n), 0) from unnest(rows_) n);
begin
    insert into retention_drops (kind, begins, ends, rows) values (kind_, begins_, ends_, total);
    insert into audit (organization_id, who, action, subject, new, why)
    select u.organization_id, 'retention', 'retention drop', 'retention/' || kind_,
           jsonb_build_object('from', begins_, 'to', ends_, 'rows', u.n), why_
      from unnest(organizations_, rows_) as u (organization_id, n) order by u.organization_id;
    return total;
end $$;

-- One chunk of frames or device_events, which is all that a hypertable has of that time: the number of its rows. Null: it
-- is held, or another process is at it. While its rows are counted nobody writes to it; a hold made meanwhile counts.
create function retention_drop_chunk(
    kind_ text, hypertable regclass, chunk regclass, begins_ timestamptz, ends_ timestamptz, why_ text
) returns bigint language plpgsql as $$
declare
    organizations_ integer[];
    rows_ bigint[];
begin
    if not pg_try_advisory_xact_lock(1919251566) then  -- "rete"
        return null;
    end if;
    perform set_config('lock_timeout', '5s', true);  -- who waits for this lock makes others wait
    execute format('lock table %s in share mode', chunk);
    execute format(
        'select array_agg(organization_id), array_agg(n) from (
             select d.organization_id, sum(c.n)::bigint as n
               from (select device_id, count(*) as n from %s where time >= %L and time < %L group by device_id) c
               join devices d using (device_id) group by d.organization_id) o', hypertable, begins_, ends_)
       into organizations_, rows_;
    lock table retention_holds in share mode;
    if retention_held(begins_, ends_ - interval '1 microsecond') then
        return null;
    end if;
    perform retention_note(kind_, begins_, ends_, organizations_, rows_, why_);
    perform drop_chunks(hypertable, older_than => ends_, newer_than => begins_);
    return (select coalesce(sum(n), 0) from unnest(rows_) n);
end $$;

-- Statuses that were received before, but for the newest of each device: what holds now is made of it.
create function retention_drop_statuses(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
begin
    lock table retention_holds in share mode;
    with old as (
        select s.device_id, s.boot, s.time, s.online from statuses s
         where s.received_at < before and not retention_held(s.received_at, s.received_at)
           and exists (select from statuses n where n.device_id = s.device_id and (n.boot, n.time) > (s.boot, s.time))
         limit most
    ), deleted as (
        delete from statuses s using old
         where (s.device_id, s.boot, s.time, s.online) = (old.device_id, old.boot, old.time, old.online)
        returning s.device_id, s.received_at
    ), counted as (
        select d.organization_id, count(*) as n, min(received_at) as first, max(received_at) as last
          from deleted join devices d using (device_id) group by d.organization_id
    )
    select array_agg(organization_id) as organizations_, array_agg(n) as rows_, min(first) as first, max(last) as last
      into gone from counted;
    if gone.rows_ is null then
        return 0;
    end if;
    return retention_note('status', gone.first, gone.last, gone.organizations_, gone.rows_, why_);
end $$;

-- Messages in quarantine that people have settled before. What is open stays.
create function retention_drop_quarantined(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
begin
    lock table retention_holds in share mode;
    with old as (
        select q.quarantine_id from quarantine q
         where q.state <> 'open' and q.settled_at < before and not retention_held(q.received_at, q.received_at)
         limit most
    ), deleted as (
        delete from quarantine q using old where q.quarantine_id = old.quarantine_id returning q.device, q.received_at
    ), counted as (
        select coalesce(d.organization_id, 1) as organization_id, count(*) as n, min(received_at) as first,
               max(received_at) as last
          from deleted left join devices d on d.name = deleted.device group by 1
    )
    select array_agg(organization_id) as organizations_, array_agg(n) as rows_, min(first) as first, max(last) as last
      into gone from counted;
    if gone.rows_ is null then
        return 0;
    end if;
    return retention_note('quarantined', gone.first, gone.last, gone.organizations_, gone.rows_, why_);
end $$;

-- What `python -m deploy.backup` has done: for the gateway's metrics.
create table backups (
    label       text primary key,
    taken_at    timestamptz not null,
    bytes       bigint not null,
    verified_at timestamptz,
    newest      timestamptz,
    ok          boolean,
    detail      text,
    check ((verified_at is null) = (ok is null))
);

comment on column backups.taken_at is 'when it was begun: what was committed before is in it';
comment on column backups.newest is 'time of the newest frame that was found when it was restored to see whether it can be';

-- For the API.

create view api.retention_holds as
select h.*, d.name as device,
       (select max(r.ends) from public.retention_drops r
         where r.kind = 'frame' and tstzrange(r.begins, r.ends) && tstzrange(h.begins, h.ends)) as dropped_until
  from public.retention_holds h left join public.devices d using (device_id)
 where h.organization_id = (select api.organization());

comment on column api.retention_holds.dropped_until is 'frames of its time, up to there, have been dropped';

-- device_ null: all of the organization.
create function api.retention_hold(device_ text, begins_ timestamptz, ends_ timestamptz, who text, why_ text)
returns integer language plpgsql security definer set search_path = public, pg_temp as $$
begin
    return public.retention_hold(api.organization(), case when device_ is not null then api.device_owned(device_) end,
                                 begins_, ends_, who, why_);
end $$;

create function api.retention_hold_end(id integer, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if api.organization() is null then
        raise exception 'there is no hold % that is in force', id using errcode = 'no_data_found';
    end if;
    perform public.retention_hold_end(id, api.organization(), who, why_);
end $$;

revoke all on all functions in schema api from public;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;

-- migrate: rollback

drop function api.retention_hold_end, api.retention_hold;
drop view api.retention_holds;
drop table backups;
drop function retention_drop_quarantined, retention_drop_statuses, retention_drop_chunk, retention_note, retention_held,
    retention_hold_end, retention_hold;
drop table retention_drops, retention_holds;
