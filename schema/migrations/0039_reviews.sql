-- reviews of the record by exception: what somebody looked at of a run or of a time; exports are named by their hash
-- depends: 0038_signatures

-- migrate: apply

-- A version is what stood in the trail and in the data of a scope when somebody gathered it: the exceptions, each with a key
-- over its content, and how many rows were routine. It never changes; gathering anew makes the next version.
create table reviews (
    organization_id integer     not null references organizations,
    number          integer     not null check (number >= 1),
    version         integer     not null check (version >= 1),
    run_id          bigint      references runs,
    devices         text[]      not null,
    begins          timestamptz not null,
    ends            timestamptz not null check (begins < ends),
    n               bigint      not null,
    hash            text        not null,
    exceptions      jsonb       not null check (jsonb_typeof(exceptions) = 'array'),
    routine         jsonb       not null check (jsonb_typeof(routine) = 'object'),
    who             text        not null,
    at              timestamptz not null default clock_timestamp(),
    primary key (organization_id, number, version)
);

create index on reviews (run_id);

comment on column reviews.devices is 'names; none: the whole organization';
comment on column reviews.n is 'the newest row of the audit trail that was looked through; `hash` is its hash';
comment on column reviews.routine is 'rows of the scope that are no exception, by action';

-- Somebody has looked at an exception. It counts for every version that has the key, and for none whose content differs.
create table review_looks (
    look_id         bigint generated always as identity primary key,
    organization_id integer     not null,
    number          integer     not null,
    key             text        not null,
    note            text        not null check (char_length(note) between 1 and 1000),
    who             text        not null,
    at              timestamptz not null default clock_timestamp()
);

create index on review_looks (organization_id, number, look_id);

create function reviews_kept() returns trigger language plpgsql as $$
begin
    raise exception 'a review stays as it was made: gather it anew' using errcode = 'insufficient_privilege';
end $$;

create trigger reviews_kept before update or delete or truncate on reviews
    for each statement execute function reviews_kept();
create trigger reviews_kept before update or delete or truncate on review_looks
    for each statement execute function reviews_kept();

