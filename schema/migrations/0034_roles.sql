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

-- Whoever writes through the API writes in the name that the database finds for the credential which the request showed. A
-- transaction shows it as the setting biogate.credential, in words apart by a space:
--   session HASH         of the token of a browser's session
--   program ID PROOF     a program's session, with the proof that its access token carries
--   key ID SECRET        an API key
--   link HASH            of the code of a link that sets a password
--   account ID           an account that this transaction has made
--   job ID               a job that runs, for its report or export alone
-- What somebody reads who has the API's login at the database proves none of these.
create function access_proof(family_hash bytea) returns bytea language sql immutable as $$
    select sha256(convert_to('biogate access ', 'UTF8') || family_hash)
$$;

-- The name for the audit trail, or null: nobody has shown who they are. What ended in this transaction still counts, as
-- whoever logs out does so in their own name.
create function credential_who() returns text language plpgsql stable as $$
declare
    shown text[] := string_to_array(current_setting('biogate.credential', true), ' ');
    user_ integer;
begin
    if shown is null then
        return null;
    end if;
    case shown[1]
    when 'session' then
        select s.user_id into user_ from sessions s join users u using (user_id)
         where s.token_hash = decode(shown[2], 'hex') and s.kind = 'browser' and s.expires_at > now()
           and (s.ended_at is null and not u.disabled or s.ended_at = now());
    when 'program' then
        select s.user_id into user_ from sessions s join users u using (user_id)
         where s.session_id = shown[2]::bigint and s.kind = 'program' and s.expires_at > now()
           and access_proof(s.family_hash) = decode(shown[3], 'hex')
           and (s.ended_at is null and not u.disabled or s.ended_at = now());
    when 'link' then
        select r.user_id into user_ from password_resets r join users u using (user_id)
         where r.code_hash = decode(shown[2], 'hex') and r.expires_at > now() and not u.disabled;
    when 'account' then
        select u.user_id into user_ from users u where u.user_id = shown[2]::integer and u.created_at = now();
    when 'key' then
        return (select format('key %s (%s)', k.key_id, k.name) from api_keys k
                 where k.key_id = shown[2] and k.secret_hash = sha256(convert_to(shown[3], 'UTF8'))
                   and (k.ended_at is null or k.ended_at = now()) and (k.expires_at is null or k.expires_at > now()));
    when 'job' then
        return (select j.who from jobs j where j.job_id = shown[2]::uuid and j.state = 'running');
    else
        return null;
    end case;
    return (select u.email || case when u.verified then '' else ' (unverified)' end from users u where u.user_id = user_);
end $$;

-- Whether the session is the API's, whatever function it is in. (In plpgsql, whose plans are kept: in sql each write takes
-- half a millisecond longer.)
create function by_api() returns boolean language plpgsql stable as $$
begin
    if current_setting('role', true) = 'biogate_api' then
        return true;
    elsif pg_has_role(session_user, 'biogate_api', 'usage') then
        return not (select rolsuper from pg_roles where rolname = session_user);
    end if;
    return false;
end $$;

-- The argument is the column with the name. In nobody's name the API tells of failed log-ins, and ends sessions that were idle.
-- (A row as a whole can be too large for jsonb.)
create function written_by() returns trigger language plpgsql as $$
declare
    given text;
    who_ text;
    job text := substr(current_setting('biogate.credential', true), 5);
    its_own boolean := tg_table_name = 'reports';
begin
    if not by_api() then
        return new;
    end if;
    case tg_argv[0]
        when 'who' then given := new.who;
        when 'requested_by' then given := new.requested_by;
        when 'created_by' then given := new.created_by;
        when 'opened_by' then given := new.opened_by;
        when 'invited_by' then given := new.invited_by;
        when 'made_by' then given := new.made_by;
    end case;
    if given = 'somebody' and tg_table_name = 'audit' then
        if new.action in ('log-in failed', 'session end') then
            return new;
        end if;
    end if;
    who_ := credential_who();
    if who_ is null or split_part(who_, ' (', 1) <> split_part(given, ' (', 1) then
        raise exception 'nobody has shown that they are %', given using errcode = 'BG401';
    end if;
    if current_setting('biogate.credential', true) like 'job %' then
        if tg_table_name = 'audit' then
            its_own := (new.action, new.subject) in (('report make', 'report/' || job), ('export make', 'job/' || job));
        end if;
        if not its_own then
            raise exception 'a job shows who has asked for its files, and nothing else' using errcode = 'BG401';
        end if;
    end if;
    return new;
end $$;

do $$
declare
    name text;
    column_ text;
begin
    for name, column_ in values
        ('alarm_acts', 'who'), ('annotations', 'who'), ('api_keys', 'created_by'), ('audit', 'who'), ('commands', 'requested_by'),
        ('deviation_attachments', 'who'), ('deviation_comments', 'who'), ('deviation_links', 'who'), ('deviations', 'opened_by'),
        ('invitations', 'invited_by'), ('jobs', 'who'), ('lab_samples', 'who'), ('materials', 'who'),
        ('report_templates', 'made_by'), ('reports', 'made_by'), ('retention_holds', 'who'), ('run_states', 'who'),
        ('runs', 'created_by'), ('shift_entries', 'who') loop
        -- Its name comes before that of audit_append, which makes the hash.
        execute format('create trigger a_written_by before insert on %I for each row execute function written_by(%L)',
                       name, column_);
    end loop;
end $$;

