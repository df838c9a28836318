-- deviations with links, comments and attachments; search by words; locations, device cards and the shift log
-- depends: 0029_samples

-- migrate: apply

create table deviations (
    deviation_id    bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    year            integer     not null,
    n               integer     not null,
    deviation       text        not null generated always as
                        ('DEV-' || year || '-' || lpad(n::text, greatest(4, length(n::text)), '0')) stored,
    title           text        not null check (char_length(title) between 1 and 200),
    description     text        not null default '' check (char_length(description) <= 20000),
    severity        text        not null check (severity in ('minor', 'major', 'critical')),
    state           text        not null default 'open' check (state in ('open', 'assessed', 'closed')),
    tags            text[]      not null default '{}' check (cardinality(tags) <= 32),
    members         jsonb       not null default '[]',
    hold_id         integer references retention_holds,
    version         integer     not null default 1,
    opened_by       text        not null,
    opened_at       timestamptz not null default now(),
    closed_at       timestamptz check ((closed_at is not null) = (state = 'closed')),
    unique (organization_id, deviation),
    unique (organization_id, year, n)
);

create index on deviations (organization_id, deviation_id);
create index on deviations (organization_id, state, deviation_id);

comment on column deviations.members is 'a list of objects with `who` and `role`; api/shapes/deviations.py says which roles';
comment on column deviations.hold_id is 'the hold on data that was made with it';

-- What a deviation has to do with other things. A reference is the text by which people know the thing: see
-- deviation_target.
create table deviation_links (
    link_id      bigint generated always as identity primary key,
    deviation_id bigint      not null references deviations,
    type         text        not null check (type in ('caused-by', 'seen-in', 'corrected-by', 'relates-to')),
    kind         text        not null,
    reference    text        not null check (char_length(reference) <= 300),
    device_id    integer references devices,
    who          text        not null,
    why          text        not null,
    linked_at    timestamptz not null default now(),
    withdrawn_at timestamptz
);

create unique index on deviation_links (deviation_id, type, kind, reference) where withdrawn_at is null;
create index on deviation_links (kind, reference);
create index on deviation_links (device_id);

-- A comment that is edited has one more version; none is ever changed.
create table deviation_comments (
    comment_id   bigint      not null,
    version      integer     not null,
    deviation_id bigint      not null references deviations,
    text         text        not null check (char_length(text) between 1 and 10000),
    who          text        not null,
    at           timestamptz not null default clock_timestamp(),
    primary key (comment_id, version)
);

create sequence deviation_comment_ids owned by deviation_comments.comment_id;
create index on deviation_comments (deviation_id, comment_id, version);

create table deviation_attachments (
    attachment_id bigint generated always as identity primary key,
    deviation_id  bigint      not null references deviations,
    name          text        not null check (char_length(name) between 1 and 200),
    media_type    text        not null,
    bytes         integer     not null check (bytes > 0),
    sha256        bytea       not null check (sha256 = sha256(content)),
    content       bytea       not null,
    who           text        not null,
    attached_at   timestamptz not null default now()
);

alter table deviation_attachments alter column content set storage external;  -- pictures are compressed already
create index on deviation_attachments (deviation_id, attachment_id);

-- What a link leads to: words for people, the device, and the time that it is of. No row: there is no such thing, of this
-- organization. This is the one place that knows the kinds.
create function deviation_target(organization_ integer, kind_ text, reference_ text)
returns table (words text, device_id integer, at timestamptz) language plpgsql stable as $$
#variable_conflict use_column
declare
    number bigint := case when reference_ ~ '^[1-9][0-9]{0,17}$' then reference_::bigint end;
    parts text[] := string_to_array(reference_, '/');
    device record;