-- What a signature of a review is bound to: scope, end of the chain, exceptions, what was said of them. Null: there is none.
create function record_form_review(organization_ integer, reference_ text) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'version', v.version, 'run', r.name, 'devices', to_jsonb(v.devices),
        'begins', to_char(v.begins at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'ends', to_char(v.ends at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'n', v.n, 'hash', v.hash, 'exceptions', v.exceptions, 'routine', v.routine, 'who', v.who,
        'looks', (select coalesce(jsonb_agg(jsonb_build_object('look', l.look_id, 'key', l.key, 'note', l.note, 'who', l.who)
                                            order by l.look_id), '[]')
                    from review_looks l where l.organization_id = v.organization_id and l.number = v.number))
      from reviews v left join runs r using (run_id)
     where v.organization_id = organization_ and v.number::text = reference_
     order by v.version desc limit 1
$$;

-- For the API.

create view api.reviews as
select v.*, r.name as run from public.reviews v left join public.runs r using (run_id)
 where v.organization_id = (select api.organization());

create view api.review_looks as
select * from public.review_looks where organization_id = (select api.organization());

-- Stores what was gathered up to the row n_ of the trail; number_ null: a new review. A version with the same exceptions as
-- the one before is no new one. Returns the number. Raises no_data_found, object_not_in_prerequisite_state.
create function api.review_put(
    number_ integer, run_ text, devices_ text[], begins_ timestamptz, ends_ timestamptz, n_ bigint, exceptions_ jsonb,
    routine_ jsonb, who_ text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o reviews;
    new_ reviews;
begin
    perform pg_advisory_xact_lock(1635083369, org);  -- "audi": one after the other, in the order of the trail
    if number_ is not null then
        select * into o from reviews v where v.organization_id = org and v.number = number_ order by v.version desc limit 1;
        if not found then
            raise exception 'there is no review %', number_ using errcode = 'no_data_found';
        elsif o.exceptions = exceptions_ then
            return number_;
        end if;
    end if;
    if (select count(*) from reviews v where v.organization_id = org) >= 5000 then
        raise exception 'your organization has 5000 versions of reviews, and may not have more'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into reviews (organization_id, number, version, run_id, devices, begins, ends, n, hash, exceptions, routine, who)
    select org, coalesce(number_, (select coalesce(max(v.number), 0) + 1 from reviews v where v.organization_id = org)),
           coalesce(o.version, 0) + 1, case when run_ is not null then api.run_owned(run_) end, devices_, begins_, ends_, a.n,
           encode(a.hash, 'hex'), exceptions_, routine_, who_
      from (select coalesce(max(a.n), 0) as n, coalesce((array_agg(a.hash))[1], '') as hash
              from audit a where a.organization_id = org and a.n = n_) a
    returning * into new_;
    insert into audit (organization_id, who, action, subject, new, why)
    values (org, who_, 'review gather', 'review/' || new_.number,
            jsonb_strip_nulls(jsonb_build_object(
                'version', new_.version, 'run', run_, 'devices', devices_, 'begins', begins_, 'ends', ends_, 'n', new_.n,
                'exceptions', jsonb_array_length(exceptions_),
                'exceptions_sha256', encode(sha256(convert_to(exceptions_::text, 'UTF8')), 'hex'))),
            'asked for');
    return new_.number;
end $$;

-- Raises no_data_found for a key that the newest version does not have, object_not_in_prerequisite_state.
create function api.review_look(number_ integer, key_ text, note_ text, who_ text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    v reviews;
begin
    perform pg_advisory_xact_lock(1635083369, org);
    select * into v from reviews r where r.organization_id = org and r.number = number_ order by r.version desc limit 1;
    if not found then
        raise exception 'there is no review %', number_ using errcode = 'no_data_found';
    elsif not exists (select from jsonb_array_elements(v.exceptions) e where e ->> 'key' = key_) then
        raise exception 'review % has no exception %', number_, key_ using errcode = 'no_data_found';
    elsif (select count(*) from review_looks l where l.organization_id = org and l.number = number_) >= 10000 then
        raise exception 'review % has 10000 notes, and may not have more', number_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into review_looks (organization_id, number, key, note, who) values (org, number_, key_, note_, who_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (org, who_, 'review look', 'review/' || number_, jsonb_build_object('key', key_), note_);
end $$;

-- The worker names the files of an export that is made, in the trail: who has a file can tell whether it is that one. Said
-- again of a job that was begun again with other files, it is another row. Raises no_data_found.
create function api.export_made(job_id_ uuid, files jsonb) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    j jobs;
begin
    select * into j from jobs where job_id = job_id_ and organization_id = api.organization() and kind = 'export';
    if not found then
        raise exception 'there is no export %', job_id_ using errcode = 'no_data_found';
    end if;
    insert into audit (organization_id, who, action, subject, new, why)
    values (j.organization_id, j.who, 'export make', 'job/' || job_id_, files, 'asked for');
end $$;

-- When the frames of a device that came from a file were stored: their import says when they were received.
create view api.import_ends as
select i.device_id, i.received_at, m.finished_at
  from public.imported_devices i join public.devices d using (device_id) join public.imports m using (import_id)
 where d.organization_id = (select api.organization());

revoke all on function api.review_put, api.review_look, api.export_made from public;
grant select on api.reviews, api.review_looks, api.import_ends to biogate_api;
grant execute on function api.review_put, api.review_look, api.export_made to biogate_api;

-- In the name of who has shown a credential: see 0034_roles.sql.
create trigger a_written_by before insert on reviews for each row execute function written_by('who');
create trigger a_written_by before insert on review_looks for each row execute function written_by('who');

-- migrate: rollback

drop function api.export_made, api.review_look, api.review_put;
drop view api.import_ends, api.review_looks, api.reviews;
drop function record_form_review;
drop table review_looks, reviews;
drop function reviews_kept;
