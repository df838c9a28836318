-- a role of the database for each process and for tools; records that nobody changes, the owner included
-- depends: 0033_reports

-- migrate: apply

-- Which role may do what stands in schema/rights.sql, which runs at every migrate. Roles are the server's, not the
-- database's: another database may have made them.
do $$
declare
    name text;
begin
    foreach name in array array['biogate_storing', 'biogate_alarms', 'biogate_worker', 'biogate_backup', 'biogate_evidence',
                                'biogate_operator'] loop
        begin
            execute format('create role %I nologin', name);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end $$;

-- Records. A trigger refuses what would change one, for every role: a right that is granted by mistake, and the owner's own
-- rights, change nothing. The owner can still disable a trigger; docs/roles.md says what shows that.

-- A record stays as it was stored, for ever or until it is dropped with its chunk.
create function record_kept() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are kept as they were stored: none is changed or deleted', tg_argv[0]
        using errcode = 'insufficient_privilege';
end $$;

-- Of these columns each gets a value once, as when a note is withdrawn; nothing else changes. The first argument is the
-- table's name: chunks have names of their own.
create function record_ended() returns trigger language plpgsql as $$
declare
    o jsonb := to_jsonb(old);
    n jsonb := to_jsonb(new);
    column_ text;
begin
    if o - tg_argv[1:] <> n - tg_argv[1:] then
        raise exception 'rows of % are kept as they were stored, but for %', tg_argv[0], array_to_string(tg_argv[1:], ', ')
            using errcode = 'insufficient_privilege';
    end if;
    foreach column_ in array tg_argv[1:] loop
        if o -> column_ <> 'null' and o -> column_ <> n -> column_ then
            raise exception '% of a row of % gets a value once', column_, tg_argv[0] using errcode = 'insufficient_privilege';
        end if;
    end loop;
    return new;
end $$;

-- Rows are deleted only by a transaction that has told the audit trail of it before: see retention_note.
create function record_dropped() returns trigger language plpgsql as $$
begin
    if not exists (
        select from organizations o
         cross join lateral (select a.at from audit a
                              where a.organization_id = o.organization_id and a.subject = 'retention/' || tg_argv[1]
                              order by a.n desc limit 1) a
         where a.at >= now()) then
        raise exception 'rows of % are deleted by retention alone, which tells the audit trail first', tg_argv[0]
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;

-- A message in quarantine is settled once, by a transaction that tells the audit trail of it; its payload goes only when it
-- is discarded. weight is computed from the others.
create function quarantine_kept() returns trigger language plpgsql as $$
declare
    settled text[] := array['state', 'settled_at', 'shift_ms', 'bytes', 'payload', 'weight'];
begin
    if to_jsonb(new) - settled <> to_jsonb(old) - settled
       or new.state = old.state and (new.settled_at, new.bytes, new.payload) is distinct from
                                    (old.settled_at, old.bytes, old.payload)
       or new.state <> old.state and old.state <> 'open'
       or new.state = 'replayed' and (new.bytes, new.payload) is distinct from (old.bytes, old.payload)
       or new.state = old.state and old.shift_ms is not null and new.shift_ms is distinct from old.shift_ms then
        raise exception 'a message in quarantine stays as it was received: it is replayed or discarded, once'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create function quarantine_told() returns trigger language plpgsql as $$
begin
    if not exists (select from audit a
                    where a.organization_id = coalesce((select d.organization_id from devices d where d.name = new.device), 1)
                      and a.subject = 'quarantine/' || new.quarantine_id and a.at >= now()) then
        raise exception 'message % is settled by a transaction that tells the audit trail of it', new.quarantine_id
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;

-- A hypertable's chunks get its triggers for rows, so that rows are not changed in a chunk either. None is for inserts.
do $$
declare
    name text;
