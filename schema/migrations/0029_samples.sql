-- lab samples with their analytes, and material that went into or out of a device: every row is a version that stays
-- depends: 0028_runs

-- migrate: apply

-- A row is a version of a sample. The newest has no superseded_at, which is all that ever changes of a row.
create table lab_samples (
    lab_sample_id   bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    sample          text        not null check (sample ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$'),
    version         integer     not null check (version >= 1),
    act             text        not null check (act in ('take', 'measure', 'correct', 'approve', 'withdraw')),
    device_id       integer     not null references devices,
    taken_at        timestamptz not null,
    location        text check (char_length(location) between 1 and 200),
    note            text check (char_length(note) between 1 and 2000),
    status          text        not null check (status in ('taken', 'measured', 'approved')),
    withdrawn       boolean     not null default false,
    source          text        not null check (source in ('person', 'import', 'device')),
    event           bytea,
    who             text        not null,
    why             text        not null,
    created_at      timestamptz not null default now(),
    superseded_at   timestamptz,
    unique (organization_id, sample, version)
);

comment on column lab_samples.status is 'the least of its analytes';
comment on column lab_samples.event is 'the digest of the device event that it was made of';

create unique index lab_samples_newest on lab_samples (organization_id, sample) where superseded_at is null;
create index lab_samples_taken on lab_samples (organization_id, taken_at desc, lab_sample_id desc)
    where superseded_at is null;
create index lab_samples_device on lab_samples (device_id, taken_at desc, lab_sample_id desc) where superseded_at is null;
create unique index lab_samples_event on lab_samples (device_id, taken_at, event) where version = 1;

-- What was measured of a version. Who approved it is in a place of its own: a rule that it be a second person needs no
-- more than these columns.
create table lab_analytes (
    lab_sample_id bigint not null references lab_samples,
    analyte       text   not null check (char_length(analyte) between 1 and 64),
    value         double precision check (value > '-Infinity' and value < 'Infinity'),
    reading       text check (char_length(reading) between 1 and 100),
    unit          text check (char_length(unit) between 1 and 20),
    method        text check (char_length(method) between 1 and 200),
    status        text   not null check (status in ('taken', 'measured', 'approved')),
    measured_at   timestamptz,
    measured_by   text,
    approved_at   timestamptz,
    approved_by   text,
    primary key (lab_sample_id, analyte),
    check (value is null or reading is null),
    check ((status = 'taken') = (value is null and reading is null)),
    check ((status = 'approved') = (approved_by is not null))
);

comment on column lab_analytes.reading is 'in place of a number: "< 0.1", "positive"';

create index on lab_analytes (analyte, lab_sample_id);

-- A row is a version of a record of what went into a device or out of it.
create table materials (
    material_id     bigint generated always as identity primary key,
    organization_id integer     not null references organizations,
    number          bigint      not null,
    version         integer     not null check (version >= 1),
    act             text        not null check (act in ('add', 'correct', 'withdraw')),
    device_id       integer     not null references devices,
    kind            text        not null check (kind in ('inoculum', 'medium', 'feed', 'base', 'acid', 'antifoam',
                                                         'additive', 'sampling', 'harvest', 'bleed', 'waste')),
    material        text        not null check (char_length(material) between 1 and 100),
    lot             text check (char_length(lot) between 1 and 100),
    quantity        double precision not null check (quantity > 0 and quantity < 1e12),
    unit            text        not null check (unit in ('mg', 'g', 'kg', 'µL', 'mL', 'L')),
    begins          timestamptz not null,
    ends            timestamptz check (ends >= begins),
    note            text check (char_length(note) between 1 and 2000),
    withdrawn       boolean     not null default false,
    source          text        not null check (source in ('person', 'import', 'device')),
    event           bytea,
    who             text        not null,
    why             text        not null,
    created_at      timestamptz not null default now(),
    superseded_at   timestamptz,
    unique (number, version)
);

comment on column materials.ends is 'null: of an instant';

create sequence material_numbers owned by materials.number;
create unique index materials_newest on materials (number) where superseded_at is null;
create index materials_begins on materials (organization_id, begins desc, number desc) where superseded_at is null;
create index materials_device on materials (device_id, begins desc, number desc) where superseded_at is null;
create unique index materials_event on materials (device_id, begins, event) where version = 1;

-- What is stored stays as it is: a correction is a row of its own.
create function lab_record_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'lab records are never overwritten: a correction is a new version'
        using errcode = 'insufficient_privilege';
end $$;

create function lab_record_superseded() returns trigger language plpgsql as $$
begin
    if old.superseded_at is not null or new.superseded_at is null
       or to_jsonb(new) - 'superseded_at' <> to_jsonb(old) - 'superseded_at' then
        raise exception 'lab records are never overwritten: a correction is a new version'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create trigger lab_record_superseded before update on lab_samples
    for each row execute function lab_record_superseded();
create trigger lab_record_superseded before update on materials
    for each row execute function lab_record_superseded();
create trigger lab_record_refuse before delete or truncate on lab_samples
    for each statement execute function lab_record_refuse();
create trigger lab_record_refuse before delete or truncate on materials
    for each statement execute function lab_record_refuse();
create trigger lab_record_refuse before update or delete or truncate on lab_analytes
    for each statement execute function lab_record_refuse();

-- A version as the audit trail has it.
create function lab_sample_document(lab_sample_id_ bigint) returns jsonb language sql stable as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'version', s.version, 'device', d.name, 'taken_at', s.taken_at, 'location', s.location, 'note', s.note,
        'withdrawn', nullif(s.withdrawn, false), 'source', s.source,
        'analytes', (select jsonb_object_agg(a.analyte, to_jsonb(a) - '{lab_sample_id,analyte}'::text[])
                       from lab_analytes a where a.lab_sample_id = s.lab_sample_id)))
      from lab_samples s join devices d using (device_id) where s.lab_sample_id = lab_sample_id_