begin
    select d.* into device from devices d where d.name = parts[1] and d.organization_id = organization_;
    case kind_
    when 'device' then
        return query select coalesce(device.title, device.name), device.device_id, null::timestamptz
         where device.device_id is not null and cardinality(parts) = 1;
    when 'span' then
        begin
            return query
            select format('%s from %s to %s UTC', device.name, left(replace(parts[2], 'T', ' '), 16),
                          left(replace(parts[3], 'T', ' '), 16)),
                   device.device_id, parts[2]::timestamptz
             where device.device_id is not null and cardinality(parts) = 3
               and parts[2]::timestamptz < parts[3]::timestamptz
               and reference_ ~ '^[^/]+/\d{4}-\d\d-\d\dT[0-9:.]+Z/\d{4}-\d\d-\d\dT[0-9:.]+Z$';
        exception when data_exception then
            return;
        end;
    when 'hole' then
        return query
        select format('frames %s to %s of boot %s of %s', parts[3], parts[4], s.boot, device.name), device.device_id,
               s.changed_at
          from device_streams s
         where s.device_id = device.device_id and reference_ ~ '^[^/]+(/(0|[1-9][0-9]{0,17})){3}$'
           and s.boot = parts[2]::bigint and parts[3]::bigint <= parts[4]::bigint and parts[4]::bigint < upper(s.received);
    when 'alarm' then
        return query
        select format('%s: %s, %s', r.definition ->> 'title', t.after, d.name), t.device_id, t.at
          from alarm_transitions t join alarm_rules r using (rule_id) join devices d on d.device_id = t.device_id
         where t.transition_id = number and t.organization_id = organization_;
    when 'command' then
        return query
        select format('%s to %s, %s', c.name, d.name, c.state), c.device_id, c.requested_at
          from commands c join devices d using (device_id)
         where c.organization_id = organization_ and d.organization_id = organization_
           and reference_ ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' and c.command_id = reference_::uuid;
    when 'quarantine' then
        return query
        select format('%s%s', replace(q.reason, '-', ' '), ' of ' || q.device), d.device_id, q.received_at
          from quarantine q left join devices d on d.name = q.device
         where q.quarantine_id = number and coalesce(d.organization_id, 1) = organization_;
    when 'note' then
        return query
        select left(a.text, 100), a.device_id, a.begins from annotations a join devices d using (device_id)
         where a.annotation_id = number and d.organization_id = organization_;
    when 'run' then
        return query
        select concat_ws(', ', r.name, r.material, r.state),
               (select min(m.device_id) from run_devices m where m.run_id = r.run_id), r.sorted_at
          from runs r where r.organization_id = organization_ and r.name = reference_;
    when 'sample' then
        return query
        select format('%s of %s, %s', s.sample, d.name, case when s.withdrawn then 'withdrawn' else s.status end),
               s.device_id, s.taken_at
          from lab_samples s join devices d using (device_id)
         where s.organization_id = organization_ and d.organization_id = organization_ and s.sample = reference_
           and s.superseded_at is null;
    when 'deviation' then
        return query
        select v.title, null::integer, v.opened_at from deviations v
         where v.organization_id = organization_ and v.deviation = reference_;
    else
        return;
    end case;
end $$;

-- The deviation, locked. version_: null, or what the version must be. Raises no_data_found, BG412.
create function deviation_locked(organization_ integer, deviation_ text, version_ integer) returns deviations
language plpgsql as $$
declare
    found_ deviations;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    select * into found_ from deviations d where d.organization_id = organization_ and d.deviation = deviation_;
    if not found then
        raise exception 'there is no deviation %', deviation_ using errcode = 'no_data_found';
    elsif version_ is not null and version_ <> found_.version then
        raise exception 'deviation % was changed meanwhile', deviation_ using errcode = 'BG412';
    end if;
    return found_;
end $$;

-- The same of one that may be changed. Raises object_not_in_prerequisite_state for a closed one, too.
create function deviation_unclosed(organization_ integer, deviation_ text, version_ integer) returns deviations
language plpgsql as $$
declare
    found_ deviations := deviation_locked(organization_, deviation_, version_);
begin
    if found_.state = 'closed' then
        raise exception 'deviation % is closed: reopen it first', deviation_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return found_;
end $$;

create function deviation_note(deviation_ deviations, who text, action text, old_ jsonb, new_ jsonb, why text) returns void
language sql as $$
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (deviation_.organization_id, who, 'deviation ' || action, 'deviation/' || deviation_.deviation, old_, new_, why)
$$;

