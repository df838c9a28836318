-- imports of history from files: what became of which file, and which frames came from one
-- depends: 0022_jobs

-- migrate: apply

-- All frames of an import have its received_at: by that, and by nothing else, they are told from what devices sent.
create table imports (
    import_id       bigint      generated always as identity primary key,
    organization_id integer     not null references organizations,
    name            text        not null check (char_length(name) between 1 and 255),
    sha256          bytea       not null,
    plan            bytea       not null,
    who             text        not null,
    job_id          uuid,
    received_at     timestamptz not null default clock_timestamp() unique,
    attempt         integer     not null default 1,
    position        bigint      not null default 0,
    pending         integer     not null default 0,
    committed       bigint      not null default 0,
    duplicate       bigint      not null default 0,
    quarantined     bigint      not null default 0,
    discarded       bigint      not null default 0,
    finished_at     timestamptz,
    result          jsonb
) with (fillfactor = 50);

create unique index imports_open on imports (organization_id, sha256, plan) where finished_at is null;

comment on column imports.sha256 is 'of the file';
comment on column imports.plan is 'of the mapping and the version of the reader: under the same plan the file has the same frames in the same order';
comment on column imports.job_id is 'the job that took the import up last; null: a command';
comment on column imports.attempt is 'the process that took the import up last has this number: earlier ones store nothing any more';
comment on column imports.position is 'frames of the file that are settled, in the order in which the plan gives them';
comment on column imports.pending is 'items settled of the batch that begins at position';

create table imported_devices (
    device_id   integer     not null references devices,
    received_at timestamptz not null,
    import_id   bigint      not null references imports,
    primary key (device_id, received_at)
);

-- Whether a frame of the device with this receipt came from a file, and not from the device.
create function is_imported(device_id_ integer, received_at_ timestamptz) returns boolean language sql stable as $$
    select exists (select from imported_devices i where i.device_id = device_id_ and i.received_at = received_at_)
$$;

-- For the API, whose role cannot ask is_imported.
create view api.imported_devices as
select i.device_id, i.received_at
  from public.imported_devices i join public.devices d using (device_id)
 where d.organization_id = (select api.organization());

grant select on api.imported_devices to biogate_api;

-- migrate: rollback

drop view api.imported_devices;
drop function is_imported;
drop table imported_devices, imports;