$$;

create function material_document(material_id_ bigint) returns jsonb language sql stable as $$
    select jsonb_strip_nulls(
           (to_jsonb(m) || jsonb_build_object('device', d.name, 'withdrawn', nullif(m.withdrawn, false)))
           - '{material_id,organization_id,device_id,number,who,why,created_at,superseded_at,act,event}'::text[])
      from materials m join devices d using (device_id) where m.material_id = material_id_
$$;

-- Stores a version of a sample and returns its name; null for an event of a device that made one already. sample_ null:
-- it is given one. version_: the version that must be the newest, 0 if there must be none. `said` has what the columns
-- are called, `analytes_` an array of them. Raises BG412, object_not_in_prerequisite_state.
create function lab_sample_put(
    organization_ integer, device_ integer, sample_ text, version_ integer, act_ text, said jsonb, analytes_ jsonb,
    source_ text, event_ bytea, who text, why_ text
) returns text language plpgsql as $$
declare
    o lab_samples;
    id bigint;
    was jsonb;
    count_ bigint;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);  -- "audi": one after the other, in the order of the trail
    if event_ is not null and exists (select from lab_samples s where s.device_id = device_ and s.event = event_
                                         and s.taken_at = (said ->> 'taken_at')::timestamptz) then
        return null;
    end if;
    if sample_ is null then
        select count(*) into count_ from lab_samples s
         where s.organization_id = organization_ and s.device_id = device_ and s.version = 1;
        loop
            count_ := count_ + 1;
            select d.name || '-s' || count_ into sample_ from devices d where d.device_id = device_;
            exit when not exists (select from lab_samples s where s.organization_id = organization_ and s.sample = sample_);
        end loop;
    end if;
    select * into o from lab_samples s
     where s.organization_id = organization_ and s.sample = sample_ and s.superseded_at is null;
    if version_ = 0 and found then
        raise exception 'there is a sample % already: correct it, or give another name', sample_
            using errcode = 'object_not_in_prerequisite_state';
    elsif version_ <> coalesce(o.version, 0) then
        raise exception 'sample % was changed meanwhile', sample_ using errcode = 'BG412';
    end if;
    if source_ = 'person' and (said ->> 'taken_at')::timestamptz > now() + interval '1 minute' then
        raise exception 'a sample is taken now or in the past' using errcode = 'object_not_in_prerequisite_state';
    end if;
    was := lab_sample_document(o.lab_sample_id);
    update lab_samples set superseded_at = now() where lab_sample_id = o.lab_sample_id;
    insert into lab_samples (organization_id, sample, version, act, device_id, taken_at, location, note, status, withdrawn,
                             source, event, who, why)
    select organization_, sample_, version_ + 1, act_, device_, (said ->> 'taken_at')::timestamptz, said ->> 'location',
           said ->> 'note',
           case when bool_and(a.status = 'approved') then 'approved'
                when bool_and(a.status <> 'taken') then 'measured' else 'taken' end,
           coalesce((said ->> 'withdrawn')::boolean, false), source_, coalesce(event_, o.event), who, why_
      from jsonb_to_recordset(analytes_) as a (status text)
    returning lab_sample_id into id;
    insert into lab_analytes
    select id, a.* from jsonb_to_recordset(analytes_) as a (
        analyte text, value double precision, reading text, unit text, method text, status text,
        measured_at timestamptz, measured_by text, approved_at timestamptz, approved_by text);
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'sample ' || act_, 'sample/' || sample_, was, lab_sample_document(id), why_);
    return sample_;
end $$;

-- The same of a record of material: number_ null and version_ 0 make one. Returns its number.
create function material_put(
    organization_ integer, device_ integer, number_ bigint, version_ integer, act_ text, said jsonb, source_ text,
    event_ bytea, who text, why_ text
) returns bigint language plpgsql as $$
declare
    o materials;
    id bigint;
    was jsonb;