-- Returns the number of the link. Raises no_data_found, object_not_in_prerequisite_state.
create function deviation_link(deviation_ deviations, type_ text, kind_ text, reference_ text, who_ text, why_ text)
returns bigint language plpgsql as $$
declare
    target record;
    id bigint;
begin
    select * into target from deviation_target(deviation_.organization_id, kind_, reference_);
    if not found or kind_ = 'deviation' and reference_ = deviation_.deviation then
        raise exception 'there is no % % to link to', kind_, reference_ using errcode = 'no_data_found';
    elsif (select count(*) from deviation_links where deviation_id = deviation_.deviation_id) >= 200 then
        raise exception 'a deviation has 200 links at most' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into deviation_links (deviation_id, type, kind, reference, device_id, who, why)
    values (deviation_.deviation_id, type_, kind_, reference_, target.device_id, who_, why_)
    on conflict (deviation_id, type, kind, reference) where withdrawn_at is null do nothing
    returning link_id into id;
    if id is null then
        raise exception 'it has this link already' using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform deviation_note(deviation_, who_, 'link', null, jsonb_build_object(
        'link', id, 'type', type_, 'kind', kind_, 'reference', reference_), why_);
    return id;
end $$;

-- A hold that is made for a deviation. Raises what api.retention_hold does.
create function deviation_hold(deviation_ deviations, hold jsonb, who text) returns void language plpgsql as $$
begin
    update deviations
       set hold_id = api.retention_hold(hold ->> 'device', (hold ->> 'begins')::timestamptz, (hold ->> 'ends')::timestamptz,
                                        who, 'deviation ' || deviation_.deviation)
     where deviation_id = deviation_.deviation_id;
end $$;

-- Lists and other texts that people search, each with the words in it. Events of devices are not here: their table takes
-- what devices send, and has no index of words.
create index annotations_words on annotations using gin (to_tsvector('simple', text));
create index deviations_words on deviations using gin (to_tsvector('simple', title || ' ' || description));
create index deviation_comments_words on deviation_comments using gin (to_tsvector('simple', text));
create index audit_words on audit using gin (to_tsvector('simple', why));
create index alarm_acts_words on alarm_acts using gin (to_tsvector('simple', why));

-- Places as things of their own: a tree of names. A device has the path as its location, so that lists and rules that
-- know locations stay as they are.
create table locations (
    location_id     integer generated always as identity primary key,
    organization_id integer not null references organizations,
    path            text    not null check (char_length(path) between 1 and 200),
    kind            text    not null check (kind in ('site', 'hall', 'bench')),
    description     text    not null default '' check (char_length(description) <= 1000),
    unique (organization_id, path)
);

-- What a device is. Its place and title are the device's own columns; the working volume is a constant of formulas.
create table device_cards (
    organization_id integer     not null references organizations,
    device_id       integer     not null references devices,
    card            jsonb       not null,
    due_on          date,
    version         integer     not null default 1,
    changed_at      timestamptz not null default now(),
    primary key (organization_id, device_id)
);

create index on device_cards (device_id);
create index on device_cards (due_on) where due_on is not null;

comment on column device_cards.card is 'api/shapes/device_cards.py says what it holds';
comment on column device_cards.due_on is 'the first day on which the calibration of one of its probes is due';

create table shift_entries (
    entry_id        bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    text            text        not null check (char_length(text) between 1 and 10000),
    location        text        check (char_length(location) between 1 and 200),
    devices         integer[]   not null default '{}' check (cardinality(devices) <= 50),
    who             text        not null,
    at              timestamptz not null default now(),
    handed_to       text,
    accepted_at     timestamptz,
    check (accepted_at is null or handed_to is not null)
);

create index on shift_entries (organization_id, at, entry_id);
create index shift_entries_words on shift_entries using gin (to_tsvector('simple', text));