-- A session, or an account, that the API's transaction makes shows who that is.
create function session_shown() returns trigger language plpgsql as $$
begin
    if by_api() then
        perform set_config('biogate.credential', case new.kind
            when 'browser' then 'session ' || encode(new.token_hash, 'hex')
            else 'program ' || new.session_id || ' ' || encode(access_proof(new.family_hash), 'hex') end, true);
    end if;
    return null;
end $$;

create trigger session_shown after insert on sessions for each row execute function session_shown();

create function account_shown() returns trigger language plpgsql as $$
begin
    if by_api() then
        perform set_config('biogate.credential', 'account ' || new.user_id, true);
    end if;
    return null;
end $$;

create trigger account_shown after insert on users for each row execute function account_shown();

-- Of a password's hash the API gets the salt, and a hash of the whole. So it can compare what a person types, and shows the
-- whole to log in; from what it is given, nobody makes the whole without the password.
create function password_shade(password_hash text) returns text language sql immutable as $$
    select left(password_hash, 29) || encode(sha256(convert_to(password_hash, 'UTF8')), 'hex')
$$;

create or replace function api.log_in_account(email_ text, network_ text)
returns table (user_id integer, email text, name text, password_hash text, disabled boolean, known boolean, rounds integer)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.user_id, u.email, u.name, password_shade(u.password_hash), u.disabled,
           exists (select from sessions s where s.user_id = u.user_id and s.network = network_),
           most.rounds
      from (select max(password_rounds(password_hash)) as rounds from users) most
      left join users u on u.email = lower(email_)
$$;

create or replace function api.account_of(user_id_ integer)
returns table (user_id integer, email text, name text, password_hash text, created_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select user_id, email, name, password_shade(password_hash), created_at from users
     where user_id = user_id_ and not disabled
$$;

-- As before; the link, and the family of the refresh token, show whose it is.
create or replace function api.password_reset_use(code_hash_ bytea, password_hash_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r password_resets;
begin
    select p.* into r from password_resets p join users u using (user_id)
     where p.code_hash = code_hash_ and p.expires_at > now() and not u.disabled for update of p;
    if not found then
        raise exception 'this link is none, was used, or has expired' using errcode = 'no_data_found';
    end if;
    perform set_config('biogate.credential', 'link ' || encode(code_hash_, 'hex'), true);
    perform account_note(r.user_id, account_who(r.user_id), 'password reset', null, 'link of ' || r.made_by);
    perform sessions_end(r.user_id, null, account_who(r.user_id), 'session end', 'the password was reset');
    update users set password_hash = password_hash_ where user_id = r.user_id;
    delete from password_resets where user_id = r.user_id;
end $$;

create or replace function api.session_renew(
    family_hash_ bytea, token_hash_ bytea, next_hash_ bytea, expires_at_ timestamptz
) returns table (session_id bigint, user_id integer)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    known sessions;
    again boolean;
begin
    select * into known from sessions s where s.family_hash = family_hash_ and s.ended_at is null for update;
    if not found then
        return;
    end if;
    again := known.former_hash = token_hash_ and known.token_hash = next_hash_
             and known.renewed_at > now() - interval '45 seconds';
    if known.token_hash <> token_hash_ and again is not true then
        perform set_config('biogate.credential',
                           'program ' || known.session_id || ' ' || encode(access_proof(family_hash_), 'hex'), true);
        perform sessions_end(known.user_id, known.session_id, account_who(known.user_id), 'session end',
                             'a refresh token was used twice');
        return;
    end if;
    return query
    update sessions s
       set token_hash = next_hash_,
           former_hash = token_hash_,
           renewed_at = case when again then s.renewed_at else now() end,
           expires_at = case when again then s.expires_at else expires_at_ end
      from users u
     where s.session_id = known.session_id and s.expires_at > now() and u.user_id = s.user_id and not u.disabled
    returning s.session_id, s.user_id;
end $$;

-- What an organization holds stays held when it gives the device away: in the name of who gives it.
create or replace function retention_given() returns trigger language plpgsql as $$
begin
    perform retention_hold(organization_id, new.device_id, begins, ends,
                           coalesce(case when by_api() then credential_who() end, who),
                           'given away under hold ' || hold_id || ': ' || why)
       from retention_holds where organization_id = old.organization_id and device_id is null and ended_at is null;
    return null;
end $$;

-- migrate: rollback

do $$
declare
    it record;
begin
    for it in select tgname, tgrelid::regclass as name from pg_trigger
               where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
                 and (tgname like 'record\_%' or tgname in ('quarantine_kept', 'quarantine_told', 'a_written_by', 'session_shown', 'account_shown')) loop
        execute format('drop trigger %I on %s', it.tgname, it.name);
    end loop;
end $$;
create or replace function api.log_in_account(email_ text, network_ text)
returns table (user_id integer, email text, name text, password_hash text, disabled boolean, known boolean, rounds integer)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.user_id, u.email, u.name, u.password_hash, u.disabled,
           exists (select from sessions s where s.user_id = u.user_id and s.network = network_),
           most.rounds
      from (select max(password_rounds(password_hash)) as rounds from users) most
      left join users u on u.email = lower(email_)
$$;
create or replace function api.account_of(user_id_ integer)
returns table (user_id integer, email text, name text, password_hash text, created_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select user_id, email, name, password_hash, created_at from users where user_id = user_id_ and not disabled
$$;
drop function password_shade, session_shown, account_shown, written_by, by_api, credential_who, access_proof;
drop function quarantine_told, quarantine_kept, record_dropped, record_ended, record_kept;