begin
    foreach name in array array['frames', 'device_events'] loop
        execute format('create trigger record_kept before update or delete or truncate on %1$I
                            for each statement execute function record_kept(%1$L)', name);
        execute format('create trigger record_kept_row before update or delete on %1$I
                            for each row execute function record_kept(%1$L)', name);
    end loop;
    -- What frames mean is kept as they are.
    foreach name in array array['layouts', 'layout_channels', 'device_layouts', 'alarm_transitions', 'imported_devices',
                                'deviation_comments', 'deviation_attachments', 'retention_drops'] loop
        execute format('create trigger record_kept before update or delete or truncate on %1$I
                            for each statement execute function record_kept(%1$L)', name);
    end loop;
    foreach name in array array['annotations', 'alarm_acts', 'deviation_links', 'shift_entries', 'retention_holds',
                                'run_states', 'runs', 'deviations', 'commands', 'alarm_rules', 'imports', 'backups',
                                'devices', 'channels', 'serials', 'organizations', 'users', 'intake_totals',
                                'quarantine_overflow'] loop
        execute format('create trigger record_kept before delete or truncate on %1$I
                            for each statement execute function record_kept(%1$L)', name);
    end loop;
end $$;

create trigger record_ended before update on annotations
    for each row execute function record_ended('annotations', 'withdrawn_at');
create trigger record_ended before update on alarm_acts
    for each row execute function record_ended('alarm_acts', 'done_at', 'refused', 'n');
create trigger record_ended before update on deviation_links
    for each row execute function record_ended('deviation_links', 'withdrawn_at');
create trigger record_ended before update on shift_entries
    for each row execute function record_ended('shift_entries', 'accepted_at');
create trigger record_ended before update on retention_holds
    for each row execute function record_ended('retention_holds', 'ended_at');

create trigger record_kept before update or truncate on statuses
    for each statement execute function record_kept('statuses');
create trigger record_dropped before delete on statuses
    for each statement execute function record_dropped('statuses', 'status');

create trigger record_kept before truncate on quarantine for each statement execute function record_kept('quarantine');
create trigger record_dropped before delete on quarantine
    for each statement execute function record_dropped('quarantine', 'quarantined');
create trigger quarantine_kept before update on quarantine for each row execute function quarantine_kept();
create trigger quarantine_told after update on quarantine
    for each row when (new.state <> old.state) execute function quarantine_told();

-- As before, but the audit trail is told first.
create or replace function retention_drop_statuses(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
    told record;
begin
    lock table retention_holds in share mode;
    with old as (
        select s.device_id, s.boot, s.time, s.online, s.received_at from statuses s
         where s.received_at < before
           and s.device_id not in (select retention_held_devices(s.received_at, s.received_at))
           and exists (select from statuses n where n.device_id = s.device_id and (n.boot, n.time) > (s.boot, s.time))
         limit most for update of s skip locked
    )
    select array_agg(device_id) as devices_, array_agg(boot) as boots, array_agg(time) as times,
           array_agg(online) as onlines, array_agg(received_at) as received
      into gone from old;
    if gone.devices_ is null then
        return 0;
    end if;
    select array_agg(organization_id) as organizations_, array_agg(n) as rows_, min(first) as first, max(last) as last
      into told
      from (select d.organization_id, count(*) as n, min(g.received) as first, max(g.received) as last
              from unnest(gone.devices_, gone.received) as g (device_id, received) join devices d using (device_id)
             group by d.organization_id) counted;
    perform retention_note('status', told.first, told.last, told.organizations_, told.rows_, why_);
    delete from statuses s
     using unnest(gone.devices_, gone.boots, gone.times, gone.onlines) as g (device_id, boot, time, online)
     where (s.device_id, s.boot, s.time, s.online) = (g.device_id, g.boot, g.time, g.online);
    return cardinality(gone.devices_);
end $$;

create or replace function retention_drop_quarantined(before timestamptz, most integer, why_ text) returns bigint
language plpgsql as $$
declare
    gone record;
    told record;
begin
    lock table retention_holds in share mode;
    with old as (
        select q.quarantine_id, coalesce(d.organization_id, 1) as organization_id, q.received_at
          from quarantine q left join devices d on d.name = q.device
         where q.state <> 'open' and q.settled_at < before
           and not exists (select from retention_holds h
                            where h.ended_at is null and tstzrange(h.begins, h.ends) @> q.received_at
                              and case when h.device_id is null then h.organization_id = coalesce(d.organization_id, 1)
                                       else h.device_id = d.device_id end)
         limit most for update of q skip locked
    )
    select array_agg(quarantine_id) as ids, array_agg(organization_id) as organizations_, array_agg(received_at) as received
      into gone from old;
    if gone.ids is null then
        return 0;
    end if;
    select array_agg(organization_id) as organizations_, array_agg(n) as rows_, min(first) as first, max(last) as last
      into told
      from (select g.organization_id, count(*) as n, min(g.received) as first, max(g.received) as last
              from unnest(gone.organizations_, gone.received) as g (organization_id, received) group by 1) counted;
    perform retention_note('quarantined', told.first, told.last, told.organizations_, told.rows_, why_);
    delete from quarantine q where q.quarantine_id = any (gone.ids);
    return cardinality(gone.ids);
end $$;

-- migrate: rollback

do $$
declare
    it record;
begin
    for it in select tgname, tgrelid::regclass as name from pg_trigger
               where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
                 and (tgname like 'record\_%' or tgname in ('quarantine_kept', 'quarantine_told')) loop
        execute format('drop trigger %I on %s', it.tgname, it.name);
    end loop;
end $$;
drop function quarantine_told, quarantine_kept, record_dropped, record_ended, record_kept;
