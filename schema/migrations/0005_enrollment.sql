-- enrollment: serials and claim keys, handshakes, logins at the broker, and what operators do with them
-- depends: 0004_quarantine

-- migrate: apply

-- To this key secrets are sealed (schema/sealed.py). The gateways have the private one, in a file.
create table vault (
    only_one   boolean primary key default true check (only_one),
    public_key bytea not null check (octet_length(public_key) = 32)
);

alter table devices
    add column state text not null default 'active'
        check (state in ('pending', 'active', 'suspended', 'revoked', 'retired')),
    add column renew      integer,
    add column renew_told integer;

comment on column devices.state is 'pending: granted a login and not yet heard of; registered by hand: active';
comment on column devices.renew is 'logins of an older generation are to be replaced: the device is asked to enroll again';
comment on column devices.renew_told is 'what the retained message on its identity topic says';

create index devices_renew on devices (device_id) where renew is distinct from renew_told;

alter table cells
    add column enrollment_open    boolean not null default true,
    add column enrollment_applied boolean;

comment on column cells.enrollment_open is 'the kill switch: false disables the login that all handshakes use';
comment on column cells.enrollment_applied is 'what the broker was last told of it';

alter table statuses add column generation integer;

create index on statuses (device_id, generation, received_at);

comment on column statuses.generation is 'of the login it was published under, as the device says';

-- Who is shut out is offline: the broker does not publish the will of a client that may publish no more.
create or replace view presence as
select d.device_id, d.name as device,
       case when s.online then d.state in ('active', 'pending') else s.online end as online, s.boot, s.time as since,
       s.received_at, s.oldest_seq, s.firmware
  from devices d
  left join lateral (select * from statuses s where s.device_id = d.device_id
                      order by s.boot desc, s.time desc, s.online limit 1) s on true;

-- What an import may use up.
create table claim_imports (
    import_id   integer generated always as identity primary key,
    name        text not null unique check (name <> ''),
    quota       integer check (quota >= 0),
    imported_at timestamptz not null default now()
);

comment on column claim_imports.quota is 'devices that may enroll with serials of this import; null: all';

