-- reports: what a run or a shift was, as it was known when the report was made; templates that lay them out
-- depends: 0032_plot_hours

-- migrate: apply

alter table jobs drop constraint jobs_kind_check,
    add constraint jobs_kind_check check (kind in ('export', 'import', 'replay', 'report'));

create table report_templates (
    organization_id integer not null references organizations,
    name            text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    version         integer not null check (version > 0),
    kind            text not null check (kind in ('batch', 'shift')),
    definition      jsonb not null check (jsonb_typeof(definition) = 'object'),
    made_by         text not null,
    made_at         timestamptz not null default clock_timestamp(),
    primary key (organization_id, name, version)
);

create table reports (
    report_id        uuid primary key,
    organization_id  integer not null references organizations,
    kind             text not null check (kind in ('batch', 'shift')),
    run_id           bigint references runs,
    title            text not null,
    subtitle         text not null,
    begins           timestamptz not null,
    ends             timestamptz not null,
    template         text not null,
    template_version integer not null check (template_version >= 0),
    made_by          text not null,
    made_at          timestamptz not null,
    document         bytea not null,
    html             bytea not null,
    pdf              bytea,
    no_pdf           text check ((no_pdf is null) = (pdf is not null)),
    document_sha256  bytea not null generated always as (sha256(document)) stored,
    html_sha256      bytea not null generated always as (sha256(html)) stored,
    pdf_sha256       bytea generated always as (sha256(pdf)) stored,
    bytes            bigint not null generated always as
                         (octet_length(document) + octet_length(html) + coalesce(octet_length(pdf), 0)) stored,
    check ((kind = 'batch') = (run_id is not null))
);

create index on reports (organization_id, made_at desc, report_id desc);
create index on reports (run_id, made_at desc);

comment on column reports.report_id is 'that of the job that made it';
comment on column reports.made_at is 'when it was asked for: what was known then is in it';
comment on column reports.document is 'JSON; HTML and PDF say the same for people';
comment on column reports.no_pdf is 'why there is no PDF';

-- What was reported stays as it was reported.
create function reports_kept() returns trigger language plpgsql as $$
begin
    raise exception 'a report stays as it was made: make another one' using errcode = 'insufficient_privilege';
end $$;

create trigger reports_kept before update or delete or truncate on reports
    for each statement execute function reports_kept();
create trigger report_templates_kept before update or delete or truncate on report_templates
    for each statement execute function reports_kept();

-- For the API.

create view api.reports as
select p.*, r.name as run
  from public.reports p left join public.runs r using (run_id)
 where p.organization_id = (select api.organization());

create view api.report_templates as
select * from public.report_templates where organization_id = (select api.organization());

-- Returns the new version; a definition that changes nothing keeps it. `version_`: only if the newest is that one (0: only if
-- there is none). Raises BG412, object_not_in_prerequisite_state.
create function api.report_template_put(
    name_ text, kind_ text, definition_ jsonb, version_ integer, who text, why_ text
) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    o report_templates;
begin
    perform pg_advisory_xact_lock(1635083369, org);  -- "audi": one after the other, in the order of the trail
    select * into o from report_templates t where t.organization_id = org and t.name = name_ order by t.version desc limit 1;
    if version_ is not null and version_ <> coalesce(o.version, 0) then
        raise exception 'template % was changed meanwhile', name_ using errcode = 'BG412';
    elsif o.kind <> kind_ then
        raise exception 'template % is one for a % report, and stays so: give the other one another name', name_, o.kind
            using errcode = 'object_not_in_prerequisite_state';
    elsif o.definition = definition_ then
        return o.version;
    elsif o.version is null and (select count(distinct t.name) from report_templates t where t.organization_id = org) >= 50 then
        raise exception 'your organization has 50 templates already: change one of them'
            using errcode = 'object_not_in_prerequisite_state';
    elsif o.version >= 1000 then
        raise exception 'template % has 1000 versions: begin another one', name_
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into report_templates (organization_id, name, version, kind, definition, made_by)
    values (org, name_, coalesce(o.version, 0) + 1, kind_, definition_, who);
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (org, who, 'report template', 'report-template/' || name_, o.definition, definition_, why_);
    return coalesce(o.version, 0) + 1;
end $$;

-- Keeps the report that the job of this number made; again, for a job that was begun again, changes nothing. Raises
-- no_data_found where there is no such job, object_not_in_prerequisite_state for what is more than the organization's share.
create function api.report_keep(
    report_id_ uuid, run_ text, facts jsonb, document_ bytea, html_ bytea, pdf_ bytea
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    org integer := api.organization();
    j jobs;
    n reports;
begin
    perform pg_advisory_xact_lock(1635083369, org);
    select * into j from jobs where job_id = report_id_ and organization_id = org and kind = 'report' for update;
    if not found then
        raise exception 'there is no job % for a report', report_id_ using errcode = 'no_data_found';
    elsif exists (select from reports where report_id = report_id_) then
        return;
    end if;
    n := jsonb_populate_record(null::reports, facts);
    if (select coalesce(sum(r.bytes), 0) from reports r where r.organization_id = org)
       + octet_length(document_) + octet_length(html_) + coalesce(octet_length(pdf_), 0) > 5368709120 then
        raise exception 'the reports of your organization would have more than 5 GiB: leave sections or channels out'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into reports (report_id, organization_id, kind, run_id, title, subtitle, begins, ends, template, template_version,
                         made_by, made_at, document, html, pdf, no_pdf)
    values (report_id_, org, n.kind, case when run_ is not null then api.run_owned(run_) end, n.title, n.subtitle, n.begins,
            n.ends, n.template, n.template_version, j.who, j.created_at, document_, html_, pdf_, n.no_pdf)
    returning * into n;
    insert into audit (organization_id, who, action, subject, new, why)
    values (org, j.who, 'report make', 'report/' || report_id_,
            jsonb_strip_nulls(jsonb_build_object(
                'kind', n.kind, 'run', run_, 'begins', n.begins, 'ends', n.ends, 'template', n.template,
                'template_version', n.template_version, 'document_sha256', encode(n.document_sha256, 'hex'),
                'html_sha256', encode(n.html_sha256, 'hex'), 'pdf_sha256', encode(n.pdf_sha256, 'hex'))),
            'asked for');
end $$;

revoke all on function api.report_template_put, api.report_keep from public;
grant select on api.reports, api.report_templates to biogate_api;
grant execute on function api.report_template_put, api.report_keep to biogate_api;

-- migrate: rollback

drop function api.report_keep, api.report_template_put;
drop view api.report_templates, api.reports;
drop table reports, report_templates;
drop function reports_kept;
delete from jobs where kind = 'report';
alter table jobs drop constraint jobs_kind_check,
    add constraint jobs_kind_check check (kind in ('export', 'import', 'replay'));