-- Path of a place: each part has a name, and stands below the place before it. Raises object_not_in_prerequisite_state.
create function location_put(organization_ integer, path_ text, kind_ text, description_ text, who text, why_ text)
returns void language plpgsql as $$
declare
    o locations;
    above text := nullif(regexp_replace(path_, '/?[^/]*$', ''), '');
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from locations l where l.organization_id = organization_ and l.path = path_;
    if above is not null
       and not exists (select from locations l where l.organization_id = organization_ and l.path = above) then
        raise exception 'there is no location %: make it first', above using errcode = 'object_not_in_prerequisite_state';
    elsif o.location_id is null and (select count(*) from locations l where l.organization_id = organization_) >= 1000 then
        raise exception 'there are 1000 locations already' using errcode = 'object_not_in_prerequisite_state';
    elsif o.kind = kind_ and o.description = description_ then
        return;
    end if;
    insert into locations as l (organization_id, path, kind, description) values (organization_, path_, kind_, description_)
    on conflict (organization_id, path) do update set kind = excluded.kind, description = excluded.description;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'location ' || case when o.location_id is null then 'create' else 'change' end,
            'location/' || path_,
            case when o.location_id is not null then jsonb_build_object('kind', o.kind, 'description', o.description) end,
            jsonb_build_object('kind', kind_, 'description', description_), why_);
end $$;

-- Raises no_data_found, object_not_in_prerequisite_state.
create function location_remove(organization_ integer, path_ text, who text, why_ text) returns void language plpgsql as $$
declare
    o locations;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from locations l where l.organization_id = organization_ and l.path = path_;
    if not found then
        raise exception 'there is no location %', path_ using errcode = 'no_data_found';
    elsif exists (select from locations l where l.organization_id = organization_ and starts_with(l.path, path_ || '/'))
       or exists (select from devices d where d.organization_id = organization_
                     and (d.location = path_ or starts_with(d.location, path_ || '/'))) then
        raise exception 'something is in % still', path_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    delete from locations l where l.location_id = o.location_id;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'location remove', 'location/' || path_,
            jsonb_build_object('kind', o.kind, 'description', o.description), null, why_);
end $$;

-- version_: null, or what the version must be, which is 1 where nothing was said. Returns the version; what changes
-- nothing keeps it. Raises BG412.
create function device_card_put(
    organization_ integer, device_ integer, card_ jsonb, due_on_ date, version_ integer, who text, why_ text
) returns integer language plpgsql as $$
declare
    o device_cards;
    becomes integer;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    select * into o from device_cards c where c.organization_id = organization_ and c.device_id = device_;
    if version_ is not null and version_ <> coalesce(o.version, 1) then
        raise exception 'the card was changed meanwhile' using errcode = 'BG412';
    elsif o.card = card_ then
        return o.version;
    end if;
    insert into device_cards as c (organization_id, device_id, card, due_on, version)
    values (organization_, device_, card_, due_on_, 2)
    on conflict (organization_id, device_id) do update
       set card = excluded.card, due_on = excluded.due_on, version = c.version + 1, changed_at = now()
    returning version into becomes;
    insert into audit (organization_id, who, action, subject, old, new, why)
    select organization_, who, 'device card', 'device/' || d.name, o.card, card_, why_
      from devices d where d.device_id = device_;
    return becomes;
end $$;

-- For the API.

create view api.deviations as
select * from public.deviations where organization_id = (select api.organization());

-- `device`: of a device that is the organization's still.
create view api.deviation_links as
select l.link_id, l.deviation_id, v.deviation, v.title, v.severity, v.state, l.type, l.kind, l.reference, l.who, l.why,
       l.linked_at, l.withdrawn_at, d.name as device
  from public.deviation_links l
  join public.deviations v using (deviation_id)
  left join public.devices d on d.device_id = l.device_id and d.organization_id = v.organization_id
 where v.organization_id = (select api.organization());

create view api.deviation_comments as
select c.*, v.deviation, v.title from public.deviation_comments c join public.deviations v using (deviation_id)
 where v.organization_id = (select api.organization());

create view api.deviation_attachments as
select a.*, v.deviation from public.deviation_attachments a join public.deviations v using (deviation_id)
 where v.organization_id = (select api.organization());

