-- organizations, users and what they log in with; whose everything is; what the API and SQL logins may see of it
-- depends: 0005_enrollment

-- migrate: apply

create table organizations (
    organization_id integer generated always as identity primary key,
    name            text not null unique check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    title           text not null check (char_length(title) between 1 and 100),
    created_at      timestamptz not null default now()
);

comment on table organizations is '1 runs the installation: what nobody else has is its';

insert into organizations (name, title) values ('main', 'Main');

create table users (
    user_id       integer generated always as identity primary key,
    email         text not null unique check (email = lower(email) and email ~ '^[^@\s]+@[^@\s]+$' and length(email) <= 254),
    name          text not null check (char_length(name) between 1 and 100),
    password_hash text not null,
    disabled      boolean not null default false,
    created_at    timestamptz not null default now()
);

comment on column users.password_hash is 'bcrypt';

create table memberships (
    organization_id integer not null references organizations,
    user_id         integer not null references users,
    role            text not null check (role in ('viewer', 'operator', 'engineer', 'admin')),
    since           timestamptz not null default now(),
    primary key (organization_id, user_id)
);

create index on memberships (user_id);

create table invitations (
    invitation_id   integer generated always as identity primary key,
    organization_id integer not null references organizations,
    role            text not null check (role in ('viewer', 'operator', 'engineer', 'admin')),
    code_hash       bytea not null unique check (octet_length(code_hash) = 32),
    uses            integer not null default 1 check (uses >= 0),
    invited_by      text not null,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz not null
);

create index on invitations (organization_id);

comment on column invitations.uses is 'that are left';

-- A log-in: of a browser, whose cookie is the token, or of a program, whose refresh token it is.
create table sessions (
    session_id  bigint generated always as identity primary key,
    user_id     integer not null references users,
    kind        text not null check (kind in ('browser', 'program')),
    token_hash  bytea not null unique check (octet_length(token_hash) = 32),
    family_hash bytea unique check (octet_length(family_hash) = 32),
    agent       text not null default '',
    created_at  timestamptz not null default now(),
    renewed_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    ended_at    timestamptz
);

create index on sessions (user_id) where ended_at is null;
create index on sessions (expires_at);

comment on column sessions.family_hash is
    'of what all refresh tokens of the session begin with: who shows it with another end has one that was used up, which'
    ' somebody has stolen';

create table api_keys (
    key_id          text primary key check (key_id ~ '^[a-z2-7]{12}$'),
    organization_id integer not null references organizations,
    name            text not null check (char_length(name) between 1 and 100),
    role            text not null check (role in ('viewer', 'operator', 'engineer', 'admin')),
    scopes          text[] not null,
    secret_hash     bytea not null check (octet_length(secret_hash) = 32),
    created_by      text not null,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz,
    ended_at        timestamptz
);

create index on api_keys (organization_id);

-- Whose everything is.

alter table devices
    add column organization_id integer references organizations,
    add column title    text check (char_length(title) between 1 and 100),
    add column location text check (char_length(location) between 1 and 200),
    add column tags     text[] not null default '{}' check (cardinality(tags) <= 32),
    add column version  integer not null default 1;

update devices set organization_id = 1;
alter table devices alter column organization_id set not null;

create index on devices (organization_id, name);
create index on devices using gin (tags);

comment on column devices.title is 'what people call it; its name stays, as it is in its topics';
comment on column devices.version is 'counts what people change of title, location and tags';

alter table serials add column organization_id integer not null default 1 references organizations;

create index on serials (organization_id, serial);

comment on column serials.organization_id is 'whose the device will be';

-- A device is its serial's organization's.
create function device_organization() returns trigger language plpgsql as $$
begin
    new.organization_id := coalesce(
        new.organization_id, (select organization_id from serials where device = new.name), 1);
    return new;
end $$;

create trigger device_organization before insert on devices for each row execute function device_organization();

