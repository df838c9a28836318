-- What keeps organizations from hurting each other: logins for SQL are the first one's alone; who watches them
-- depends: 0017_alarm_acts

-- migrate: apply

-- PostgreSQL counts the rows that a condition removes below a security barrier, and cannot bound memory, notifications
-- and snapshots by login. So whoever logs in for SQL is of the organization that runs the installation.
do $$
declare
    login_ record;
begin
    for login_ in select role, organization_id from sql_logins where organization_id <> 1 loop
        if exists (select from pg_roles where rolname = login_.role) then
            execute format('revoke biogate_sql from %I', login_.role);
            execute format('alter role %I nologin', login_.role);
            perform pg_terminate_backend(pid) from pg_stat_activity where usename = login_.role;
        end if;
        insert into audit (organization_id, who, action, subject, why)
        values (login_.organization_id, 'migration', 'sql-login end', 'sql-login/' || login_.role,
                'logins for SQL are of the organization that runs the installation');
    end loop;
end $$;

delete from sql_logins where organization_id <> 1;
alter table sql_logins add constraint sql_logins_of_the_first check (organization_id = 1);

-- Ends what logins for SQL do for longer than they may, by the settings that such a session can change itself: a
-- transaction keeps old rows, the queue of notifications and locks that retention and migrations wait for. While that
-- queue is as full as `full_` (0 to 1), no transaction of theirs may be older than five seconds.
create function sql_logins_end_late(longest_s double precision, idle_s double precision, full_ double precision)
returns table (login name, why text) language plpgsql security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
    filling boolean := pg_notification_queue_usage() >= full_;
begin
    return query
    with late as (
        select a.pid, a.usename,
               case when a.xact_start < clock_timestamp() - longest_s * interval '1 s' then 'transaction'
                    when a.state like 'idle in transaction%'
                         and a.state_change < clock_timestamp() - idle_s * interval '1 s' then 'idle'
                    when filling and a.xact_start < clock_timestamp() - interval '5 s' then 'notifications'
               end as why
          from pg_stat_activity a join sql_logins l on l.role = a.usename
         where a.xact_start is not null)
    select usename, why from late where why is not null and pg_terminate_backend(pid);
end $$;

revoke all on function sql_logins_end_late from public;

-- What gateways and alarms processes log in as: they change rows, but no table, and read nobody's password or key. Roles
-- are the server's, not the database's: another database may have made it.
do $$
begin
    create role biogate_gateway nologin;
exception when duplicate_object or unique_violation then
    null;
end $$;

grant execute on function sql_logins_end_late to biogate_gateway;

-- A hold keeps what is its organization's or its device's. The time at which it is made is that after it has waited for
-- whoever drops.
alter table retention_holds alter column made_at set default clock_timestamp();

create or replace function retention_held_devices(begins_ timestamptz, ends_ timestamptz) returns setof integer
language sql stable as $$
    select distinct d.device_id
      from retention_holds h
      join devices d on d.device_id = h.device_id or h.device_id is null and d.organization_id = h.organization_id
     where h.ended_at is null and tstzrange(h.begins, h.ends) && tstzrange(begins_, ends_, '[]')
$$;

-- Whether a hypertable has rows of that time that no hold keeps: a look by the key for each device.
create or replace function retention_any_free(hypertable regclass, begins_ timestamptz, ends_ timestamptz) returns boolean
language plpgsql stable as $$
declare
    found_ boolean;
begin
    execute format(
        'select exists (
             select from devices d
              where d.device_id not in (select retention_held_devices($1, $2 - interval ''1 microsecond''))
                and exists (select from %s r where r.device_id = d.device_id and r.time >= $1 and r.time < $2))',
        hypertable) into found_ using begins_, ends_;
    return found_;
end $$;

