-- both states in the audit events of enrollment that is switched, and of accounts
-- depends: 0025_computed_channels

-- migrate: apply

-- Of all cells the old state has each.
create or replace function enrollment_switch(cell_ text, open_ boolean, who text, why text) returns void
language plpgsql as $$
declare
    was jsonb;
begin
    with old as (
        select cell, enrollment_open from cells where cell = cell_ or cell_ is null order by cell for update
    ), switched as (
        update cells c set enrollment_open = open_ from old where c.cell = old.cell)
    select jsonb_object_agg(cell, enrollment_open) into was from old;
    if was is null then
        raise exception 'there is no cell %', cell_ using errcode = 'no_data_found';
    end if;
    insert into audit (who, action, subject, old, new, why)
    values (who, case when open_ then 'enrollment open' else 'enrollment close' end,
            coalesce('cell/' || cell_, 'cells'), coalesce(was -> cell_, was), to_jsonb(open_), why);
end $$;

-- As account_note, with the state before.
create function account_changed(user_id_ integer, who text, action text, old_ jsonb, new_ jsonb, why text) returns void
language sql as $$
    insert into audit (organization_id, who, action, subject, old, new, why)
    select o, who, action, 'user/' || u.email, old_, new_, why
      from users u, account_organizations(user_id_) o where u.user_id = user_id_ order by o
$$;

-- As in 0016_account_life.sql, with both states in its events.
create or replace function account_change(user_id_ integer, disabled_ boolean, verified_ boolean, who text, why text)
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
        perform account_changed(user_id_, who, case when disabled_ then 'account disable' else 'account enable' end,
            jsonb_build_object('disabled', o.disabled), jsonb_build_object('disabled', disabled_), why);
    end if;
    if verified_ <> o.verified then
        perform account_changed(user_id_, who, case when verified_ then 'account verify' else 'account unverify' end,
            jsonb_build_object('verified', o.verified), jsonb_build_object('verified', verified_), why);
    end if;
end $$;

-- migrate: rollback

create or replace function enrollment_switch(cell_ text, open_ boolean, who text, why text) returns void language plpgsql as $$
begin
    update cells set enrollment_open = open_ where cell = cell_ or cell_ is null;
    if not found then
        raise exception 'there is no cell %', cell_ using errcode = 'no_data_found';
    end if;
    insert into audit (who, action, subject, new, why)
    values (who, case when open_ then 'enrollment open' else 'enrollment close' end,
            coalesce('cell/' || cell_, 'cells'), to_jsonb(open_), why);
end $$;

create or replace function account_change(user_id_ integer, disabled_ boolean, verified_ boolean, who text, why text)
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

drop function account_changed;