-- The controllers that may enroll by themselves. A serial that is not here waits for an operator.
create table serials (
    serial        text primary key check (serial ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    device        text not null unique check (device ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    claim_version smallint not null default 1 check (claim_version >= 0),
    claim_key     bytea,
    import_id     integer references claim_imports,
    blocked       boolean not null default false,
    identity_key  bytea check (octet_length(identity_key) = 32),
    device_id     integer unique references devices,
    created_at    timestamptz not null default now(),
    check ((claim_version = 0) = (claim_key is not null))
);

create index on serials (import_id) where device_id is not null;

comment on column serials.device is 'the name it gets: in its topics, and everywhere';
comment on column serials.claim_version is 'of the master key its claim key is made from; 0: claim_key';
comment on column serials.claim_key is 'sealed for "serials/<serial>"';
comment on column serials.identity_key is 'pinned at the first success: another one needs an operator';

-- Logins at the brokers: what is wanted, and what the broker was last told. One leader a cell makes them equal.
create table credentials (
    username     text primary key check (username ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.[0-9]{1,9}$'),
    device_id    integer not null references devices,
    cell         text not null references cells,
    generation   integer not null check (generation >= 1),
    kind         text not null default 'password' check (kind in ('password', 'certificate')),
    client_id    text unique,
    password     bytea,
    salt         bytea,
    verifier     bytea,
    wanted       text not null default 'present' check (wanted in ('present', 'disabled', 'absent')),
    applied      text not null default 'absent' check (applied in ('present', 'disabled', 'absent')),
    created_at   timestamptz not null default now(),
    applied_at   timestamptz,
    activated_at timestamptz,
    ended_at     timestamptz,
    by_hand      boolean not null default false,
    certificate_serial bytea check (octet_length(certificate_serial) between 1 and 20),
    unique (device_id, generation),
    check (password is null or (activated_at is null and wanted <> 'absent'))
);

create index credentials_due on credentials (cell, created_at) where wanted <> applied;
create index credentials_unused on credentials (device_id) where activated_at is null and wanted = 'present';

comment on column credentials.username is 'name of the device, dot, generation';
comment on column credentials.client_id is 'a secret: the only client id it may connect with; null: any';
comment on column credentials.password is 'sealed for "credentials/<username>", and gone as soon as the device has used it';
comment on column credentials.verifier is 'PBKDF2-SHA512 of the password with salt, 101 iterations, 64 bytes: as the broker keeps it';
comment on column credentials.certificate_serial is 'of the certificate that was issued, big-endian: to revoke it';
comment on column credentials.by_hand is 'made by a command for people and programs, not by a handshake; used from the start';

-- The handshakes: docs/enrollment.md. Each reply is kept as it was sent: the same request gets the same bytes again.
create table enrollments (
    txn           text primary key check (txn ~ '^[0-9a-f]{32}$'),
    cell          text not null references cells,
    serial        text not null,
    identity_key  bytea not null check (octet_length(identity_key) = 32),
    claim_version smallint not null,
    state         text not null check (state in (
        'challenged', 'awaiting', 'approved', 'provisioning', 'granted', 'active', 'rejected', 'expired')),
    reason        text,
    hello         bytea not null,
    challenge     bytea not null,
    transcript    bytea not null,
    keys          bytea,
    proof         bytea,
    reply         bytea,
    username      text references credentials,
    hardware      text,
    firmware      text,
    channels      text[] not null default '{}',
    created_at    timestamptz not null default now(),
    changed_at    timestamptz not null default now(),
    expires_at    timestamptz,
    check (keys is null or state in ('challenged', 'awaiting', 'approved'))
);

create index enrollments_open on enrollments (state, created_at) where state not in ('active', 'rejected', 'expired');
create index enrollments_serial on enrollments (serial, created_at);
create index enrollments_ended on enrollments (changed_at) where state in ('active', 'rejected', 'expired');

comment on column enrollments.state is
    'awaiting: an operator; approved: by one; provisioning: the login is being made; granted: the reply may be sent;'
    ' active: the login was used';
comment on column enrollments.reason is 'why it awaits an operator, or a code of a refusal';
comment on column enrollments.transcript is 'th2';
comment on column enrollments.keys is 'k_d, k_g, k_s, sealed for "enrollments/<txn>"; gone when they are not needed any more';
comment on column enrollments.proof is 'as it was received, once it was right';
comment on column enrollments.reply is 'to the proof: the grant; to be sent from state granted on';

-- Gateways hear at once of what there is to do.
create function access_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('biogate_access', '');
    return null;
end $$;

create trigger access_notify after insert or update of wanted, applied on credentials
    for each row when (new.wanted <> new.applied) execute function access_notify();
create trigger access_notify after update of renew, renew_told on devices
    for each row when (new.renew is distinct from new.renew_told) execute function access_notify();
create trigger access_notify after update of enrollment_open on cells
    for each row when (new.enrollment_open is distinct from new.enrollment_applied) execute function access_notify();

create function enrollment_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('biogate_enrollment', new.txn);
    return null;
end $$;

create trigger enrollment_notify after update of state on enrollments
    for each row when (new.state in ('approved', 'granted') or new.state = 'rejected' and old.state = 'awaiting')
    execute function enrollment_notify();

-- Every change of state of a handshake that has proved itself, and what people do to any, is in the audit trail. (Of
-- others the gateways write down how many came to what, once a minute: who has no claim key shall not fill the disk.)
-- `biogate.who` and `biogate.why`, set for the transaction, say who and why; without them it is the gateway's.
create function enrollment_audit() returns trigger language plpgsql as $$
declare
    old_state text := case when tg_op = 'UPDATE' then old.state end;
begin
    if old_state is distinct from new.state
       and (new.proof is not null or current_setting('biogate.who', true) <> '') then
        insert into audit (who, action, subject, old, new, why)
        values (coalesce(nullif(current_setting('biogate.who', true), ''), 'gateway ' || new.cell),
                'enrollment ' || new.state, 'serial/' || new.serial, to_jsonb(old_state),
                jsonb_strip_nulls(jsonb_build_object(
                    'txn', new.txn, 'identity', encode(sha256(new.identity_key), 'hex'), 'username', new.username,
                    'reason', new.reason)),
                coalesce(nullif(current_setting('biogate.why', true), ''), new.reason, 'handshake'));
    end if;
    return null;
end $$;

create trigger enrollment_audit after insert or update of state on enrollments
    for each row execute function enrollment_audit();

create function audit_actor(who text, why text) returns void language sql as $$
    select set_config('biogate.who', who, true), set_config('biogate.why', why, true)
$$;

-- What operators do. Errors: P0002 there is no such thing; 55000 it is not in a state for this; 23514 a bad name.

create function serials_import(
    serials_ text[], devices_ text[], versions smallint[], keys bytea[], import_name text, quota_ integer,
    who text, why text
) returns table (serial text, outcome text) language plpgsql as $$
declare
    id integer;
begin
    insert into claim_imports as i (name, quota) values (import_name, quota_)
    on conflict (name) do update set quota = coalesce(excluded.quota, i.quota) returning import_id into id;
    return query
    with given as (
        select distinct on (g.s) g.s, g.d, g.v, g.k
          from unnest(serials_, devices_, versions, keys) with ordinality as g (s, d, v, k, n) order by g.s, g.n
    ), added as (
        insert into serials as t (serial, device, claim_version, claim_key, import_id)
        select s, d, v, k, id from given order by s
        on conflict do nothing returning t.serial
    )
    select g.s, case when a.serial is not null then 'new' when t.serial is not null then 'known' else 'name-taken' end
      from given g left join added a on a.serial = g.s left join serials t on t.serial = g.s;
    insert into audit (who, action, subject, new, why)
    values (who, 'serials import', 'import/' || import_name,
            jsonb_build_object('serials', cardinality(serials_), 'quota', quota_), why);
end $$;

create function serial_block(serial_ text, block boolean, who text, why text) returns void language plpgsql as $$
declare
    was boolean;
begin
    perform audit_actor(who, why);
    select blocked into was from serials s where s.serial = serial_ for update;
    if not found then
        raise exception 'there is no serial %', serial_ using errcode = 'no_data_found';
    end if;
    update serials s set blocked = block where s.serial = serial_;
    if block then
        update enrollments e set state = 'rejected', reason = 'blocked', keys = null, changed_at = now()
         where e.serial = serial_ and e.state in ('challenged', 'awaiting', 'approved');
    end if;
    insert into audit (who, action, subject, old, new, why)
    values (who, case when block then 'serial block' else 'serial unblock' end, 'serial/' || serial_,
            to_jsonb(was), to_jsonb(block), why);
    if not block then  -- what was revoked or retired may come back, by a new handshake
        update devices d set state = 'pending' from serials s
         where s.serial = serial_ and d.name = s.device and d.state in ('revoked', 'retired');
    end if;
end $$;

create function enrollment_approve(txn_ text, device_ text, who text, why text) returns void language plpgsql as $$
declare
    e enrollments;
begin
    perform audit_actor(who, why);
    select * into e from enrollments x where x.txn = txn_ for update;
    if not found then
        raise exception 'there is no enrollment %', txn_ using errcode = 'no_data_found';
    elsif e.state <> 'awaiting' then
        raise exception 'enrollment % is %, it does not await approval', txn_, e.state
            using errcode = 'object_not_in_prerequisite_state';
    elsif exists (select from serials s where s.serial = e.serial and s.device <> device_) then
        raise exception 'serial % has a name already, and keeps it', e.serial
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    insert into serials as s (serial, device, claim_version, identity_key)
    values (e.serial, coalesce(device_, e.serial), e.claim_version, e.identity_key)
    on conflict (serial) do update set identity_key = e.identity_key, blocked = false;
    update enrollments set state = 'approved', changed_at = now() where txn = txn_;
end $$;

create function enrollment_deny(txn_ text, who text, why text) returns void language plpgsql as $$
begin
    perform audit_actor(who, why);
    update enrollments set state = 'rejected', reason = 'denied', keys = null, changed_at = now()
     where txn = txn_ and state in ('awaiting', 'challenged', 'approved');
    if not found then
        if exists (select from enrollments where txn = txn_) then
            raise exception 'enrollment % is over', txn_ using errcode = 'object_not_in_prerequisite_state';
        end if;
        raise exception 'there is no enrollment %', txn_ using errcode = 'no_data_found';
    end if;
end $$;

-- action: suspend, resume, revoke, retire, rotate, reset
create function device_command(device_ text, action_ text, who text, why text) returns void language plpgsql as $$
declare
    d devices;
    allowed text[] := case action_
        when 'suspend' then array['active', 'pending']
        when 'resume' then array['suspended']
        when 'revoke' then array['active', 'pending', 'suspended', 'retired', 'revoked']
        when 'retire' then array['active', 'pending', 'suspended']
        when 'rotate' then array['active']
        when 'reset' then array['active', 'pending', 'suspended', 'retired', 'revoked'] end;
begin
    perform audit_actor(who, why);
    select * into d from devices where name = device_ for update;
    if not found then
        raise exception 'there is no device %', device_ using errcode = 'no_data_found';
    elsif allowed is null then
        raise exception 'there is no action %', action_ using errcode = 'no_data_found';
    elsif not d.state = any (allowed) then
        raise exception 'device % is %: % needs it to be %', device_, d.state, action_, array_to_string(allowed, ' or ')
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    case action_
    when 'suspend' then
        update devices set state = 'suspended' where device_id = d.device_id;
        update credentials set wanted = 'disabled' where device_id = d.device_id and wanted = 'present';
    when 'resume' then
        update devices set state = 'active' where device_id = d.device_id;
        update credentials set wanted = 'present' where device_id = d.device_id and wanted = 'disabled';
    when 'revoke', 'retire' then
        update devices set state = action_ || 'd', renew = null where device_id = d.device_id;
        update credentials set wanted = 'absent', password = null, ended_at = coalesce(ended_at, now())
         where device_id = d.device_id and wanted <> 'absent';
        update serials set blocked = true where device_id = d.device_id or device = device_;
        update enrollments e set state = 'rejected', reason = 'blocked', keys = null, changed_at = now()
          from serials s where s.device = device_ and e.serial = s.serial
           and e.state in ('challenged', 'awaiting', 'approved', 'provisioning', 'granted');
    when 'rotate' then
        update devices
           set renew = (select max(generation) + 1 from credentials where device_id = d.device_id and wanted = 'present'
                                                                      and not by_hand)
         where device_id = d.device_id returning * into d;
        if d.renew is null then
            raise exception 'device % has no login from a handshake', device_
                using errcode = 'object_not_in_prerequisite_state';
        end if;
    when 'reset' then
        update serials set identity_key = null where device_id = d.device_id or device = device_;
    end case;
    insert into audit (who, action, subject, old, new, why)
    select who, 'device ' || action_, 'device/' || device_, jsonb_build_object('state', d.state),
           jsonb_strip_nulls(jsonb_build_object('state', n.state, 'renew', n.renew)), why
      from devices n where n.device_id = d.device_id;
end $$;

-- A login for people and programs. The caller has made the password, and sealed it.
create function device_login(
    device_ text, cell_ text, client_id_ text, seal_ jsonb, who text, why text
) returns text language plpgsql as $$
declare
    id integer;
    number integer;
    name_ text;
begin
    select device_id into id from devices where name = device_ and state in ('active', 'pending') for update;
    if not found then
        raise exception 'there is no active device %', device_ using errcode = 'no_data_found';
    end if;
    number := (seal_ ->> 'generation')::integer;
    name_ := device_ || '.' || number;
    insert into credentials (username, device_id, cell, generation, client_id, password, salt, verifier, by_hand)
    values (name_, id, cell_, number, client_id_, decode(seal_ ->> 'password', 'hex'), decode(seal_ ->> 'salt', 'hex'),
            decode(seal_ ->> 'verifier', 'hex'), true);
    insert into audit (who, action, subject, new, why)
    values (who, 'device login', 'device/' || device_, jsonb_build_object('username', name_), why);
    return name_;
end $$;

-- One login, of a handshake or by hand; the device stays as it is.
create function login_end(username_ text, who text, why text) returns void language plpgsql as $$
declare
    was text;
begin
    select wanted into was from credentials where username = username_ for update;
    if not found then
        raise exception 'there is no login %', username_ using errcode = 'no_data_found';
    elsif was = 'absent' then
        raise exception 'login % has ended already', username_ using errcode = 'object_not_in_prerequisite_state';
    end if;
    update credentials set wanted = 'absent', password = null, ended_at = now() where username = username_;
    insert into audit (who, action, subject, old, new, why)
    select who, 'login end', 'device/' || d.name, to_jsonb(was), jsonb_build_object('username', username_), why
      from credentials c join devices d using (device_id) where c.username = username_;
end $$;

create function enrollment_switch(cell_ text, open_ boolean, who text, why text) returns void language plpgsql as $$
begin
    update cells set enrollment_open = open_ where cell = cell_ or cell_ is null;
    if not found then
        raise exception 'there is no cell %', cell_ using errcode = 'no_data_found';
    end if;
    insert into audit (who, action, subject, new, why)
    values (who, case when open_ then 'enrollment open' else 'enrollment close' end,
            coalesce('cell/' || cell_, 'cells'), to_jsonb(open_), why);
end $$;

-- Logins that have been used, as a status of their generation says: the older ones go. Returns their names.
create function credentials_activate(cell_ text) returns setof text language plpgsql as $$
declare
    c credentials;
begin
    for c in
        select * from credentials n
         where n.cell = cell_ and n.activated_at is null and n.wanted = 'present' and n.applied = 'present'
           and (n.by_hand or exists (
               select from statuses s
                where s.device_id = n.device_id
                  and (s.generation = n.generation
                       or s.generation is null and s.received_at > n.applied_at - interval '5 s'
                          and not exists (select from credentials o where o.device_id = n.device_id
                                                                      and o.generation <> n.generation
                                                                      and o.wanted = 'present'))))
    loop
        perform from devices where device_id = c.device_id for update;  -- first, as device_command does: no deadlock
        perform from credentials where username = c.username and activated_at is null and wanted = 'present' for update;
        continue when not found;
        update credentials set activated_at = now(), password = null where username = c.username;
        if not c.by_hand then
            update credentials set wanted = 'absent', password = null, ended_at = now()
             where device_id = c.device_id and generation < c.generation and wanted <> 'absent' and not by_hand;
            update devices set state = case state when 'pending' then 'active' else state end,
                               renew = case when renew > c.generation then renew end
             where device_id = c.device_id;
            update enrollments set state = 'active', changed_at = now(), expires_at = null
             where username = c.username and state = 'granted';
        end if;
        return next c.username;
    end loop;
end $$;

-- What has taken too long ends; what ended long ago is forgotten (the audit trail keeps it). Returns how many ended.
create function enrollments_sweep(cell_ text, keep interval) returns integer language plpgsql as $$
declare
    ended integer;
begin
    with late as (
        update enrollments set state = 'expired', reason = 'expired', keys = null, changed_at = now()
         where cell = cell_
           and (state in ('challenged', 'awaiting', 'approved', 'granted') and expires_at < now()
                or state = 'provisioning' and changed_at < now() - interval '1 hour')  -- the login cannot be made
        returning username
    ), gone as (
        update credentials c set wanted = 'absent', password = null, ended_at = now()
          from late where c.username = late.username and c.activated_at is null
        returning c.device_id
    )
    select count(*) into ended from late left join gone on false;
    delete from enrollments
     where cell = cell_ and state in ('active', 'rejected', 'expired')
       and changed_at < now() - case when proof is null then interval '1 hour' else keep end;
    return ended;
end $$;

-- migrate: rollback

drop function enrollments_sweep, credentials_activate, enrollment_switch, login_end, device_login, device_command,
    enrollment_deny, enrollment_approve, serial_block, serials_import, audit_actor;
drop table enrollments, credentials, serials, claim_imports, vault;
drop trigger access_notify on devices;
drop trigger access_notify on cells;
drop function enrollment_audit, enrollment_notify, access_notify;
drop view presence;
alter table statuses drop column generation;
create view presence as
select d.device_id, d.name as device, s.online, s.boot, s.time as since, s.received_at, s.oldest_seq, s.firmware
  from devices d
  left join lateral (select * from statuses s where s.device_id = d.device_id
                      order by s.boot desc, s.time desc, s.online limit 1) s on true;
alter table cells drop column enrollment_open, drop column enrollment_applied;
alter table devices drop column state, drop column renew, drop column renew_told;