create table annotations (
    annotation_id bigint generated always as identity primary key,
    device_id     integer not null references devices,
    begins        timestamptz not null,
    ends          timestamptz check (ends >= begins),
    text          text not null check (char_length(text) between 1 and 2000),
    who           text not null,
    created_at    timestamptz not null default now(),
    withdrawn_at  timestamptz
);

create index on annotations (device_id, begins desc, annotation_id desc);

comment on column annotations.ends is 'null: of an instant';

create function organization_number(name_ text) returns integer language plpgsql stable as $$
declare
    number integer;
begin
    select organization_id into number from organizations where name = name_;
    if not found then
        raise exception 'there is no organization %', name_ using errcode = 'no_data_found';
    end if;
    return number;
end $$;

-- As in 0005_enrollment.sql, for an organization (null: the first), which has it in its audit trail, too. Serials that
-- are known keep theirs; a name that is another organization's device is taken.
create function serials_import(
    serials_ text[], devices_ text[], versions smallint[], keys bytea[], import_name text, quota_ integer,
    who text, why text, organization_ text
) returns table (serial text, outcome text) language plpgsql as $$
declare
    owner integer := case when organization_ is null then 1 else organization_number(organization_) end;
    found_ text[];
    outcomes text[];
    news text[];
begin
    select array_agg(i.serial), array_agg(i.outcome) into found_, outcomes
      from serials_import(serials_, devices_, versions, keys, import_name, quota_, who, why) i;
    select array_agg(u.s) into news from unnest(found_, outcomes) as u (s, o) where u.o = 'new';
    update serials t set organization_id = owner where t.serial = any (news) and t.organization_id <> owner;
    if owner <> 1 and news is not null then
        insert into audit (organization_id, who, action, subject, new, why)
        values (owner, who, 'serials import', 'import/' || import_name,
                jsonb_build_object('serials', cardinality(news)), why);
    end if;
    return query
    select u.s, case when u.o = 'new' and d.organization_id <> owner then 'name-taken' else u.o end
      from unnest(found_, outcomes) as u (s, o)
      left join serials t on t.serial = u.s
      left join devices d on d.name = t.device;
end $$;

-- Who logs in at the database, to read what is his organization's.
create table sql_logins (
    role            name primary key,
    organization_id integer not null references organizations,
    created_at      timestamptz not null default now()
);

-- The audit trail: a chain for each organization. Of the first it goes on; another's begins with its name.
alter table audit
    add column organization_id integer not null default 1 references organizations,
    drop constraint audit_pkey,
    add primary key (organization_id, n);
alter table audit alter column organization_id drop default;

drop index audit_subject_n_idx;
create index on audit (organization_id, subject, n);
create index on audit (organization_id, at);

create function audit_seed(organization_id_ integer) returns bytea language sql immutable as $$
    select case organization_id_ when 1 then ''::bytea
           else sha256(convert_to('organization ' || organization_id_, 'UTF8')) end
$$;

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

drop function audit_faults();
create function audit_faults(organization_id_ integer default 1) returns setof bigint language sql stable as $$
    select (e).n
      from (select a as e, lag(a.n, 1, 0::bigint) over chain as before,
                   lag(a.hash, 1, audit_seed(organization_id_)) over chain as hash
              from audit a where a.organization_id = organization_id_ window chain as (order by a.n)) events
     where (e).n <> before + 1 or (e).hash is distinct from audit_hash(hash, e)
     order by 1
$$;

-- What the API has looked up and keeps for a while (who may what) is wrong from now on.
create function accounts_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('biogate_accounts', '');
    return null;
end $$;

create trigger accounts_notify after update or delete on users for each statement execute function accounts_notify();
create trigger accounts_notify after update or delete on memberships for each statement execute function accounts_notify();
create trigger accounts_notify after update or delete on api_keys for each statement execute function accounts_notify();
create trigger accounts_notify after update of ended_at on sessions for each statement execute function accounts_notify();
create trigger accounts_notify after update on organizations for each statement execute function accounts_notify();

-- What the API may see: its role has rights on this schema alone. Each view shows what is the organization's that the
-- connection was told, and nothing while it was told none.
create schema api;