create view api.locations as
select * from public.locations where organization_id = (select api.organization());

create view api.device_cards as
select c.* from public.device_cards c join public.devices d using (device_id)
 where c.organization_id = (select api.organization()) and d.organization_id = c.organization_id;

create view api.shift_entries as
select e.entry_id, e.organization_id, e.text, e.location, e.who, e.at, e.handed_to, e.accepted_at,
       array(select d.name from public.devices d
              where d.device_id = any (e.devices) and d.organization_id = e.organization_id order by d.name) as devices
  from public.shift_entries e
 where e.organization_id = (select api.organization());

create function api.deviation_target(kind_ text, reference_ text)
returns table (words text, device_id integer, at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select * from public.deviation_target(api.organization(), kind_, reference_)
$$;

-- Returns its number. link_: null, or an object with type, kind and reference; hold_: null, or one with device, begins
-- and ends, each of which may be null.
create function api.deviation_open(
    title_ text, description_ text, severity_ text, tags_ text[], members_ jsonb, link_ jsonb, hold_ jsonb, who text
) returns text language plpgsql security definer set search_path = public, pg_temp as $$
declare
    it deviations;
    year_ integer := extract(year from now() at time zone 'UTC');
begin
    perform pg_advisory_xact_lock(1635083369, api.organization());
    insert into deviations (organization_id, year, n, title, description, severity, tags, members, opened_by)
    select api.organization(), year_,
           coalesce((select max(n) from deviations where organization_id = api.organization() and year = year_), 0) + 1,
           title_, description_, severity_, tags_, members_, who
    returning * into it;
    perform deviation_note(it, who, 'open', null, jsonb_build_object(
        'title', title_, 'description', description_, 'severity', severity_, 'tags', tags_, 'members', members_), title_);
    if link_ is not null then
        perform deviation_link(it, link_ ->> 'type', link_ ->> 'kind', link_ ->> 'reference', who, title_);
    end if;
    if hold_ is not null then
        perform deviation_hold(it, hold_, who);
    end if;
    return it.deviation;
end $$;

-- Changes what is in `change`: title, description, severity, tags, members. The trail has what was and what is.
create function api.deviation_change(deviation_ text, change jsonb, version_ integer, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, version_);
    n deviations := jsonb_populate_record(o, change);
    was jsonb;
begin
    select jsonb_object_agg(key, value) into was from jsonb_each(to_jsonb(o)) where change ? key;
    if was = change then
        return;
    end if;
    update deviations
       set title = n.title, description = n.description, severity = n.severity, tags = n.tags, members = n.members,
           version = o.version + 1
     where deviation_id = o.deviation_id;
    perform deviation_note(o, who, 'change', was, change, why);
end $$;

-- From open to assessed to closed, and back to open. Ending the hold is by choice.
create function api.deviation_move(deviation_ text, state_ text, end_hold boolean, version_ integer, who text, why text)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_locked(api.organization(), deviation_, version_);
begin
    if (o.state, state_) not in (('open', 'assessed'), ('assessed', 'closed'), ('assessed', 'open'), ('closed', 'open')) then
        raise exception 'deviation % is %', deviation_, o.state using errcode = 'object_not_in_prerequisite_state';
    end if;
    update deviations
       set state = state_, closed_at = case when state_ = 'closed' then now() end, version = o.version + 1
     where deviation_id = o.deviation_id;
    perform deviation_note(o, who, case state_ when 'assessed' then 'assess' when 'closed' then 'close' else 'reopen' end,
                           jsonb_build_object('state', o.state), jsonb_build_object('state', state_), why);
    if end_hold and exists (select from retention_holds where hold_id = o.hold_id and ended_at is null) then
        perform retention_hold_end(o.hold_id, o.organization_id, who, why);
    end if;
end $$;

create function api.deviation_hold(deviation_ text, hold_ jsonb, who text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, null);
begin
    if exists (select from retention_holds where hold_id = o.hold_id and ended_at is null) then
        raise exception 'deviation % has a hold already', deviation_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform deviation_hold(o, hold_, who);
    perform deviation_note(o, who, 'hold', to_jsonb(o.hold_id),
                           (select to_jsonb(hold_id) from deviations where deviation_id = o.deviation_id), 'hold');
end $$;

create function api.deviation_link(deviation_ text, type_ text, kind_ text, reference_ text, who text, why text)
returns bigint language sql security definer set search_path = public, pg_temp as $$
    select deviation_link(deviation_unclosed(api.organization(), deviation_, null), type_, kind_, reference_, who, why)
$$;

create function api.deviation_unlink(deviation_ text, link_ bigint, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, null);
    gone deviation_links;
begin
    update deviation_links set withdrawn_at = now()
     where link_id = link_ and deviation_id = o.deviation_id and withdrawn_at is null returning * into gone;
    if not found then
        raise exception 'deviation % has no link %', deviation_, link_ using errcode = 'no_data_found';
    end if;
    perform deviation_note(o, who, 'unlink', jsonb_build_object(
        'link', link_, 'type', gone.type, 'kind', gone.kind, 'reference', gone.reference), null, why);
end $$;

create function api.deviation_comment(deviation_ text, text_ text, who_ text) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, null);
    id bigint := nextval('deviation_comment_ids');
