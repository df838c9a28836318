-- signatures of records; what an organization demands of passwords, idle sessions and a second person; acts that wait for one
-- depends: 0037_corrections

-- migrate: apply

-- What an organization demands of its people. Without a row: nothing of this.
create table policies (
    organization_id integer primary key references organizations,
    idle_minutes    integer check (idle_minutes between 1 and 1440),
    password_days   integer check (password_days between 1 and 3650),
    passwords_kept  integer not null default 0 check (passwords_kept between 0 and 10),
    meanings        text[]  not null default '{}' check (cardinality(meanings) <= 20),
    second_person   text[]  not null default '{}'
                        check (second_person <@ array['rules', 'deviations', 'samples', 'setpoints']),
    waiting_hours   integer not null default 72 check (waiting_hours between 1 and 720)
);

comment on column policies.idle_minutes is 'a session in which nobody does anything ends after this; null: never';
comment on column policies.password_days is 'the age at which a password may only be changed; null: none';
comment on column policies.passwords_kept is 'how many former passwords may not be taken again';
comment on column policies.meanings is 'meanings of signatures beside those that all have';
comment on column policies.second_person is 'acts that another person confirms before they take effect';
comment on column policies.waiting_hours is 'how long such an act waits';

-- Accounts.

alter table users add column password_at timestamptz not null default now();
alter table sessions
    add column seen_at   timestamptz not null default now(),
    add column signed_at timestamptz;

comment on column users.password_at is 'when the person chose the password';
comment on column sessions.seen_at is 'when the person did something last: not when a page asked anew by itself';
comment on column sessions.signed_at is 'the last signature of the session; null: the next one takes both components';

create table former_passwords (
    user_id       integer     not null references users,
    password_hash text        not null,
    until         timestamptz not null default clock_timestamp(),
    primary key (user_id, until)
);

-- The same password hashed anew is no new one: api.password_rehash says so.
create function users_password() returns trigger language plpgsql as $$
begin
    if current_setting('biogate.rehash', true) is distinct from 'on' then
        new.password_at := now();
        insert into former_passwords (user_id, password_hash) values (old.user_id, old.password_hash);
        delete from former_passwords f
         where f.user_id = old.user_id
           and f.until < (select min(n.until) from (select until from former_passwords where user_id = old.user_id
                                                     order by until desc limit 10) n);
    end if;
    return new;
end $$;

create trigger users_password before update of password_hash on users
    for each row when (new.password_hash <> old.password_hash) execute function users_password();

-- What all organizations of a person demand: the strictest.
create function user_policy(user_id_ integer, out idle_minutes integer, out password_days integer, out passwords_kept integer)
language sql stable as $$
    select min(p.idle_minutes), min(p.password_days), coalesce(max(p.passwords_kept), 0)
      from memberships m join policies p using (organization_id) where m.user_id = user_id_
$$;

-- Records. Their canonical form is JSON with sorted keys and no blanks, as Python's json.dumps(sort_keys=True,
-- separators=(",", ":"), ensure_ascii=False) writes it; measured values are texts in it, as they have many ways to be written.

create function record_json(it jsonb) returns text language plpgsql immutable strict parallel safe as $$
begin
    return case jsonb_typeof(it)
        when 'object' then (select '{' || coalesce(string_agg(to_json(e.key)::text || ':' || record_json(e.value), ','
                                                              order by e.key collate "C"), '') || '}'
                              from jsonb_each(it) e)
        when 'array' then (select '[' || coalesce(string_agg(record_json(e.value), ',' order by e.n), '') || ']'
                             from jsonb_array_elements(it) with ordinality as e (value, n))
        else it::text end;
end $$;

create function record_time(at timestamptz) returns text language sql immutable strict parallel safe as $$
    select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

create function record_digest(form text) returns text language sql immutable strict parallel safe as $$
    select encode(sha256(convert_to(form, 'UTF8')), 'hex')
$$;

-- A kind of record that can be signed is a function record_form_<kind>(organization, reference), which makes an object of
-- stored rows, with `version`; null: there is no such record. Another kind is another such function, and nothing else.

