-- the life of an account: who vouches for its address, how it is disabled and reset, its log-ins in the audit trail
-- depends: 0015_intake

-- migrate: apply

-- Who is it: the name in the audit trail says whether anybody has vouched for the address.

alter table users
    add column verified boolean not null default true,
    add column last_login_at timestamptz;

comment on column users.verified is 'somebody who runs the installation vouches that the address is this person''s';

update users u set verified = false
 where exists (select from audit a where a.organization_id = 1 and a.subject = 'user/' || u.email
                  and a.action = 'account create' and a.why = 'registered');

create function account_who(user_id_ integer) returns text language sql stable as $$
    select email || case when verified then '' else ' (unverified)' end from users where user_id = user_id_
$$;

-- A log-in changes its user's row, and changes nothing of what the API remembers.
drop trigger accounts_notify on users;
create trigger accounts_notify after update of email, disabled, verified or delete on users
    for each statement execute function accounts_notify();

-- So that a log-in takes as long whatever the account's hash, or none, costs.
create function password_rounds(password_hash text) returns integer language sql immutable as $$
    select substring(password_hash from '^\$2[abxy]\$(\d\d)\$')::integer
$$;

create index users_rounds on users (password_rounds(password_hash));

alter table sessions
    add column network text not null default '',
    add column former_hash bytea,
    add column chain_key bytea not null default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

create index sessions_network on sessions (user_id, network);

comment on column sessions.network is 'the address, or of IPv6 the /64, that the log-in came from';
comment on column sessions.former_hash is 'of the refresh token that was exchanged last';
comment on column sessions.chain_key is
    'the next refresh token is the HMAC of the one before: a client that repeats an exchange gets the same answer';

create table password_resets (
    user_id    integer primary key references users,
    code_hash  bytea not null unique check (octet_length(code_hash) = 32),
    made_by    text not null,
    expires_at timestamptz not null
);

alter table invitations add column email text check (email = lower(email));

comment on column invitations.email is 'whom alone it is for; null: whoever has the code';

alter table organizations
    add column description text not null default '' check (char_length(description) <= 2000),
    add column contact     text not null default '' check (char_length(contact) <= 200);

-- The audit trail has what anybody can do often, such as to fail, in sums: the 1st, 10th, 100th … of an hour.
create table audit_sums (
    organization_id integer not null references organizations,
    who             text not null,
    action          text not null,
    subject         text not null,
    hour            timestamptz not null,
    times           bigint not null,
    primary key (organization_id, subject, action, who)
);

create function audit_sum(organization_ integer, who_ text, action_ text, subject_ text, new_ jsonb, why_ text)
returns void language plpgsql as $$
declare
    count bigint;
begin
    insert into audit_sums as s (organization_id, who, action, subject, hour, times)
    values (organization_, who_, action_, subject_, date_trunc('hour', now()), 1)
    on conflict (organization_id, subject, action, who) do update
       set times = case when s.hour = excluded.hour then s.times + 1 else 1 end, hour = excluded.hour
    returning times into count;
    if count::text ~ '^10*$' then
        insert into audit (organization_id, who, action, subject, new, why)
        values (organization_, who_, action_, subject_, new_ || jsonb_build_object('times', count), why_);
        delete from audit_sums where ctid in (
            select ctid from audit_sums where hour < now() - interval '1 day' for update skip locked);
    end if;
end $$;

-- What a person does with the account is in the trail of each organization that has the person as a member; of none,
-- in the first one's.
create function account_organizations(user_id_ integer) returns setof integer language sql stable as $$
    select organization_id from memberships where user_id = user_id_
     union
    select 1 where not exists (select from memberships where user_id = user_id_)
     order by 1
$$;

create function account_note(user_id_ integer, who text, action text, new_ jsonb, why text) returns void
language sql as $$
    insert into audit (organization_id, who, action, subject, new, why)
    select o, who, action, 'user/' || u.email, new_, why
      from users u, account_organizations(user_id_) o where u.user_id = user_id_ order by o
$$;

-- session_id_ null: all of that user.
create function sessions_end(user_id_ integer, session_id_ bigint, who text, action text, why text) returns bigint
language plpgsql as $$
declare
    ended bigint[];