-- As in 0011_retention.sql, but what is held goes into a new chunk of that time, which has nothing else. Null: nothing is
-- free, a hold was made meanwhile, or another process is at it. As the owner: a chunk is dropped by who owns the table.
create or replace function retention_drop_chunk(
    kind_ text, hypertable regclass, chunk regclass, begins_ timestamptz, ends_ timestamptz, why_ text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    last_ timestamptz := ends_ - interval '1 microsecond';
    held_ integer[];
    organizations_ integer[];
    rows_ bigint[];
    kept bigint := 0;
begin
    if not pg_try_advisory_xact_lock(1919251566) then  -- "rete"
        return null;
    end if;
    perform set_config('lock_timeout', '5s', true);  -- who waits for this lock makes others wait
    execute format('lock table %s in share mode', chunk);
    held_ := array(select d from retention_held_devices(begins_, last_) d order by d);
    execute format(
        'select array_agg(organization_id), array_agg(n) from (
             select d.organization_id, sum(c.n)::bigint as n
               from (select device_id, count(*) as n from %s where time >= $1 and time < $2 group by device_id) c
               join devices d using (device_id) where d.device_id <> all ($3) group by d.organization_id) o', hypertable)
       into organizations_, rows_ using begins_, ends_, held_;
    if held_ <> '{}' then
        execute format(
            'create temporary table retention_kept on commit drop as
             select * from %s where time >= %L and time < %L and device_id = any (%L::integer[])',
            hypertable, begins_, ends_, held_);
        get diagnostics kept = row_count;
    end if;
    lock table retention_holds in share mode;
    if kept > 0 and rows_ is null
       or held_ <> array(select d from retention_held_devices(begins_, last_) d order by d) then
        drop table if exists pg_temp.retention_kept;
        return null;
    end if;
    perform retention_note(kind_, begins_, ends_, organizations_, rows_, why_);
    perform drop_chunks(hypertable, older_than => ends_, newer_than => begins_);
    if held_ <> '{}' then
        execute format('insert into %s select * from pg_temp.retention_kept', hypertable);
        drop table pg_temp.retention_kept;
    end if;
    return (select coalesce(sum(n), 0) from unnest(rows_) n);
end $$;

revoke all on function retention_drop_chunk from public;
grant execute on function retention_drop_chunk to biogate_gateway;

create or replace function retention_drop_statuses(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
begin
    lock table retention_holds in share mode;
    with old as (
        select s.device_id, s.boot, s.time, s.online from statuses s
         where s.received_at < before
           and s.device_id not in (select retention_held_devices(s.received_at, s.received_at))
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

-- Messages of devices that are not registered are the first organization's, and so are the holds that keep them.
create or replace function retention_drop_quarantined(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
begin
    lock table retention_holds in share mode;
    with old as (
        select q.quarantine_id from quarantine q left join devices d on d.name = q.device
         where q.state <> 'open' and q.settled_at < before
           and not exists (select from retention_holds h
                            where h.ended_at is null and tstzrange(h.begins, h.ends) @> q.received_at
                              and case when h.device_id is null then h.organization_id = coalesce(d.organization_id, 1)
                                       else h.device_id = d.device_id end)
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

-- Each hold costs the look for what is old: an organization has so many.
create function retention_holds_bounded() returns trigger language plpgsql as $$
begin
    if (select count(*) from retention_holds where organization_id = new.organization_id and ended_at is null) >= 200 then
        raise exception 'an organization has 200 holds in force at most: end one'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end $$;

create trigger retention_holds_bounded before insert on retention_holds
    for each row execute function retention_holds_bounded();

-- What an organization holds stays held when it gives the device away.
create function retention_given() returns trigger language plpgsql as $$
begin
    perform retention_hold(organization_id, new.device_id, begins, ends, who,
                           'given away under hold ' || hold_id || ': ' || why)
       from retention_holds where organization_id = old.organization_id and device_id is null and ended_at is null;
    return null;
end $$;

create trigger retention_given after update of organization_id on devices
    for each row when (old.organization_id <> new.organization_id) execute function retention_given();

-- The organization that runs the installation sees all holds. A drop while a hold is in force is of what it does not keep.
create or replace view api.retention_holds as
select h.*, d.name as device,
       (select max(r.ends) from public.retention_drops r
         where r.kind = 'frame' and tstzrange(r.begins, r.ends) && tstzrange(h.begins, h.ends)
           and (r.dropped_at < h.made_at or r.dropped_at > h.ended_at)) as dropped_until,
       o.name as organization
  from public.retention_holds h join public.organizations o using (organization_id)
  left join public.devices d using (device_id)
 where h.organization_id = (select api.organization()) or (select api.organization()) = 1;

-- The challenges of enrollment follow from these, so that nothing is kept of a handshake before its proof.
create table challenge_salts (
    minute bigint primary key,
    salt   bytea not null check (octet_length(salt) = 32)
);

create function challenge_minute() returns bigint language sql stable as $$
    select floor(extract(epoch from now()) / 60)::bigint
$$;

comment on column challenge_salts.minute is 'since 1970: challenge_minute()';

-- migrate: rollback

drop table challenge_salts;
drop function challenge_minute;

create or replace view api.retention_holds as
select h.*, d.name as device,
       (select max(r.ends) from public.retention_drops r
         where r.kind = 'frame' and tstzrange(r.begins, r.ends) && tstzrange(h.begins, h.ends)) as dropped_until,
       null::text as organization
  from public.retention_holds h left join public.devices d using (device_id)
 where h.organization_id = (select api.organization());
drop trigger retention_given on devices;
drop trigger retention_holds_bounded on retention_holds;
drop function retention_given, retention_holds_bounded;

drop function sql_logins_end_late;
alter table sql_logins drop constraint sql_logins_of_the_first;