create function record_form_report(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', 1, 'report', p.kind, 'run', r.name, 'title', p.title, 'subtitle', p.subtitle,
        'begins', record_time(p.begins), 'ends', record_time(p.ends), 'template', p.template,
        'template_version', p.template_version, 'made_by', p.made_by, 'made_at', record_time(p.made_at),
        'document_sha256', encode(sha256(p.document), 'hex'), 'html_sha256', encode(sha256(p.html), 'hex'),
        'pdf_sha256', encode(sha256(p.pdf), 'hex'))
      from reports p left join runs r using (run_id)
     where p.organization_id = organization_ and p.report_id::text = reference_
$$;

create function record_form_sample(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', s.version, 'act', s.act, 'device', d.name, 'taken_at', record_time(s.taken_at), 'location', s.location,
        'note', s.note, 'status', s.status, 'withdrawn', s.withdrawn, 'source', s.source, 'who', s.who, 'why', s.why,
        'created_at', record_time(s.created_at),
        'analytes', (select coalesce(jsonb_agg(jsonb_build_object(
                            'analyte', a.analyte, 'value', a.value::text, 'reading', a.reading, 'unit', a.unit,
                            'method', a.method, 'status', a.status, 'measured_at', record_time(a.measured_at),
                            'measured_by', a.measured_by, 'approved_at', record_time(a.approved_at),
                            'approved_by', a.approved_by) order by a.analyte collate "C"), '[]')
                       from lab_analytes a where a.lab_sample_id = s.lab_sample_id))
      from lab_samples s join devices d using (device_id)
     where s.organization_id = organization_ and d.organization_id = organization_ and s.sample = reference_
       and s.superseded_at is null
$$;

create function record_form_deviation(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', v.version, 'title', v.title, 'description', v.description, 'severity', v.severity, 'state', v.state,
        'tags', to_jsonb(v.tags), 'members', v.members, 'hold', v.hold_id, 'opened_by', v.opened_by,
        'opened_at', record_time(v.opened_at), 'closed_at', record_time(v.closed_at),
        'links', (select coalesce(jsonb_agg(jsonb_build_object(
                         'link', l.link_id, 'type', l.type, 'kind', l.kind, 'reference', l.reference, 'who', l.who,
                         'why', l.why, 'linked_at', record_time(l.linked_at), 'withdrawn_at', record_time(l.withdrawn_at))
                         order by l.link_id), '[]')
                    from deviation_links l where l.deviation_id = v.deviation_id),
        'comments', (select coalesce(jsonb_agg(jsonb_build_object(
                            'comment', c.comment_id, 'version', c.version, 'text', c.text, 'who', c.who,
                            'at', record_time(c.at)) order by c.comment_id, c.version), '[]')
                       from deviation_comments c where c.deviation_id = v.deviation_id),
        'attachments', (select coalesce(jsonb_agg(jsonb_build_object(
                               'attachment', a.attachment_id, 'name', a.name, 'media_type', a.media_type,
                               'sha256', encode(sha256(a.content), 'hex'), 'who', a.who,
                               'attached_at', record_time(a.attached_at)) order by a.attachment_id), '[]')
                          from deviation_attachments a where a.deviation_id = v.deviation_id))
      from deviations v where v.organization_id = organization_ and v.deviation = reference_
$$;