begin
    with e as (
        update sessions set ended_at = now()
         where user_id = user_id_ and (session_id_ is null or session_id = session_id_) and ended_at is null
        returning session_id)
    select array_agg(session_id order by session_id) into ended from e;
    if ended is not null then
        perform account_note(user_id_, who, action, jsonb_build_object('sessions', ended), why);
    end if;
    return coalesce(cardinality(ended), 0);
end $$;

create function account_change(user_id_ integer, disabled_ boolean, verified_ boolean, who text, why text)
returns void language plpgsql as $$
declare
    o users;
begin
    perform from organizations where organization_id = 1 for no key update;
    select * into o from users where user_id = user_id_ for update;
    if not found then
        raise exception 'there is no account %', user_id_ using errcode = 'no_data_found';
    end if;
    if disabled_ and not o.disabled then
        if exists (select from memberships where user_id = user_id_ and organization_id = 1 and role = 'admin')
           and not exists (select from memberships m join users u using (user_id)
                            where m.organization_id = 1 and m.role = 'admin' and not u.disabled
                              and u.user_id <> user_id_) then
            raise exception 'the last admin of the organization that runs the installation cannot be disabled'
                using errcode = 'object_not_in_prerequisite_state';
        end if;
        perform sessions_end(user_id_, null, who, 'session end', why);
        update invitations set uses = 0
         where uses > 0 and invited_by in (o.email, o.email || ' (unverified)');
        delete from password_resets where user_id = user_id_;
    end if;
    update users set disabled = coalesce(disabled_, disabled), verified = coalesce(verified_, verified)
     where user_id = user_id_;
    if disabled_ <> o.disabled then
        perform account_note(user_id_, who, case when disabled_ then 'account disable' else 'account enable' end, null, why);
    end if;
    if verified_ <> o.verified then
        perform account_note(user_id_, who, case when verified_ then 'account verify' else 'account unverify' end, null, why);
    end if;
end $$;

create function password_reset_make(user_id_ integer, code_hash_ bytea, expires_at_ timestamptz, who text, why text)
returns void language plpgsql as $$
begin
    if not exists (select from users where user_id = user_id_) then
        raise exception 'there is no account %', user_id_ using errcode = 'no_data_found';
    elsif (select disabled from users where user_id = user_id_) then
        raise exception 'the account is disabled: enable it first' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into password_resets (user_id, code_hash, made_by, expires_at) values (user_id_, code_hash_, who, expires_at_)
    on conflict (user_id) do update
       set code_hash = excluded.code_hash, made_by = excluded.made_by, expires_at = excluded.expires_at;
    perform account_note(user_id_, who, 'password link', jsonb_build_object('expires_at', expires_at_), why);
end $$;

-- What the API may do.

create or replace view api.organizations as
select * from public.organizations where organization_id = (select api.organization());

create or replace view api.invitations as
select invitation_id, role, uses, invited_by, created_at, expires_at, email
  from public.invitations where organization_id = (select api.organization());

-- email: as the audit trail has it.
create or replace function api.principal(token_hash_ bytea, session_id_ bigint, organization_ text)
returns table (session_id bigint, kind text, expires_at timestamptz, user_id integer, email text,
               organization_id integer, organization text, role text)
language sql stable security definer set search_path = public, pg_temp as $$
    select s.session_id, s.kind, s.expires_at, u.user_id,
           u.email || case when u.verified then '' else ' (unverified)' end, m.organization_id, m.name, m.role
      from sessions s
      join users u using (user_id)
      left join lateral (
           select m.organization_id, o.name, m.role from memberships m join organizations o using (organization_id)
            where m.user_id = u.user_id and (organization_ is null or o.name = organization_)
            order by m.since, m.organization_id limit 1) m on true
     where (s.token_hash = token_hash_ and s.kind = 'browser' or s.session_id = session_id_ and s.kind = 'program')
       and s.ended_at is null and s.expires_at > now() and not u.disabled
$$;