begin
    if (select count(distinct comment_id) from deviation_comments where deviation_id = o.deviation_id) >= 1000 then
        raise exception 'a deviation has 1000 comments at most' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into deviation_comments (comment_id, version, deviation_id, text, who) values (id, 1, o.deviation_id, text_, who_);
    perform deviation_note(o, who_, 'comment', null, jsonb_build_object('comment', id, 'text', text_), 'comment');
    return id;
end $$;

-- One more version of a comment, by who has written it.
create function api.deviation_comment_edit(deviation_ text, comment_ bigint, text_ text, who_ text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, null);
    last deviation_comments;
begin
    select * into last from deviation_comments c
     where c.comment_id = comment_ and c.deviation_id = o.deviation_id order by c.version desc limit 1;
    if not found then
        raise exception 'deviation % has no comment %', deviation_, comment_ using errcode = 'no_data_found';
    elsif last.who <> who_ then
        raise exception 'only % may edit this comment', last.who using errcode = 'object_not_in_prerequisite_state';
    elsif last.version >= 100 then
        raise exception 'a comment has 100 versions at most' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into deviation_comments (comment_id, version, deviation_id, text, who)
    values (comment_, last.version + 1, o.deviation_id, text_, who_);
    perform deviation_note(o, who_, 'comment edit', jsonb_build_object('comment', comment_, 'text', last.text),
                           jsonb_build_object('comment', comment_, 'text', text_), why);
end $$;

-- most_: the bytes of all attachments of the organization.
create function api.deviation_attach(
    deviation_ text, name_ text, media_type_ text, content_ bytea, most_ bigint, who_ text, why text
) returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
declare
    o deviations := deviation_unclosed(api.organization(), deviation_, null);
    id bigint;
begin
    if (select coalesce(sum(a.bytes), 0) from deviation_attachments a join deviations d using (deviation_id)
         where d.organization_id = o.organization_id) + octet_length(content_) > most_ then
        raise exception 'the attachments of an organization have % bytes at most', most_
            using errcode = 'object_not_in_prerequisite_state';
    elsif (select count(*) from deviation_attachments where deviation_id = o.deviation_id) >= 50 then
        raise exception 'a deviation has 50 attachments at most' using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into deviation_attachments (deviation_id, name, media_type, bytes, sha256, content, who)
    values (o.deviation_id, name_, media_type_, octet_length(content_), sha256(content_), content_, who_)
    returning attachment_id into id;
    perform deviation_note(o, who_, 'attach', null, jsonb_build_object(
        'attachment', id, 'name', name_, 'media_type', media_type_, 'bytes', octet_length(content_),
        'sha256', encode(sha256(content_), 'hex')), why);
    return id;
end $$;

create function api.location_put(path_ text, kind_ text, description_ text, who text, why_ text) returns void
language sql security definer set search_path = public, pg_temp as $$
    select public.location_put(api.organization(), path_, kind_, description_, who, why_)