begin
    perform pg_advisory_xact_lock(1635083369, organization_);
    if event_ is not null and exists (select from materials m where m.device_id = device_ and m.event = event_
                                         and m.begins = (said ->> 'begins')::timestamptz) then
        return null;
    end if;
    select * into o from materials m
     where m.organization_id = organization_ and m.number = number_ and m.superseded_at is null;
    if version_ <> coalesce(o.version, 0) then
        raise exception 'material % was changed meanwhile', number_ using errcode = 'BG412';
    end if;
    if source_ = 'person' and (said ->> 'begins')::timestamptz > now() + interval '1 minute' then
        raise exception 'material goes in or out now or in the past' using errcode = 'object_not_in_prerequisite_state';
    end if;
    was := material_document(o.material_id);
    update materials set superseded_at = now() where material_id = o.material_id;
    insert into materials (organization_id, number, version, act, device_id, kind, material, lot, quantity, unit, begins,
                           ends, note, withdrawn, source, event, who, why)
    values (organization_, coalesce(o.number, nextval('material_numbers')), version_ + 1, act_, device_, said ->> 'kind',
            said ->> 'material', said ->> 'lot', (said ->> 'quantity')::double precision, said ->> 'unit',
            (said ->> 'begins')::timestamptz, (said ->> 'ends')::timestamptz, said ->> 'note',
            coalesce((said ->> 'withdrawn')::boolean, false), source_, coalesce(event_, o.event), who, why_)
    returning material_id, number into id, number_;
    insert into audit (organization_id, who, action, subject, old, new, why)
    values (organization_, who, 'material ' || act_, 'material/' || number_, was, material_document(id), why_);
    return number_;
end $$;

-- Makes samples and records of material of what devices said, in the transaction that stores their events. Each record has
-- device_id, event, type, said, and of a sample its name and analytes. A name that is taken is not used; an event that was
-- taken before makes nothing. So this refuses nothing, and an event never waits for it.
create function device_records_make(records jsonb) returns void language plpgsql as $$
declare
    r record;
begin
    for r in select x.*, d.organization_id, d.name as device
               from rows from (jsonb_to_recordset(records) as (
                    device_id integer, event text, type text, said jsonb, sample text, analytes jsonb)) with ordinality
                    as x (device_id, event, type, said, sample, analytes, n)
               join devices d using (device_id)
              order by d.organization_id, x.n loop
        perform pg_advisory_xact_lock(1635083369, r.organization_id);
        if r.type = 'sample' then
            if exists (select from lab_samples s where s.organization_id = r.organization_id and s.sample = r.sample) then
                r.sample := null;
            end if;
            perform lab_sample_put(r.organization_id, r.device_id, r.sample, 0, 'take', r.said, r.analytes, 'device',
                                   decode(r.event, 'hex'), 'device ' || r.device, 'event of the device');
        else
            perform material_put(r.organization_id, r.device_id, null, 0, 'add', r.said, 'device', decode(r.event, 'hex'),
                                 'device ' || r.device, 'event of the device');
        end if;
    end loop;
end $$;

-- For the API. Of a device that was given away nobody sees the samples: they tell what its former owner has made.

create view api.lab_samples as
select s.*, d.name as device from public.lab_samples s join public.devices d using (device_id)
 where s.organization_id = (select api.organization()) and d.organization_id = s.organization_id;

create view api.lab_analytes as
select a.* from public.lab_analytes a join api.lab_samples s using (lab_sample_id);

create view api.materials as
select m.*, d.name as device from public.materials m join public.devices d using (device_id)
 where m.organization_id = (select api.organization()) and d.organization_id = m.organization_id;

create function api.lab_sample_put(
    device_ text, sample_ text, version_ integer, act_ text, said jsonb, analytes_ jsonb, source_ text, who text, why_ text
) returns text language sql security definer set search_path = public, pg_temp as $$
    select public.lab_sample_put(api.organization(), api.device_owned(device_), sample_, version_, act_, said, analytes_,
                                 source_, null, who, why_)
$$;

create function api.material_put(
    device_ text, number_ bigint, version_ integer, act_ text, said jsonb, source_ text, who text, why_ text
) returns bigint language sql security definer set search_path = public, pg_temp as $$
    select public.material_put(api.organization(), api.device_owned(device_), number_, version_, act_, said, source_, null,
                               who, why_)
$$;

revoke all on function api.lab_sample_put, api.material_put from public;
grant execute on function api.lab_sample_put, api.material_put to biogate_api;
grant select on api.lab_samples, api.lab_analytes, api.materials to biogate_api;

-- migrate: rollback

drop function api.lab_sample_put, api.material_put;
drop view api.lab_analytes, api.lab_samples, api.materials;
drop function device_records_make, lab_sample_put, material_put, lab_sample_document, material_document;
drop table lab_analytes, lab_samples, materials;
drop function lab_record_refuse, lab_record_superseded;