create function api.organization() returns integer language sql stable parallel safe as $$
    select nullif(current_setting('biogate.organization', true), '')::integer
$$;

create view api.devices as
select * from public.devices where organization_id = (select api.organization());

-- Layouts and channels are no one's: which ones are used is in device_layouts.
create view api.layouts as select * from public.layouts;
create view api.layout_channels as select * from public.layout_channels;
create view api.channels as select * from public.channels;

create view api.device_layouts as
select l.* from public.device_layouts l join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.frames as
select f.* from public.frames f join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.device_streams as
select s.* from public.device_streams s join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.presence as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.statuses as
select s.* from public.statuses s join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.device_events as
select e.* from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.annotations as
select a.* from public.annotations a join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

-- Of devices that are not registered it is the first one's. (Said so, the planner knows that it is not few rows.)
create view api.quarantine as
select q.* from public.quarantine q left join public.devices d on d.name = q.device
 where d.organization_id = (select api.organization())
    or d.organization_id is null and (select api.organization()) = 1;

create view api.serials as
select s.serial, s.device, s.claim_version, s.import_id, s.blocked, s.identity_key, s.device_id, s.created_at,
       s.organization_id
  from public.serials s
 where s.organization_id = (select api.organization()) or (select api.organization()) = 1;

create view api.claim_imports as
select * from public.claim_imports where (select api.organization()) = 1;

create view api.vault as
select * from public.vault where (select api.organization()) = 1;

create view api.cells as
select cell, enrollment_open, enrollment_applied from public.cells where (select api.organization()) = 1;

create view api.enrollments as
select e.txn, e.cell, e.serial, e.identity_key, e.claim_version, e.state, e.reason, e.username, e.hardware, e.firmware,
       e.channels, e.created_at, e.changed_at, e.expires_at
  from public.enrollments e left join public.serials s using (serial)
 where coalesce(s.organization_id, 1) = (select api.organization());

create view api.credentials as
select c.username, c.device_id, c.cell, c.generation, c.kind, c.wanted, c.applied, c.created_at, c.applied_at,
       c.activated_at, c.ended_at, c.by_hand
  from public.credentials c join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

create view api.audit as
select * from public.audit where organization_id = (select api.organization());

create view api.organizations as
select * from public.organizations where organization_id = (select api.organization());

create view api.members as
select m.user_id, u.email, u.name, m.role, m.since
  from public.memberships m join public.users u using (user_id)
 where m.organization_id = (select api.organization());

create view api.invitations as
select invitation_id, role, uses, invited_by, created_at, expires_at
  from public.invitations where organization_id = (select api.organization());

create view api.api_keys as
select key_id, name, role, scopes, created_by, created_at, expires_at, ended_at
  from public.api_keys where organization_id = (select api.organization());

-- What the API may do, besides reading: these functions have the rights of who owns the database, and check whose it
-- is. Errors as in 0005_enrollment.sql, and: BG403 not this organization's to do; BG412 it was changed meanwhile.

create function api.device_owned(device_ text) returns integer
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    id integer;
begin
    select device_id into id from devices where name = device_ and organization_id = api.organization();
    if not found then
        raise exception 'there is no device %', device_ using errcode = 'no_data_found';
    end if;
    return id;
end $$;

create function api.only_first() returns void
language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    if api.organization() is distinct from 1 then
        raise exception 'only the organization % does this', (select name from organizations where organization_id = 1)
            using errcode = 'BG403';
    end if;
end $$;