-- A rule that is made again under a name is another rule.
create function record_form_rule(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object('version', r.version, 'rule', r.rule_id, 'definition', r.definition)
      from alarm_rules r where r.organization_id = organization_ and r.name = reference_ and r.removed_at is null
$$;

-- Null: there is no such record, or no such kind.
create function record_form(organization_ integer, record_ text) returns text language plpgsql stable as $$
declare
    kind text := split_part(record_, '/', 1);
    form jsonb;
begin
    if kind !~ '^[a-z]{1,30}$' or to_regprocedure(format('public.record_form_%s(integer, text)', kind)) is null then
        return null;
    end if;
    execute format('select public.record_form_%s($1, $2)', kind)
       into form using organization_, substr(record_, length(kind) + 2);
    return record_json(form || jsonb_build_object('record', record_, 'organization', organization_));
end $$;

-- What the audit trail calls a record.
create function record_subject(record_ text) returns text language sql immutable as $$
    select case when starts_with(record_, 'rule/') then 'alarm-' || record_ else record_ end
$$;

create table signatures (
    signature_id    bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    record          text        not null check (char_length(record) <= 330),
    version         integer     not null,
    digest          text        not null check (digest = record_digest(form)),
    meaning         text        not null,
    name            text        not null,
    who             text        not null,
    user_id         integer     not null references users,
    at              timestamptz not null,
    form            text        not null,
    text            text        not null
);

create index on signatures (organization_id, record, signature_id);
create unique index on signatures (user_id, record, digest, meaning);

comment on column signatures.form is 'the canonical form of the record as it was signed';
comment on column signatures.text is 'the signature: canonical JSON, also in the audit trail as `new` of its event';

create function signatures_kept() returns trigger language plpgsql as $$
begin
    raise exception 'what was signed stays signed' using errcode = 'insufficient_privilege';
end $$;

create trigger signatures_kept before update or delete or truncate on signatures
    for each statement execute function signatures_kept();

-- An act that waits for another person. Its request has what is done then.
create table pending_acts (
    act_id          bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    kind            text        not null check (kind in ('rules', 'deviations', 'samples', 'setpoints')),
    subject         text        not null,
    request         jsonb       not null,
    who             text        not null,
    why             text        not null,
    asked_at        timestamptz not null default clock_timestamp(),
    expires_at      timestamptz not null,
    idempotency_key text,
    request_hash    bytea,
    state           text        not null default 'waiting' check (state in ('waiting', 'done', 'refused', 'withdrawn')),
    decided_by      text,
    decided_at      timestamptz,
    reason          text,
    result          jsonb,
    check ((state = 'waiting') = (decided_at is null)),
    unique (organization_id, who, idempotency_key)
);

create index on pending_acts (organization_id, act_id);
create index on pending_acts (organization_id, subject) where state = 'waiting';

comment on column pending_acts.subject is 'as the audit trail names it';

create function pending_acts_kept() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or old.state <> 'waiting'
       or to_jsonb(new) - '{state,decided_by,decided_at,reason,result}'::text[]
          <> to_jsonb(old) - '{state,decided_by,decided_at,reason,result}'::text[] then
        raise exception 'an act that waits for a second person is decided once, and never changed'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create trigger pending_acts_decided before update on pending_acts for each row execute function pending_acts_kept();
create trigger pending_acts_kept before delete or truncate on pending_acts
    for each statement execute function pending_acts_kept();

create function record_form_act(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object('version', 1, 'act', p.kind, 'subject', p.subject, 'request', p.request, 'who', p.who,
                              'why', p.why, 'asked_at', record_time(p.asked_at))
      from pending_acts p where p.organization_id = organization_ and p.act_id::text = reference_
$$;

-- Who signs: the person of a session whose password was compared with this hash. email_: what the person typed, which the
-- first signature of a session takes. Raises object_not_in_prerequisite_state, BG403.
create function signer(organization_ integer, session_ bigint, password_hash_ text, email_ text) returns users
language plpgsql as $$
declare
    person users;
    at_ timestamptz;
begin
    select u.* into person from sessions s join users u using (user_id)
     where s.session_id = session_ and s.ended_at is null and s.expires_at > now() and not u.disabled
       and u.password_hash = password_hash_;
    if not found then
        raise exception 'the session has ended or the password was changed meanwhile: log in again'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    select s.signed_at into at_ from sessions s where s.session_id = session_ for update;
    if at_ is null and lower(email_) is distinct from person.email then
        raise exception 'the first signature of a session takes e-mail and password' using errcode = 'BG403';
    elsif not exists (select from memberships m where m.organization_id = organization_ and m.user_id = person.user_id) then
        raise exception 'you are no member any more' using errcode = 'BG403';
    elsif not person.verified then
        raise exception 'nobody has verified that % is yours: who runs the installation does that before you sign', person.email
            using errcode = 'BG403';
    end if;
    return person;
end $$;

-- Signs a record as it is now, whose digest the signer has seen. Returns the number of the signature. Raises no_data_found,
-- BG412 if it is another digest, object_not_in_prerequisite_state if the person has said the same of it already.
create function signature_put(
    organization_ integer, session_ bigint, password_hash_ text, email_ text, record_ text, digest_ text, meaning_ text
) returns bigint language plpgsql as $$
declare
    person users;
    form_ text;
    at_ timestamptz;
    text_ text;
    id bigint;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    person := signer(organization_, session_, password_hash_, email_);
    form_ := record_form(organization_, record_);
    if form_ is null then
        raise exception 'there is no record %', record_ using errcode = 'no_data_found';
    elsif record_digest(form_) <> digest_ then
        raise exception '% was changed since you read it', record_ using errcode = 'BG412';
    elsif exists (select from signatures s where s.user_id = person.user_id and s.record = record_ and s.digest = digest_
                     and s.meaning = meaning_) then
        raise exception 'you have signed % as % already', record_, meaning_
            using errcode = 'object_not_in_prerequisite_state';
    elsif meaning_ <> all (array['authored', 'reviewed', 'approved', 'rejected']
                           || coalesce((select p.meanings from policies p where p.organization_id = organization_), '{}')) then
        raise exception 'your organization has no signature that means %', meaning_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    at_ := clock_timestamp();
    text_ := record_json(jsonb_build_object(
        'at', record_time(at_), 'digest', digest_, 'kind', 'biogate signature 1', 'meaning', meaning_, 'name', person.name,
        'organization', organization_, 'record', record_, 'who', person.email));
    insert into signatures (organization_id, record, version, digest, meaning, name, who, user_id, at, form, text)
    values (organization_, record_, (form_::jsonb ->> 'version')::integer, digest_, meaning_, person.name, person.email,
            person.user_id, at_, form_, text_)
    returning signature_id into id;
    update sessions set signed_at = at_ where session_id = session_;
    insert into audit (organization_id, who, action, subject, new, why)
    values (organization_, account_who(person.user_id), 'signature', record_subject(record_), text_::jsonb, meaning_);
    return id;
end $$;

-- For the API.

create view api.policies as
select * from public.policies where organization_id = (select api.organization());

create view api.signatures as
select signature_id, organization_id, record, version, digest, meaning, name, who, at, form, text
  from public.signatures where organization_id = (select api.organization());

-- `state`: nobody is there to write that one has expired.
create view api.pending_acts as
select p.act_id, p.organization_id, p.kind, p.subject, p.request, p.who, p.why, p.asked_at, p.expires_at, p.idempotency_key,
       p.request_hash,
       case when p.state = 'waiting' and p.expires_at <= now() then 'expired' else p.state end as state,
       p.decided_by, p.decided_at, p.reason, p.result
  from public.pending_acts p where p.organization_id = (select api.organization());

-- What a record is now; no digest: there is none.
create function api.record_state(record_ text) returns table (digest text, version integer, form text)
language sql stable security definer set search_path = public, pg_temp as $$
    select record_digest(f), (f::jsonb ->> 'version')::integer, f from record_form(api.organization(), record_) f
$$;

-- The first change of a record after a time, by the audit trail.
create function api.record_changed(record_ text, since_ timestamptz) returns timestamptz
language sql stable security definer set search_path = public, pg_temp as $$
    select a.at from audit a
     where a.organization_id = api.organization() and a.subject = record_subject(record_) and a.at > since_
       and a.action <> 'signature' and a.action not like 'second person %'
     order by a.n limit 1
$$;

-- What it takes to sign in a session: its account, whether it was signed in already, whether somebody has logged in to the
-- account from that network, and the most that any account's hash costs. No row: the session has ended.
create function api.session_signer(session_id_ bigint, network_ text)
returns table (user_id integer, email text, name text, password_hash text, has_signed boolean, known boolean, rounds integer)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.user_id, u.email, u.name, password_shade(u.password_hash), s.signed_at is not null,
           exists (select from sessions k where k.user_id = u.user_id and k.network = network_),
           (select max(password_rounds(m.password_hash)) from users m)
      from sessions s join users u using (user_id)
     where s.session_id = session_id_ and s.ended_at is null and s.expires_at > now() and not u.disabled
$$;

create function api.signature_put(
    session_ bigint, password_hash_ text, email_ text, record_ text, digest_ text, meaning_ text
) returns bigint language sql security definer set search_path = public, pg_temp as $$
    select public.signature_put(api.organization(), session_, password_hash_, email_, record_, digest_, meaning_)
$$;

-- What can come often is in the trail in sums.
create function api.signature_failed(session_ bigint, record_ text, address_ text) returns void
language sql security definer set search_path = public, pg_temp as $$
    select audit_sum(api.organization(), account_who(u.user_id), 'signature failed', 'user/' || u.email,
                     jsonb_build_object('address', address_, 'record', record_), 'wrong e-mail or password')
      from sessions s join users u using (user_id) where s.session_id = session_
$$;

create function api.policy_put(policy_ jsonb, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o policies;
    n policies;
begin
    perform pg_advisory_xact_lock(1635083369, org);
    select * into o from policies p where p.organization_id = org;
    n := jsonb_populate_record(null::policies, policy_ || jsonb_build_object('organization_id', org));
    if o = n then
        return;
    end if;
    insert into policies select n.* on conflict (organization_id) do update
       set idle_minutes = excluded.idle_minutes, password_days = excluded.password_days,
           passwords_kept = excluded.passwords_kept, meanings = excluded.meanings, second_person = excluded.second_person,
           waiting_hours = excluded.waiting_hours;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select org, who, 'policy change', 'organization/' || name,
           case when o.organization_id is not null then to_jsonb(o) - 'organization_id' end, to_jsonb(n) - 'organization_id',
           why_
      from organizations where organization_id = org;
    perform notice_send('biogate_accounts', '');
end $$;

-- As api.principal, with what the organizations of the person demand. idle: the session is over, as nobody has done anything
-- in it. idle_minutes null: it never is.
create function api.session_principal(token_hash_ bytea, session_id_ bigint, organization_ text)
returns table (session_id bigint, kind text, expires_at timestamptz, user_id integer, email text, organization_id integer,
               organization text, role text, idle_minutes integer, idle boolean, has_expired boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select p.*, d.idle_minutes, coalesce(s.seen_at < now() - d.idle_minutes * interval '1 minute', false),
           coalesce(u.password_at < now() - d.password_days * interval '1 day', false)
      from api.principal(token_hash_, session_id_, organization_) p
      join sessions s using (session_id)
      join users u on u.user_id = p.user_id
     cross join lateral user_policy(p.user_id) d
$$;

create function api.session_seen(session_id_ bigint) returns void
language sql security definer set search_path = public, pg_temp as $$
    update sessions set seen_at = now() where session_id = session_id_ and ended_at is null
$$;

-- Ends a session in which nobody has done anything for as long as an organization of the person allows.
create function api.session_idle_end(session_id_ bigint) returns void
language sql security definer set search_path = public, pg_temp as $$
    select sessions_end(s.user_id, s.session_id, 'somebody', 'session end',
                        format('nobody did anything for %s minutes', d.idle_minutes))
      from sessions s cross join lateral user_policy(s.user_id) d
     where s.session_id = session_id_ and s.seen_at < now() - d.idle_minutes * interval '1 minute'
$$;

-- The hashes that a new password of the person may not fit: that of today, and as many former ones as are demanded.
create function api.passwords_taken(user_id_ integer) returns setof text
language sql stable security definer set search_path = public, pg_temp as $$
    select password_shade(u.password_hash) from users u cross join lateral user_policy(user_id_) d
     where u.user_id = user_id_ and d.passwords_kept > 0
     union all
    (select password_shade(f.password_hash) from former_passwords f where f.user_id = user_id_
      order by f.until desc limit (select d.passwords_kept from user_policy(user_id_) d))
$$;

create or replace function api.password_rehash(user_id_ integer, old_hash_ text, password_hash_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform set_config('biogate.rehash', 'on', true);
    update users set password_hash = password_hash_ where user_id = user_id_ and password_hash = old_hash_;
    perform set_config('biogate.rehash', '', true);
end $$;

-- Acts for which an organization may want a second person. The functions of the API refuse them then; what they did goes on
-- in `public`, where the confirmation calls it.

create function second_person_demanded(kind_ text) returns void language plpgsql stable as $$
begin
    if exists (select from policies p where p.organization_id = api.organization() and kind_ = any (p.second_person)) then
        raise exception 'a second person has to confirm this: ask again' using errcode = 'BG202';
    end if;
end $$;

alter function api.alarm_rule_put(text, jsonb, integer, text, text) set schema public;
alter function api.alarm_rule_remove(text, integer, text, text) set schema public;
alter function api.deviation_move(text, text, boolean, integer, text, text) set schema public;
alter function api.command_request(text, text, jsonb, jsonb, bigint, timestamptz, text, text, text, bytea) set schema public;
alter function alarm_rule_put(text, jsonb, integer, text, text) security invoker reset search_path;
alter function alarm_rule_remove(text, integer, text, text) security invoker reset search_path;
alter function deviation_move(text, text, boolean, integer, text, text) security invoker reset search_path;
alter function command_request(text, text, jsonb, jsonb, bigint, timestamptz, text, text, text, bytea)
    security invoker reset search_path;
revoke all on function alarm_rule_put, alarm_rule_remove, deviation_move, command_request from biogate_api;

create function api.alarm_rule_put(name_ text, definition_ jsonb, version_ integer, who text, why_ text) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform second_person_demanded('rules');
    return public.alarm_rule_put(name_, definition_, version_, who, why_);
end $$;

create function api.alarm_rule_remove(name_ text, version_ integer, who text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform second_person_demanded('rules');
    perform public.alarm_rule_remove(name_, version_, who, why_);
end $$;

create function api.deviation_move(deviation_ text, state_ text, end_hold boolean, version_ integer, who text, why text)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if state_ = 'closed' then
        perform second_person_demanded('deviations');
    end if;
    perform public.deviation_move(deviation_, state_, end_hold, version_, who, why);
end $$;

create function api.command_request(
    device_ text, name_ text, parameters_ jsonb, precondition_ jsonb, boot_ bigint, expires_at_ timestamptz,
    who text, why_ text, idempotency_key_ text, request_hash_ bytea, out command_id_ uuid, out is_new boolean
) language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if name_ = 'setpoint' then
        perform second_person_demanded('setpoints');
    end if;
    select c.command_id_, c.is_new into command_id_, is_new
      from public.command_request(device_, name_, parameters_, precondition_, boot_, expires_at_, who, why_,
                                  idempotency_key_, request_hash_) c;
end $$;

-- Whichever act it is, no analyte becomes approved by it that was not so before, in the version before.
create or replace function api.lab_sample_put(
    device_ text, sample_ text, version_ integer, act_ text, said jsonb, analytes_ jsonb, source_ text, who text, why_ text
) returns text language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if exists (select from jsonb_to_recordset(analytes_) as a (analyte text, status text, approved_by text)
                where a.status = 'approved'
                  and not exists (select from lab_samples s join lab_analytes b using (lab_sample_id)
                                   where s.organization_id = api.organization() and s.sample = sample_
                                     and s.superseded_at is null and b.analyte = a.analyte
                                     and b.approved_by = a.approved_by)) then
        perform second_person_demanded('samples');
    end if;
    return public.lab_sample_put(api.organization(), api.device_owned(device_), sample_, version_, act_, said, analytes_,
                                 source_, null, who, why_);
end $$;

-- Returns the number of the act; the same idempotency key with the same request is the same act.
create function api.pending_act_ask(
    kind_ text, subject_ text, request_ jsonb, who_ text, why_ text, idempotency_key_ text, request_hash_ bytea
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    it pending_acts;
begin
    perform pg_advisory_xact_lock(1635083369, org);
    select * into it from pending_acts p
     where p.organization_id = org and p.who = who_ and p.idempotency_key = idempotency_key_;
    if found and it.request_hash = request_hash_ then
        return it.act_id;
    elsif found then
        raise exception 'this Idempotency-Key was used for another request' using errcode = 'object_not_in_prerequisite_state';
    elsif exists (select from pending_acts p where p.organization_id = org and p.subject = subject_ and p.kind = kind_
                     and p.request = request_ and p.state = 'waiting' and p.expires_at > now()) then
        raise exception 'this waits for a second person already' using errcode = 'object_not_in_prerequisite_state';
    elsif (select count(*) from pending_acts p
            where p.organization_id = org and p.state = 'waiting' and p.expires_at > now()) >= 1000 then
        raise exception 'a thousand acts of your organization wait for a second person: decide on some of them'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into pending_acts (organization_id, kind, subject, request, who, why, expires_at, idempotency_key, request_hash)
    values (org, kind_, subject_, request_, who_, why_,
            now() + coalesce((select p.waiting_hours from policies p where p.organization_id = org), 72) * interval '1 hour',
            idempotency_key_, request_hash_)
    returning * into it;
    insert into audit (organization_id, who, action, subject, new, why)
    values (org, who_, 'second person ask', subject_,
            jsonb_build_object('act', it.act_id, 'kind', kind_, 'request', request_), why_);
    return it.act_id;
end $$;

-- The act, locked, if it can still be decided. Raises no_data_found, object_not_in_prerequisite_state.
create function pending_act_open(act_ bigint) returns pending_acts language plpgsql as $$
declare
    it pending_acts;
begin
    perform pg_advisory_xact_lock(1635083369, api.organization());
    select * into it from pending_acts p where p.act_id = act_ and p.organization_id = api.organization();
    if not found then
        raise exception 'there is no act %', act_ using errcode = 'no_data_found';
    elsif it.state <> 'waiting' then
        raise exception 'act % is %', act_, it.state using errcode = 'object_not_in_prerequisite_state';
    elsif it.expires_at <= now() then
        raise exception 'act % has expired: ask for it again', act_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    return it;
end $$;

-- Whether a person asked for the act, or made the key that did. E-mail addresses have no blanks.
create function pending_act_is_of(it pending_acts, email_ text) returns boolean language sql stable as $$
    select split_part(it.who, ' ', 1) = email_
        or exists (select from api_keys k where it.who = format('key %s (%s)', k.key_id, k.name)
                      and split_part(k.created_by, ' ', 1) = email_)
$$;

-- Does what was asked for, in the name of who confirms it; the reason names who asked for it.
create function pending_act_do(it pending_acts, who text) returns jsonb language plpgsql as $$
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

-- Another person signs the act, and it is done. Raises as signature_put, BG403, and what the act itself raises.
create function api.pending_act_confirm(
    act_ bigint, session_ bigint, password_hash_ text, email_ text, digest_ text, why_ text
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    it pending_acts := pending_act_open(act_);
    person users := signer(it.organization_id, session_, password_hash_, email_);
    done jsonb;
begin
    if pending_act_is_of(it, person.email) then
        raise exception 'you have asked for this yourself: another person confirms it' using errcode = 'BG403';
    elsif not exists (select from memberships m where m.organization_id = it.organization_id
                         and m.user_id = person.user_id and m.role in ('engineer', 'admin')) then
        raise exception 'this is for the role engineer or higher' using errcode = 'BG403';
    end if;
    perform signature_put(it.organization_id, session_, password_hash_, email_, 'act/' || act_, digest_, 'approved');
    done := pending_act_do(it, account_who(person.user_id));
    update pending_acts
       set state = 'done', decided_by = account_who(person.user_id), decided_at = clock_timestamp(), reason = why_, result = done
     where act_id = act_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (it.organization_id, account_who(person.user_id), 'second person confirm', it.subject,
            jsonb_build_object('act', act_, 'state', 'waiting'), jsonb_build_object('act', act_, 'state', 'done'), why_);
end $$;

-- Another person refuses, or who asked withdraws.
create function api.pending_act_refuse(act_ bigint, who_ text, why_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    it pending_acts := pending_act_open(act_);
    becomes text := case when it.who = who_ then 'withdrawn' else 'refused' end;
begin
    update pending_acts set state = becomes, decided_by = who_, decided_at = clock_timestamp(), reason = why_
     where act_id = act_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (it.organization_id, who_, 'second person ' || case becomes when 'refused' then 'refuse' else 'withdraw' end,
            it.subject, jsonb_build_object('act', act_, 'state', 'waiting'),
            jsonb_build_object('act', act_, 'state', becomes), why_);
end $$;

revoke all on all functions in schema api from public;
grant select on api.policies, api.signatures, api.pending_acts to biogate_api;
grant execute on function api.record_state, api.record_changed, api.session_signer, api.signature_put, api.signature_failed, api.policy_put,
    api.session_principal, api.session_seen, api.session_idle_end, api.passwords_taken, api.alarm_rule_put,
    api.alarm_rule_remove, api.deviation_move, api.command_request, api.pending_act_ask, api.pending_act_confirm,
    api.pending_act_refuse to biogate_api;

-- In the name of who has shown a credential: see 0034_roles.sql.
create trigger a_written_by before insert on signatures for each row execute function written_by('who');
create trigger a_written_by before insert on pending_acts for each row execute function written_by('who');

-- migrate: rollback

drop function api.pending_act_refuse, api.pending_act_confirm, api.pending_act_ask, api.command_request, api.deviation_move,
    api.alarm_rule_remove, api.alarm_rule_put, api.passwords_taken, api.session_idle_end, api.session_seen,
    api.session_principal, api.policy_put, api.signature_failed, api.signature_put, api.session_signer, api.record_changed, api.record_state;
drop view api.pending_acts, api.signatures, api.policies;
drop function pending_act_do, pending_act_is_of, pending_act_open;
alter function alarm_rule_put(text, jsonb, integer, text, text) set schema api;
alter function alarm_rule_remove(text, integer, text, text) set schema api;
alter function deviation_move(text, text, boolean, integer, text, text) set schema api;
alter function command_request(text, text, jsonb, jsonb, bigint, timestamptz, text, text, text, bytea) set schema api;
alter function api.alarm_rule_put(text, jsonb, integer, text, text) security definer set search_path = public, pg_temp;
alter function api.alarm_rule_remove(text, integer, text, text) security definer set search_path = public, pg_temp;
alter function api.deviation_move(text, text, boolean, integer, text, text) security definer set search_path = public, pg_temp;
alter function api.command_request(text, text, jsonb, jsonb, bigint, timestamptz, text, text, text, bytea)
    security definer set search_path = public, pg_temp;
grant execute on function api.alarm_rule_put, api.alarm_rule_remove, api.deviation_move, api.command_request to biogate_api;
create or replace function api.lab_sample_put(
    device_ text, sample_ text, version_ integer, act_ text, said jsonb, analytes_ jsonb, source_ text, who text, why_ text
) returns text language sql security definer set search_path = public, pg_temp as $$
    select public.lab_sample_put(api.organization(), api.device_owned(device_), sample_, version_, act_, said, analytes_,
                                 source_, null, who, why_)
$$;
create or replace function api.password_rehash(user_id_ integer, old_hash_ text, password_hash_ text) returns void
language sql security definer set search_path = public, pg_temp as $$
    update users set password_hash = password_hash_ where user_id = user_id_ and password_hash = old_hash_
$$;
drop function second_person_demanded, signature_put, signer, record_form_act;
drop table pending_acts, signatures;
drop function pending_acts_kept, signatures_kept, record_subject, record_form, record_form_rule, record_form_deviation,
    record_form_sample, record_form_report, record_digest, record_time, record_json, user_policy;
drop trigger users_password on users;
drop function users_password;
drop table former_passwords, policies;
alter table sessions drop column signed_at, drop column seen_at;
alter table users drop column password_at;