$$;

create function api.location_remove(path_ text, who text, why_ text) returns void
language sql security definer set search_path = public, pg_temp as $$
    select public.location_remove(api.organization(), path_, who, why_)
$$;

create function api.device_card_put(device_ text, card_ jsonb, due_on_ date, version_ integer, who text, why_ text)
returns integer language sql security definer set search_path = public, pg_temp as $$
    select public.device_card_put(api.organization(), api.device_owned(device_), card_, due_on_, version_, who, why_)
$$;

create function api.shift_entry(text_ text, location_ text, devices_ text[], handed_to_ text, who_ text) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    id bigint;
begin
    if handed_to_ is not null and not exists (select from memberships m join users u using (user_id)
            where m.organization_id = api.organization() and u.email = handed_to_) then
        raise exception '% is no member', handed_to_ using errcode = 'no_data_found';
    end if;
    insert into shift_entries (organization_id, text, location, devices, who, handed_to)
    select api.organization(), text_, location_, array(select api.device_owned(d) from unnest(devices_) d), who_, handed_to_
    returning entry_id into id;
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who_, 'shift entry', 'shift/' || id, jsonb_build_object(
        'text', text_, 'location', location_, 'devices', devices_, 'handed_to', handed_to_), 'shift log');
    return id;
end $$;

-- The person to whom a shift is handed accepts it.
create function api.shift_accept(entry_ bigint, who_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    it shift_entries;
begin
    select * into it from shift_entries e where e.entry_id = entry_ and e.organization_id = api.organization() for update;
    if not found then
        raise exception 'there is no entry % of the shift log', entry_ using errcode = 'no_data_found';
    elsif it.handed_to is distinct from split_part(who_, ' ', 1) then  -- who_ may say that the address is unverified
        raise exception 'it is not handed to you' using errcode = 'object_not_in_prerequisite_state';
    elsif it.accepted_at is not null then
        raise exception 'it was accepted already' using errcode = 'object_not_in_prerequisite_state';
    end if;
    update shift_entries set accepted_at = now() where entry_id = entry_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (it.organization_id, who_, 'shift accept', 'shift/' || entry_, jsonb_build_object('accepted', false),
            jsonb_build_object('accepted', true), 'shift log');
end $$;

revoke all on function api.deviation_target, api.deviation_open, api.deviation_change, api.deviation_move,
    api.deviation_hold, api.deviation_link, api.deviation_unlink, api.deviation_comment, api.deviation_comment_edit,
    api.deviation_attach, api.location_put, api.location_remove, api.device_card_put, api.shift_entry, api.shift_accept
    from public;
grant execute on function api.deviation_target, api.deviation_open, api.deviation_change, api.deviation_move,
    api.deviation_hold, api.deviation_link, api.deviation_unlink, api.deviation_comment, api.deviation_comment_edit,
    api.deviation_attach, api.location_put, api.location_remove, api.device_card_put, api.shift_entry, api.shift_accept
    to biogate_api;
grant select on api.deviations, api.deviation_links, api.deviation_comments, api.deviation_attachments, api.locations,
    api.device_cards, api.shift_entries to biogate_api;

-- migrate: rollback

drop function api.shift_accept, api.shift_entry, api.device_card_put, api.location_remove, api.location_put,
    api.deviation_attach, api.deviation_comment_edit, api.deviation_comment, api.deviation_unlink, api.deviation_link,
    api.deviation_hold, api.deviation_move, api.deviation_change, api.deviation_open, api.deviation_target;
drop view api.shift_entries, api.device_cards, api.locations, api.deviation_attachments, api.deviation_comments,
    api.deviation_links, api.deviations;
drop function device_card_put, location_remove, location_put, deviation_hold, deviation_link, deviation_note,
    deviation_unclosed, deviation_locked, deviation_target;
drop index alarm_acts_words, audit_words, annotations_words;
drop table shift_entries, device_cards, locations, deviation_attachments, deviation_comments, deviation_links, deviations;