-- Who wants to log in: always one row. user_id null: there is no such account. known: somebody has logged in to it from
-- that network before. rounds: the most that any account's hash costs.
create function api.log_in_account(email_ text, network_ text)
returns table (user_id integer, email text, name text, password_hash text, disabled boolean, known boolean, rounds integer)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.user_id, u.email, u.name, u.password_hash, u.disabled,
           exists (select from sessions s where s.user_id = u.user_id and s.network = network_),
           most.rounds
      from (select max(password_rounds(password_hash)) as rounds from users) most
      left join users u on u.email = lower(email_)
$$;

-- As session_open, with the trail.
create function api.log_in(
    user_id_ integer, password_hash_ text, kind_ text, family_hash_ bytea, token_hash_ bytea, expires_at_ timestamptz,
    agent_ text, address_ text, network_ text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
    failures bigint;
begin
    perform from users where user_id = user_id_ for no key update;  -- one after the other: each changes the row
    id := api.session_open(user_id_, password_hash_, kind_, family_hash_, token_hash_, expires_at_, agent_);
    if id is null then
        return null;
    end if;
    update sessions set network = network_ where session_id = id;
    update users set last_login_at = now() where user_id = user_id_;
    select max(times) into failures from audit_sums s join users u on s.subject = 'user/' || u.email
     where u.user_id = user_id_ and s.action = 'log-in failed' and s.hour = date_trunc('hour', now());
    perform account_note(user_id_, account_who(user_id_), 'log in',
        jsonb_build_object('session', id, 'kind', kind_, 'address', address_, 'failures', coalesce(failures, 0)), 'asked for');
    delete from audit_sums s using users u
     where u.user_id = user_id_ and s.subject = 'user/' || u.email and s.action = 'log-in failed';
    return id;
end $$;

-- user_id_ null: there is no such account.
create function api.log_in_failed(user_id_ integer, address_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if user_id_ is null then
        perform audit_sum(1, 'somebody', 'log-in failed', 'user/unknown', jsonb_build_object('address', address_), 'no such account');
    end if;
    perform audit_sum(o, 'somebody', 'log-in failed', 'user/' || u.email, jsonb_build_object('address', address_), 'wrong password')
       from users u, account_organizations(user_id_) o where u.user_id = user_id_ order by o;
end $$;

-- The same password, hashed anew: no session ends by it.
create function api.password_rehash(user_id_ integer, old_hash_ text, password_hash_ text) returns void
language sql security definer set search_path = public, pg_temp as $$
    update users set password_hash = password_hash_ where user_id = user_id_ and password_hash = old_hash_
$$;

create or replace function api.password_change(user_id_ integer, old_hash_ text, password_hash_ text, keep_ bigint)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update users set password_hash = password_hash_ where user_id = user_id_ and password_hash = old_hash_;
    if not found then
        raise exception 'the password was changed meanwhile' using errcode = 'object_not_in_prerequisite_state';
    end if;
    update sessions set ended_at = now()
     where user_id = user_id_ and ended_at is null and session_id is distinct from keep_;
    delete from password_resets where user_id = user_id_;
    insert into audit (organization_id, who, action, subject, why)
    select 1, account_who(user_id_), 'password change', 'user/' || email, 'asked for' from users where user_id = user_id_;
end $$;

create function api.password_reset_make(user_id_ integer, code_hash_ bytea, expires_at_ timestamptz, who text, why text)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.only_first();
    perform public.password_reset_make(user_id_, code_hash_, expires_at_, who, why);
end $$;

create function api.password_reset_of(code_hash_ bytea) returns table (user_id integer, email text, name text)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.user_id, u.email, u.name from password_resets r join users u using (user_id)
     where r.code_hash = code_hash_ and r.expires_at > now() and not u.disabled
$$;

-- Uses a link up. Raises no_data_found if it is none.
create function api.password_reset_use(code_hash_ bytea, password_hash_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    r password_resets;
begin
    delete from password_resets p using users u
     where p.code_hash = code_hash_ and p.expires_at > now() and u.user_id = p.user_id and not u.disabled
    returning p.* into r;
    if not found then
        raise exception 'this link is none, was used, or has expired' using errcode = 'no_data_found';
    end if;
    update users set password_hash = password_hash_ where user_id = r.user_id;
    perform account_note(r.user_id, account_who(r.user_id), 'password reset', null, 'link of ' || r.made_by);
    perform sessions_end(r.user_id, null, account_who(r.user_id), 'session end', 'the password was reset');
end $$;

create function api.accounts(after_ integer, limit_ integer)
returns table (user_id integer, email text, name text, disabled boolean, verified boolean, created_at timestamptz,
               last_login_at timestamptz, organizations text)
language plpgsql stable security definer set search_path = public, pg_temp as $$
begin
    perform api.only_first();
    return query
    select u.user_id, u.email, u.name, u.disabled, u.verified, u.created_at, u.last_login_at,
           (select coalesce(jsonb_agg(jsonb_build_object('organization', o.name, 'role', m.role) order by o.name), '[]')
              from memberships m join organizations o using (organization_id) where m.user_id = u.user_id)::text
      from users u where u.user_id > after_ order by u.user_id limit limit_;
end $$;

-- Of what is null nothing changes.
create function api.account_change(user_id_ integer, disabled_ boolean, verified_ boolean, who text, why text)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.only_first();
    perform public.account_change(user_id_, disabled_, verified_, who, why);
end $$;

-- Whether somebody runs the installation, who can invite.
create function api.has_admin() returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
    select exists (select from memberships m join users u using (user_id)
                    where m.organization_id = 1 and m.role = 'admin' and not u.disabled)
$$;

create function api.log_out(user_id_ integer, session_id_ bigint) returns bigint
language sql security definer set search_path = public, pg_temp as $$
    select sessions_end(user_id_, session_id_, account_who(user_id_), 'log out', 'asked for')
$$;

create or replace function api.session_end(user_id_ integer, session_id_ bigint) returns bigint
language sql security definer set search_path = public, pg_temp as $$
    select sessions_end(user_id_, session_id_, account_who(user_id_), 'session end', 'asked for')
$$;

create function api.session_chain(family_hash_ bytea) returns bytea
language sql stable security definer set search_path = public, pg_temp as $$
    select chain_key from sessions where family_hash = family_hash_ and ended_at is null
$$;

-- A refresh token for the next one. The one before does the same for 45 s, as an answer may be lost and two may ask at
-- once; after that it is one that somebody has stolen, and the session ends.
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

-- Uses an invitation up. Raises no_data_found if it is none. One of the first organization that is for an address
-- vouches for it.
create or replace function api.invitation_use(user_id_ integer, code_hash_ bytea) returns text
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    i invitations;
    email_ text := (select email from users where user_id = user_id_);
begin
    update invitations set uses = uses - 1
     where code_hash = code_hash_ and uses > 0 and expires_at > now() and coalesce(email, email_) = email_
    returning * into i;
    if not found then
        raise exception 'this code is none, was used, is for another address, or has expired' using errcode = 'no_data_found';
    end if;
    insert into memberships (organization_id, user_id, role) values (i.organization_id, user_id_, i.role)
    on conflict do nothing;
    if not found then
        raise exception 'you are a member already' using errcode = 'object_not_in_prerequisite_state';
    end if;
    if i.email is not null and i.organization_id = 1 then
        update users set verified = true where user_id = user_id_;
    end if;
    insert into audit (organization_id, who, action, subject, new, why)
    values (i.organization_id, account_who(user_id_), 'member join', 'user/' || email_, jsonb_build_object('role', i.role),
            'invited by ' || i.invited_by);
    perform pg_notify('biogate_accounts', '');
    return (select name from organizations where organization_id = i.organization_id);
end $$;

-- Without a code that could be used, nobody learns which addresses have an account.
create or replace function api.account_create(email_ text, name_ text, password_hash_ text, code_hash_ bytea) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer;
begin
    if code_hash_ is not null and not exists (
        select from invitations
         where code_hash = code_hash_ and uses > 0 and expires_at > now() and coalesce(email, lower(email_)) = lower(email_)
    ) then
        raise exception 'this code is none, was used, is for another address, or has expired' using errcode = 'no_data_found';
    end if;
    insert into users (email, name, password_hash, verified) values (lower(email_), name_, password_hash_, false)
    returning user_id into id;
    insert into audit (organization_id, who, action, subject, why)
    values (1, account_who(id), 'account create', 'user/' || lower(email_), 'registered');
    if code_hash_ is not null then
        perform api.invitation_use(id, code_hash_);
    end if;
    return id;
end $$;

-- email_: whom alone it is for, or null.
create function api.invitation_make(
    role_ text, code_hash_ bytea, uses_ integer, expires_at_ timestamptz, email_ text, who text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer := api.invitation_create(role_, code_hash_, uses_, expires_at_, who);
begin
    update invitations set email = email_ where invitation_id = id;
    return id;
end $$;

create or replace function api.organization_create(user_id_ integer, name_ text, title_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id integer;
begin
    perform pg_advisory_xact_lock(1635083370, user_id_);
    if (select count(*) from memberships where user_id = user_id_ and role = 'admin') >= 10 then
        raise exception 'you are the admin of ten organizations, which is all one can be'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into organizations (name, title) values (name_, title_) returning organization_id into id;
    insert into memberships (organization_id, user_id, role) values (id, user_id_, 'admin');
    insert into audit (organization_id, who, action, subject, new, why)
    values (id, account_who(user_id_), 'organization create', 'organization/' || name_, to_jsonb(title_), 'asked for');
    perform pg_notify('biogate_accounts', '');
end $$;

create function api.organization_make(user_id_ integer, name_ text, title_ text, description_ text, contact_ text)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform api.organization_create(user_id_, name_, title_);
    update organizations set description = description_, contact = contact_ where name = name_;
end $$;

-- Of what is null nothing changes.
create function api.organization_describe(title_ text, description_ text, contact_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o organizations;
    n organizations;
begin
    select * into o from organizations where organization_id = api.organization() for update;
    update organizations
       set title = coalesce(title_, title), description = coalesce(description_, description),
           contact = coalesce(contact_, contact)
     where organization_id = api.organization() returning * into n;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select n.organization_id, who, 'organization change', 'organization/' || n.name,
           jsonb_build_object('title', o.title, 'description', o.description, 'contact', o.contact),
           jsonb_build_object('title', n.title, 'description', n.description, 'contact', n.contact), why
     where n.organization_id is not null;
end $$;

-- As in 0006_accounts.sql; an admin who is disabled does not count as one who stays.
create or replace function api.member_change(user_id_ integer, role_ text, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    was text;
begin
    perform from organizations where organization_id = api.organization() for no key update;  -- an event refers to it
    select role into was from memberships where organization_id = api.organization() and user_id = user_id_;
    if not found then
        raise exception 'there is no member %', user_id_ using errcode = 'no_data_found';
    elsif was = 'admin' and role_ is distinct from 'admin' and not exists (
        select from memberships m join users u using (user_id)
         where m.organization_id = api.organization() and m.role = 'admin' and m.user_id <> user_id_ and not u.disabled
    ) then
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
         where i.organization_id = api.organization() and i.uses > 0 and u.user_id = user_id_
           and i.invited_by in (u.email, u.email || ' (unverified)');
    end if;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select api.organization(), who, case when role_ is null then 'member remove' else 'member role' end,
           'user/' || email, to_jsonb(was), to_jsonb(role_), why
      from users where user_id = user_id_;
end $$;

-- A copy of data as a file: of one subject by the hour, in sums.
create function api.export_note(subject_ text, new_ jsonb, who text) returns void
language sql security definer set search_path = public, pg_temp as $$
    select audit_sum(api.organization(), who, 'export', subject_, new_, 'asked for')
$$;

revoke all on all functions in schema api from public;
grant execute on all functions in schema api to biogate_api;

-- migrate: rollback

drop function api.export_note, api.organization_describe, api.organization_make, api.invitation_make,
    api.session_chain, api.log_out, api.has_admin, api.account_change, api.accounts, api.password_reset_use,
    api.password_reset_of, api.password_reset_make, api.password_rehash, api.log_in_failed, api.log_in,
    api.log_in_account;
drop function password_reset_make, account_change, sessions_end, account_note, account_organizations, audit_sum;
drop table audit_sums, password_resets;