create function api.device_command(device_ text, action_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.device_owned(device_);
    perform public.device_command(device_, action_, who, why);
end $$;

create function api.enrollment_owned(txn_ text) returns text
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    serial_ text;
begin
    select e.serial into serial_ from enrollments e left join serials s using (serial)
     where e.txn = txn_ and coalesce(s.organization_id, 1) = api.organization();
    if not found then
        raise exception 'there is no enrollment %', txn_ using errcode = 'no_data_found';
    end if;
    return serial_;
end $$;

-- organization_: whose the device will be; null: its serial's. A name that is another's device is not given away by this.
create function api.enrollment_approve(txn_ text, device_ text, organization_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    serial_ text := api.enrollment_owned(txn_);
    owner integer := api.organization();
begin
    if organization_ is not null then
        perform api.only_first();
        owner := organization_number(organization_);
    end if;
    perform public.enrollment_approve(txn_, device_, who, why);
    if exists (select from devices d join serials s on s.device = d.name
                where s.serial = serial_ and d.organization_id <> owner) then
        raise exception 'the device of serial % is another organization''s', serial_ using errcode = 'unique_violation';
    end if;
    update serials set organization_id = owner where serial = serial_ and organization_id <> owner;
end $$;

create function api.enrollment_deny(txn_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.enrollment_owned(txn_);
    perform public.enrollment_deny(txn_, who, why);
end $$;

create function api.serial_block(serial_ text, block boolean, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if not exists (select from serials where serial = serial_ and api.organization() in (organization_id, 1)) then
        raise exception 'there is no serial %', serial_ using errcode = 'no_data_found';
    end if;
    perform public.serial_block(serial_, block, who, why);
end $$;

create function api.serials_import(
    serials_ text[], devices_ text[], versions smallint[], keys bytea[], import_name text, quota_ integer,
    who text, why text, organization_ text default null
) returns table (serial text, outcome text)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.only_first();
    return query select * from public.serials_import(
        serials_, devices_, versions, keys, import_name, quota_, who, why, organization_);
end $$;

create function api.enrollment_switch(cell_ text, open_ boolean, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.only_first();
    perform public.enrollment_switch(cell_, open_, who, why);
end $$;

-- Of what is null nothing changes; '' and '{}' take it away. version_ null: whatever it is.
create function api.device_change(
    device_ text, title_ text, location_ text, tags_ text[], version_ integer, who text, why text
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o devices;
    n devices;
begin
    perform api.device_owned(device_);
    select * into o from devices where name = device_ for update;
    if version_ is not null and o.version <> version_ then
        raise exception 'device % was changed meanwhile', device_ using errcode = 'BG412';
    end if;
    update devices
       set title = case when title_ is null then title else nullif(title_, '') end,
           location = case when location_ is null then location else nullif(location_, '') end,
           tags = coalesce((select array_agg(distinct t order by t) from unnest(tags_) t),
                           case when tags_ is null then tags else '{}' end),
           version = version + 1
     where name = device_ returning * into n;
    insert into audit (who, action, subject, old, new, why)
    values (who, 'device change', 'device/' || device_,
            jsonb_build_object('title', o.title, 'location', o.location, 'tags', o.tags),
            jsonb_build_object('title', n.title, 'location', n.location, 'tags', n.tags), why);
end $$;

-- A device with all that it has sent becomes another organization's. Only the giver can; the first gives to any, others
-- give back to the first.
create function api.device_give(device_ text, organization_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    giver integer := api.organization();
    taker integer;
begin
    perform api.device_owned(device_);
    select organization_id into taker from organizations where name = organization_ and 1 in (giver, organization_id);
    if not found then
        raise exception 'there is no organization % to give it to', organization_ using errcode = 'no_data_found';
    end if;
    perform set_config('biogate.who', who, true);  -- of the commands that end by this
    update devices set organization_id = taker where name = device_;
    update serials set organization_id = taker where device = device_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select o, who, 'device give', 'device/' || device_, to_jsonb(g.name), to_jsonb(t.name), why
      from (select distinct unnest(array[giver, taker]) as o) both_, organizations g, organizations t
     where g.organization_id = giver and t.organization_id = taker order by o;
end $$;

create function api.annotate(
    device_ text, begins_ timestamptz, ends_ timestamptz, text_ text, who text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    insert into annotations (device_id, begins, ends, text, who)
    values (api.device_owned(device_), begins_, ends_, text_, who) returning annotation_id into id;
    insert into audit (who, action, subject, new, why)
    values (who, 'annotation', 'device/' || device_,
            jsonb_build_object('id', id, 'begins', begins_, 'ends', ends_, 'text', text_), 'annotation');
    return id;
end $$;

create function api.annotation_withdraw(device_ text, id bigint, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update annotations set withdrawn_at = now()
     where annotation_id = id and device_id = api.device_owned(device_) and withdrawn_at is null;
    if not found then
        raise exception 'there is no annotation % of device %', id, device_ using errcode = 'no_data_found';
    end if;
    insert into audit (who, action, subject, new, why)
    values (who, 'annotation withdraw', 'device/' || device_, to_jsonb(id), why);
end $$;

create function api.audit_faults() returns setof bigint
language sql stable security definer set search_path = public, pg_temp as $$
    select public.audit_faults(api.organization())
$$;

-- Accounts. These ask for no organization: who is asking is what they find out.

create function api.account(email_ text) returns table (user_id integer, email text, name text, password_hash text, disabled boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select user_id, email, name, password_hash, disabled from users where email = lower(email_)
$$;

create function api.account_of(user_id_ integer) returns table (user_id integer, email text, name text, password_hash text, created_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select user_id, email, name, password_hash, created_at from users where user_id = user_id_ and not disabled
$$;

create function api.memberships_of(user_id_ integer) returns table (organization text, title text, role text, since timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select o.name, o.title, m.role, m.since from memberships m join organizations o using (organization_id)
     where m.user_id = user_id_ order by m.since, o.organization_id
$$;

-- Uses an invitation up. Raises no_data_found if it is none.
create function api.invitation_use(user_id_ integer, code_hash_ bytea) returns text
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    i invitations;
    who text := (select email from users where user_id = user_id_);
begin
    update invitations set uses = uses - 1
     where code_hash = code_hash_ and uses > 0 and expires_at > now() returning * into i;
    if not found then
        raise exception 'this code is none, was used, or has expired' using errcode = 'no_data_found';
    end if;
    insert into memberships (organization_id, user_id, role) values (i.organization_id, user_id_, i.role)
    on conflict do nothing;
    if not found then
        raise exception 'you are a member already' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into audit (organization_id, who, action, subject, new, why)
    values (i.organization_id, who, 'member join', 'user/' || who, jsonb_build_object('role', i.role),
            'invited by ' || i.invited_by);
    perform pg_notify('biogate_accounts', '');
    return (select name from organizations where organization_id = i.organization_id);
end $$;

-- code_hash_: of an invitation, used up with it. Raises unique_violation if there is such an account.
create function api.account_create(email_ text, name_ text, password_hash_ text, code_hash_ bytea) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer;
begin
    insert into users (email, name, password_hash) values (lower(email_), name_, password_hash_)
    returning user_id into id;
    insert into audit (organization_id, who, action, subject, why)
    values (1, lower(email_), 'account create', 'user/' || lower(email_), 'registered');
    if code_hash_ is not null then
        perform api.invitation_use(id, code_hash_);
    end if;
    return id;
end $$;

-- All sessions but keep_ end. old_hash_: of the password that was shown, which is to be theirs still: to look takes time.
create function api.password_change(user_id_ integer, old_hash_ text, password_hash_ text, keep_ bigint) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update users set password_hash = password_hash_ where user_id = user_id_ and password_hash = old_hash_;
    if not found then
        raise exception 'the password was changed meanwhile' using errcode = 'object_not_in_prerequisite_state';
    end if;
    update sessions set ended_at = now()
     where user_id = user_id_ and ended_at is null and session_id is distinct from keep_;
    insert into audit (organization_id, who, action, subject, why)
    select 1, email, 'password change', 'user/' || email, 'asked for' from users where user_id = user_id_;
end $$;

-- Of one user a hundred sessions at most: the oldest end. password_hash_: of what they have shown; null is returned if it
-- is theirs no more.
create function api.session_open(
    user_id_ integer, password_hash_ text, kind_ text, family_hash_ bytea, token_hash_ bytea, expires_at_ timestamptz,
    agent_ text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
    hundredth bigint := (select s.session_id from sessions s where s.user_id = user_id_ and s.ended_at is null
                          order by s.session_id desc offset 99 limit 1);
begin
    perform from users where user_id = user_id_ and password_hash = password_hash_ and not disabled for share;
    if not found then
        return null;
    end if;
    delete from sessions where expires_at < now() - interval '30 days';
    if hundredth is not null then
        update sessions set ended_at = now() where user_id = user_id_ and session_id <= hundredth and ended_at is null;
    end if;
    insert into sessions (user_id, kind, family_hash, token_hash, expires_at, agent)
    values (user_id_, kind_, family_hash_, token_hash_, expires_at_, agent_) returning session_id into id;
    return id;
end $$;

-- A refresh token for the next one. No row: it is none, or was used up before, which ends the session.
create function api.session_renew(
    family_hash_ bytea, token_hash_ bytea, next_hash_ bytea, expires_at_ timestamptz
) returns table (session_id bigint, user_id integer)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    known sessions;
begin
    select * into known from sessions s where s.family_hash = family_hash_ and s.ended_at is null for update;
    if not found then
        return;
    elsif known.token_hash <> token_hash_ then
        update sessions s set ended_at = now() where s.session_id = known.session_id;
        return;
    end if;
    return query
    update sessions s set token_hash = next_hash_, renewed_at = now(), expires_at = expires_at_
      from users u
     where s.session_id = known.session_id and s.expires_at > now() and u.user_id = s.user_id and not u.disabled
    returning s.session_id, s.user_id;
end $$;

-- session_id_ null: all of that user.
create function api.session_end(user_id_ integer, session_id_ bigint) returns bigint
language sql security definer set search_path = public, pg_temp as $$
    with ended as (
        update sessions set ended_at = now()
         where user_id = user_id_ and (session_id_ is null or session_id = session_id_) and ended_at is null
        returning 1)
    select count(*) from ended
$$;

create function api.sessions_of(user_id_ integer)
returns table (session_id bigint, kind text, agent text, created_at timestamptz, renewed_at timestamptz, expires_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select session_id, kind, agent, created_at, renewed_at, expires_at from sessions
     where user_id = user_id_ and ended_at is null and expires_at > now() order by session_id desc
$$;

-- Who has this session, by the hash of a browser's token or by number, and what they are in the organization (null: in
-- the first one they joined). No row: nobody any more. organization_id null: a member of none, or not of that one.
create function api.principal(token_hash_ bytea, session_id_ bigint, organization_ text)
returns table (session_id bigint, kind text, expires_at timestamptz, user_id integer, email text,
               organization_id integer, organization text, role text)
language sql stable security definer set search_path = public, pg_temp as $$
    select s.session_id, s.kind, s.expires_at, u.user_id, u.email, m.organization_id, m.name, m.role
      from sessions s
      join users u using (user_id)
      left join lateral (
           select m.organization_id, o.name, m.role from memberships m join organizations o using (organization_id)
            where m.user_id = u.user_id and (organization_ is null or o.name = organization_)
            order by m.since, m.organization_id limit 1) m on true
     where (s.token_hash = token_hash_ and s.kind = 'browser' or s.session_id = session_id_ and s.kind = 'program')
       and s.ended_at is null and s.expires_at > now() and not u.disabled
$$;

create function api.key(key_id_ text)
returns table (key_id text, secret_hash bytea, name text, role text, scopes text[], organization_id integer, organization text, expires_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select k.key_id, k.secret_hash, k.name, k.role, k.scopes, k.organization_id, o.name, k.expires_at
      from api_keys k join organizations o using (organization_id)
     where k.key_id = key_id_ and k.ended_at is null and (k.expires_at is null or k.expires_at > now())
$$;

-- Organizations. Who makes one is its admin.

create function api.organization_create(user_id_ integer, name_ text, title_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer;
    who text := (select email from users where user_id = user_id_);
begin
    perform pg_advisory_xact_lock(1635083370, user_id_);
    if (select count(*) from memberships where user_id = user_id_ and role = 'admin') >= 10 then
        raise exception 'you are the admin of ten organizations, which is all one can be'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into organizations (name, title) values (name_, title_) returning organization_id into id;
    insert into memberships (organization_id, user_id, role) values (id, user_id_, 'admin');
    insert into audit (organization_id, who, action, subject, new, why)
    values (id, who, 'organization create', 'organization/' || name_, to_jsonb(title_), 'asked for');
    perform pg_notify('biogate_accounts', '');
end $$;

create function api.organization_change(title_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_id, who, 'organization change', 'organization/' || name, to_jsonb(title), to_jsonb(title_), why
      from organizations where organization_id = api.organization();
    update organizations set title = title_ where organization_id = api.organization();
end $$;

create function api.invitation_create(
    role_ text, code_hash_ bytea, uses_ integer, expires_at_ timestamptz, who text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer;
begin
    delete from invitations where expires_at < now() - interval '30 days';
    insert into invitations (organization_id, role, code_hash, uses, invited_by, expires_at)
    values (api.organization(), role_, code_hash_, uses_, who, expires_at_) returning invitation_id into id;
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who, 'invitation create', 'invitation/' || id,
            jsonb_build_object('role', role_, 'uses', uses_, 'expires_at', expires_at_), 'invitation');
    return id;
end $$;

create function api.invitation_end(id integer, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update invitations set uses = 0
     where invitation_id = id and organization_id = api.organization() and uses > 0 and expires_at > now();
    if not found then
        raise exception 'there is no invitation % that could be used', id using errcode = 'no_data_found';
    end if;
    insert into audit (organization_id, who, action, subject, why)
    values (api.organization(), who, 'invitation end', 'invitation/' || id, why);
end $$;

-- role_ null: they leave. The last admin stays one. Who is none any more has no invitations out, to come back with.
create function api.member_change(user_id_ integer, role_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    was text;
begin
    perform from organizations where organization_id = api.organization() for update;
    select role into was from memberships where organization_id = api.organization() and user_id = user_id_;
    if not found then
        raise exception 'there is no member %', user_id_ using errcode = 'no_data_found';
    elsif was = 'admin' and role_ is distinct from 'admin'
          and (select count(*) from memberships where organization_id = api.organization() and role = 'admin') = 1 then
        raise exception 'the last admin of an organization stays its admin'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    if role_ is null then
        delete from memberships where organization_id = api.organization() and user_id = user_id_;
    else
        update memberships set role = role_ where organization_id = api.organization() and user_id = user_id_;
    end if;
    if role_ is distinct from 'admin' then
        update invitations i set uses = 0 from users u
         where i.organization_id = api.organization() and i.uses > 0 and i.invited_by = u.email and u.user_id = user_id_;
    end if;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select api.organization(), who, case when role_ is null then 'member remove' else 'member role' end,
           'user/' || email, to_jsonb(was), to_jsonb(role_), why
      from users where user_id = user_id_;
end $$;

create function api.key_create(
    key_id_ text, secret_hash_ bytea, name_ text, role_ text, scopes_ text[], expires_at_ timestamptz, who text
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into api_keys (key_id, organization_id, name, role, scopes, secret_hash, created_by, expires_at)
    values (key_id_, api.organization(), name_, role_, scopes_, secret_hash_, who, expires_at_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who, 'key create', 'key/' || key_id_,
            jsonb_build_object('name', name_, 'role', role_, 'scopes', scopes_, 'expires_at', expires_at_), 'key');
end $$;

create function api.key_end(key_id_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    name_ text;
begin
    update api_keys set ended_at = now()
     where key_id = key_id_ and organization_id = api.organization() and ended_at is null returning name into name_;
    if not found then
        raise exception 'there is no key % that could be used', key_id_ using errcode = 'no_data_found';
    end if;
    update invitations set uses = 0
     where organization_id = api.organization() and uses > 0 and invited_by = format('key %s (%s)', key_id_, name_);
    insert into audit (organization_id, who, action, subject, why)
    values (api.organization(), who, 'key end', 'key/' || key_id_, why);
end $$;

-- What an organization's own logins at the database see, for Grafana and notebooks: the same, by who has logged in, and
-- behind barriers, as the conditions of these queries are theirs.
create schema org;

create view org.devices with (security_barrier) as
select device_id, name as device, title, location, tags, state, registered_at
  from public.devices
 where organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.presence with (security_barrier) as
select p.* from public.presence p join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.channels with (security_barrier) as
select c.* from public.channels c
 where exists (select from public.layout_channels lc
                 join public.device_layouts l using (layout_id)
                 join public.devices d using (device_id)
                where lc.channel_id = c.channel_id
                  and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user));

create view org.telemetry with (security_barrier) as
select f.time, f.device_id, d.name as device, c.name as channel, c.unit,
       f.values[lc.ordinal] as value, coalesce(f.quality[lc.ordinal], 0::smallint) as quality
  from public.frames f
  join public.devices d using (device_id)
  join public.layout_channels lc using (layout_id)
  join public.channels c using (channel_id)
 where (f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null)
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.events with (security_barrier) as
select e.time, e.device_id, d.name as device, e.type, e.data, e.boot, e.received_at
  from public.device_events e join public.devices d using (device_id)
 where d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.annotations with (security_barrier) as
select d.name as device, a.begins, a.ends, a.text, a.who, a.created_at
  from public.annotations a join public.devices d using (device_id)
 where a.withdrawn_at is null
   and d.organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

create view org.audit with (security_barrier) as
select n, at, who, action, subject, old, new, why, hash from public.audit
 where organization_id = (select s.organization_id from public.sql_logins s where s.role = current_user);

-- Roles are the server's, not the database's: another database may have made them.
do $$
declare
    role_ text;
begin
    foreach role_ in array array['biogate_api', 'biogate_sql'] loop
        begin
            execute format('create role %I nologin', role_);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end $$;

revoke all on all functions in schema api from public;
grant usage on schema api to biogate_api;
grant select on all tables in schema api to biogate_api;
grant execute on all functions in schema api to biogate_api;
grant select on _pogo_migration to biogate_api;
grant usage on schema org to biogate_sql;
grant select on all tables in schema org to biogate_sql;

-- migrate: rollback

revoke select on _pogo_migration from biogate_api;
drop schema org cascade;
drop schema api cascade;
drop trigger accounts_notify on users;
drop trigger accounts_notify on memberships;
drop trigger accounts_notify on api_keys;
drop trigger accounts_notify on sessions;
drop trigger accounts_notify on organizations;
drop function accounts_notify;
drop function audit_faults;
drop table sql_logins, annotations;
drop trigger device_organization on devices;
drop function device_organization;
drop function serials_import(text[], text[], smallint[], bytea[], text, integer, text, text, text);
drop function organization_number;
alter table serials drop column organization_id;
alter table devices drop column organization_id, drop column title, drop column location, drop column tags,
    drop column version;
drop trigger audit_refuse on audit;
delete from audit where organization_id <> 1;
alter table audit drop constraint audit_pkey, drop column organization_id, add primary key (n);
create index on audit (subject, n);
create trigger audit_refuse before update or delete or truncate on audit
    for each statement execute function audit_refuse();
create or replace function audit_append() returns trigger language plpgsql as $$
declare
    last audit;
begin
    perform pg_advisory_xact_lock(1635083369);
    select * into last from audit order by n desc limit 1;
    new.n := coalesce(last.n, 0) + 1;
    new.at := clock_timestamp();
    new.login := session_user;
    new.hash := audit_hash(coalesce(last.hash, ''), new);
    return new;
end $$;
create function audit_faults() returns setof bigint language sql stable as $$
    select (e).n
      from (select a as e, lag(a.n, 1, 0::bigint) over chain as before, lag(a.hash, 1, ''::bytea) over chain as hash
              from audit a window chain as (order by a.n)) events
     where (e).n <> before + 1 or (e).hash is distinct from audit_hash(hash, e)
     order by 1
$$;
drop function audit_seed;
drop table api_keys, sessions, invitations, memberships, users, organizations;
