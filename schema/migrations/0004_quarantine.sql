-- quarantine: rows that people have settled, a quota and what it refused; the audit trail of what people do
-- depends: 0003_streams

-- migrate: apply

alter table quarantine
    add column cell       text,
    add column state      text not null default 'open' check (state in ('open', 'replayed', 'discarded')),
    add column settled_at timestamptz,
    add column shift_ms   float8,
    add column bytes      bigint,
    alter column payload drop not null,
    add column weight     bigint not null generated always as (
        512 + octet_length(topic) + octet_length(detail) + coalesce(octet_length(content_type), 0)
            + coalesce(octet_length(payload), 0)) stored,
    add check ((state = 'open') = (settled_at is null)),
    add check ((state = 'discarded') = (payload is null)),
    drop constraint quarantine_sha256_key;

comment on column quarantine.cell is 'the cell that received it; null: from before this was noted';
comment on column quarantine.state is
    'open; replayed: stored as what it is, the message stays as the original; discarded: the payload is gone';
comment on column quarantine.shift_ms is 'added to its times when it was replayed, or decided for it and its neighbours'
    ' by an automatic shift';
comment on column quarantine.bytes is 'of a payload that is gone';
comment on column quarantine.weight is 'bytes it takes, roughly: what the quota counts';

-- A message that was thrown away and comes again is news; one that is here, or was stored from here, is a duplicate.
create unique index quarantine_sha256 on quarantine (sha256) where state <> 'discarded';

create index quarantine_device on quarantine (device, state, received_at, quarantine_id);
create index quarantine_reason on quarantine (reason, state, received_at, quarantine_id);
drop index quarantine_device_received_at_idx, quarantine_reason_received_at_idx;

-- What is open, kept by the triggers below. By cell, so that gateways do not wait for each other.
create table quarantine_usage (
    cell   text   not null,
    device text,
    rows   bigint not null,
    bytes  bigint not null,
    unique nulls not distinct (device, cell)
) with (fillfactor = 50);

comment on column quarantine_usage.device is 'empty: of no device; null: the whole cell';

create function quarantine_use(cells text[], devices text[], weights bigint[], direction integer) returns void
language sql as $$
    insert into quarantine_usage as u (cell, device, rows, bytes)
    select cell, device, direction * count(*), direction * sum(weight)
      from (select coalesce(cell, '') as cell, coalesce(device, '') as device, weight
              from unnest(cells, devices, weights) as c (cell, device, weight)) c
     group by grouping sets ((cell, device), (cell))
     order by cell, device
    on conflict (device, cell) do update set rows = u.rows + excluded.rows, bytes = u.bytes + excluded.bytes;
    delete from quarantine_usage where direction < 0 and rows = 0 and device = any (devices);
$$;

create function quarantine_count() returns trigger language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        delete from quarantine_usage;
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
        perform quarantine_use(array_agg(cell), array_agg(device), array_agg(weight), -1) from gone where state = 'open';
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        perform quarantine_use(array_agg(cell), array_agg(device), array_agg(weight), 1) from come where state = 'open';
    end if;
    return null;
end $$;

create trigger quarantine_insert after insert on quarantine referencing new table as come
    for each statement execute function quarantine_count();
create trigger quarantine_update after update on quarantine referencing old table as gone new table as come
    for each statement execute function quarantine_count();
create trigger quarantine_delete after delete on quarantine referencing old table as gone
    for each statement execute function quarantine_count();
create trigger quarantine_truncate after truncate on quarantine
    for each statement execute function quarantine_count();

do $$ begin
    perform quarantine_use(array_agg(cell), array_agg(device), array_agg(weight), 1) from quarantine where state = 'open';
end $$;

-- What the quota refused to keep.
create table quarantine_overflow (
    cell     text        not null,
    device   text        not null,
    kind     text        not null check (kind in ('frame', 'status', 'event', 'result')),
    reason   text        not null,
    count    bigint      not null,
    bytes    bigint      not null,
    hash     bytea       not null,
    first_at timestamptz not null,
    last_at  timestamptz not null,
    primary key (cell, device, kind, reason)
) with (fillfactor = 50);

comment on column quarantine_overflow.device is
    'empty: of no device, or of names that are not registered and have nothing in quarantine';
comment on column quarantine_overflow.bytes is 'of the payloads';
comment on column quarantine_overflow.hash is
    'sha256 of (hash before, 32 zero bytes at first; sha256 of topic, NUL, payload): one step a message';

-- What people do: who, when, what, old, new, why. Append-only, each event chained to the one before.
create table audit (
    n       bigint      primary key,
    at      timestamptz not null,
    login   text        not null,
    who     text        not null check (who <> ''),
    action  text        not null check (action <> ''),
    subject text        not null,
    old     jsonb,
    new     jsonb,
    why     text        not null check (why <> ''),
    hash    bytea       not null
);

create index on audit (subject, n);

comment on column audit.login is 'the role at the database; `who` is what its program says';
comment on table audit is
    'insert who, action, subject, old, new, why; the rest is filled in. audit_faults() says what was changed behind it';

create function audit_hash(before bytea, e audit) returns bytea language sql stable as $$
    select sha256(before || convert_to(jsonb_build_array(
        e.n, extract(epoch from e.at), e.login, e.who, e.action, e.subject, e.old, e.new, e.why)::text, 'UTF8'))
$$;

create function audit_append() returns trigger language plpgsql as $$
declare
    last audit;
begin
    perform pg_advisory_xact_lock(1635083369);  -- "audi"
    select * into last from audit order by n desc limit 1;
    new.n := coalesce(last.n, 0) + 1;
    new.at := clock_timestamp();
    new.login := session_user;
    new.hash := audit_hash(coalesce(last.hash, ''), new);
    return new;
end $$;

create function audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the audit trail is append-only' using errcode = 'insufficient_privilege';
end $$;

create trigger audit_append before insert on audit for each row execute function audit_append();
create trigger audit_refuse before update or delete or truncate on audit
    for each statement execute function audit_refuse();

-- Numbers of events that are not what was appended, or behind which events are missing. At the end of the chain nothing
-- is missed: who must be sure of that keeps the last number and hash elsewhere.
create function audit_faults() returns setof bigint language sql stable as $$
    select (e).n
      from (select a as e, lag(a.n, 1, 0::bigint) over chain as before, lag(a.hash, 1, ''::bytea) over chain as hash
              from audit a window chain as (order by a.n)) events
     where (e).n <> before + 1 or (e).hash is distinct from audit_hash(hash, e)
     order by 1
$$;

-- migrate: rollback

drop function audit_faults, audit_hash;
drop table audit;
drop function audit_append, audit_refuse;
drop table quarantine_overflow;
drop trigger quarantine_insert on quarantine;
drop trigger quarantine_update on quarantine;
drop trigger quarantine_delete on quarantine;
drop trigger quarantine_truncate on quarantine;
drop function quarantine_count, quarantine_use;
drop table quarantine_usage;
delete from quarantine where state = 'discarded';
drop index quarantine_sha256, quarantine_device, quarantine_reason;
alter table quarantine
    drop column cell, drop column state, drop column settled_at, drop column shift_ms, drop column bytes,
    drop column weight,
    alter column payload set not null, add unique (sha256);
create index on quarantine (device, received_at);
create index on quarantine (reason, received_at);
