-- jobs: exports, imports and other work that people ask for and the worker process does; acts on the quarantine
-- depends: 0021_live

-- migrate: apply

create table jobs (
    job_id           uuid primary key,
    organization_id  integer not null references organizations,
    who              text not null check (who <> ''),
    kind             text not null check (kind in ('export', 'import', 'replay')),
    request          jsonb not null check (jsonb_typeof(request) = 'object'),
    state            text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    done             bigint not null default 0 check (done >= 0),
    total            bigint check (total >= 0),
    unit             text not null default '',
    position         jsonb,
    result           jsonb,
    error            text,
    file_bytes       bigint not null default 0 check (file_bytes >= 0),
    holder           text,
    beat_at          timestamptz,
    attempts         integer not null default 0,
    created_at       timestamptz not null default clock_timestamp(),
    started_at       timestamptz,
    cancel_asked_at  timestamptz,
    finished_at      timestamptz,
    files_expire_at  timestamptz,
    check ((state in ('done', 'failed', 'cancelled')) = (finished_at is not null)),
    check ((state = 'running') = (holder is not null))
) with (fillfactor = 50);

create index jobs_of_organization on jobs (organization_id, created_at desc, job_id desc);
create index jobs_open on jobs (created_at) where state in ('queued', 'running');
create index jobs_with_files on jobs (organization_id, files_expire_at) where file_bytes > 0;

comment on column jobs.done is 'how much of `total` is done, counted in `unit`; total is null while nobody knows it';
comment on column jobs.position is 'where a worker goes on that takes the job over; null: from the begin';
comment on column jobs.file_bytes is 'of the files that the job has on the disk';
comment on column jobs.holder is 'the worker that runs it; the job is another''s once the holder has not beaten for its lease';
comment on column jobs.attempts is 'how often a worker has begun it, or gone on with it';
comment on column jobs.files_expire_at is 'when the worker deletes its files';

-- For the API.

create view api.jobs as
select job_id, organization_id, who, kind, request, state, done, total, unit, result, error, file_bytes, created_at,
       started_at, cancel_asked_at, finished_at, files_expire_at
  from public.jobs
 where organization_id = (select api.organization());

-- `file_bytes_` are of files that the caller has put into the job's directory before. Raises
-- object_not_in_prerequisite_state if as many jobs of the organization wait or run as may.
create function api.job_make(job_id_ uuid, kind_ text, request_ jsonb, file_bytes_ bigint, who text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform pg_advisory_xact_lock(1785684851, api.organization());  -- "jobs"
    if (select count(*) from jobs
         where organization_id = api.organization() and state in ('queued', 'running')) >= 20 then
        raise exception '20 jobs of your organization wait or run already: wait until one has ended, or cancel one'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into jobs (job_id, organization_id, who, kind, request, file_bytes)
    values (job_id_, api.organization(), who, kind_, request_, file_bytes_);
    insert into audit (organization_id, who, action, subject, new, why)
    values (api.organization(), who, kind_, 'job/' || job_id_, request_, 'asked for');
end $$;

-- A job that waits is cancelled at once, one that runs when its worker beats next. Raises no_data_found,
-- object_not_in_prerequisite_state.
create function api.job_cancel(job_id_ uuid, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    j jobs;
begin
    select * into j from jobs where job_id = job_id_ and organization_id = api.organization() for update;
    if not found then
        raise exception 'there is no job %', job_id_ using errcode = 'no_data_found';
    elsif j.state not in ('queued', 'running') then
        raise exception 'job % has ended already: it is %', job_id_, j.state
            using errcode = 'object_not_in_prerequisite_state';
    elsif j.cancel_asked_at is not null then
        return;
    end if;
    update jobs
       set cancel_asked_at = clock_timestamp(),
           state = case state when 'queued' then 'cancelled' else state end,
           finished_at = case state when 'queued' then clock_timestamp() end,
           files_expire_at = case state when 'queued' then clock_timestamp() end
     where job_id = job_id_;
    insert into audit (organization_id, who, action, subject, old, why)
    values (j.organization_id, who, j.kind || ' cancel', 'job/' || job_id_, jsonb_build_object('state', j.state), why);
end $$;

-- The files of a job that has ended are deleted now, and not when they expire: they count no more for the share of the
-- disk. Raises no_data_found, object_not_in_prerequisite_state.
create function api.job_files_drop(job_id_ uuid, who text, why text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    j jobs;
begin
    select * into j from jobs where job_id = job_id_ and organization_id = api.organization() for update;
    if not found then
        raise exception 'there is no job %', job_id_ using errcode = 'no_data_found';
    elsif j.finished_at is null then
        raise exception 'job % has not ended: cancel it', job_id_ using errcode = 'object_not_in_prerequisite_state';
    elsif j.files_expire_at <= clock_timestamp() then
        return;
    end if;
    update jobs set files_expire_at = clock_timestamp() where job_id = job_id_;
    insert into audit (organization_id, who, action, subject, old, why)
    values (j.organization_id, who, j.kind || ' files delete', 'job/' || job_id_,
            jsonb_build_object('bytes', j.file_bytes), why);
end $$;

-- Throws the payloads of these open messages away; their rows stay, with hash and reason. Returns the number of them.
-- Raises no_data_found for one that is not the organization's, object_not_in_prerequisite_state for one that is settled.
create function api.quarantine_discard(ids bigint[], who text, why text) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    number bigint;
    settled bigint;
begin
    for number in select distinct i from unnest(ids) i order by i loop
        perform from quarantine q left join devices d on d.name = q.device
          where q.quarantine_id = number and coalesce(d.organization_id, 1) = api.organization() for update of q;
        if not found then
            raise exception 'no message in quarantine has the number %', number using errcode = 'no_data_found';
        end if;
    end loop;
    select min(quarantine_id) into settled from quarantine where quarantine_id = any (ids) and state <> 'open';
    if settled is not null then
        raise exception 'message % is settled already: it is %', settled,
            (select state from quarantine where quarantine_id = settled)
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    with gone as (
        update quarantine
           set state = 'discarded', settled_at = now(), bytes = octet_length(payload), payload = null
         where quarantine_id = any (ids)
        returning quarantine_id, device, reason, bytes, sha256
    )
    insert into audit (organization_id, who, action, subject, old, new, why)
    select api.organization(), quarantine_discard.who, 'quarantine.discard', 'quarantine/' || quarantine_id,
           jsonb_build_object('state', 'open', 'device', device, 'reason', reason, 'bytes', bytes,
                              'sha256', encode(sha256, 'hex')),
           '{"state": "discarded"}', quarantine_discard.why
      from gone order by quarantine_id;
    return (select count(distinct i) from unnest(ids) i);
end $$;

-- What became of all that was received, and up to when that is everything: of all organizations together, so only the
-- one that runs the installation sees it.
create view api.intake_totals as
select t.cell, t.kind, t.committed, t.duplicate, t.quarantined, t.discarded, b.settled_until, b.beat_at
  from public.intake_totals t left join public.intake_beats b using (cell)
 where (select api.organization()) = 1;

revoke all on function api.job_make, api.job_cancel, api.job_files_drop, api.quarantine_discard from public;
grant select on api.jobs, api.intake_totals to biogate_api;
grant execute on function api.job_make, api.job_cancel, api.job_files_drop, api.quarantine_discard to biogate_api;

-- migrate: rollback

drop view api.intake_totals;
drop function api.quarantine_discard, api.job_files_drop, api.job_cancel, api.job_make;
drop view api.jobs;
drop table jobs;
