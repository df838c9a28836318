-- links that open a browser's session once, for who starts a plant
-- depends: 0026_audit_states

-- migrate: apply

create table log_in_links (
    code_hash  bytea primary key check (octet_length(code_hash) = 32),
    user_id    integer not null references users,
    made_by    text not null,
    expires_at timestamptz not null
);

create function log_in_link_make(user_id_ integer, code_hash_ bytea, expires_at_ timestamptz, who text, why text)
returns void language plpgsql as $$
begin
    if (select disabled from users where user_id = user_id_) then
        raise exception 'the account is disabled: enable it first' using errcode = 'object_not_in_prerequisite_state';
    end if;
    delete from log_in_links where expires_at < now();
    insert into log_in_links (code_hash, user_id, made_by, expires_at) values (code_hash_, user_id_, who, expires_at_);
    perform account_note(user_id_, who, 'log-in link', jsonb_build_object('expires_at', expires_at_), why);
end $$;

-- A link is as good as the password and the account that it was made for.
create function log_in_links_end() returns trigger language plpgsql as $$
begin
    delete from log_in_links where user_id = new.user_id;
    return null;
end $$;

create trigger log_in_links_end after update of password_hash, disabled on users
    for each row when (new.password_hash <> old.password_hash or new.disabled) execute function log_in_links_end();

-- Uses a link up and opens a session of a browser. No row: the link is none, was used, or has expired.
create function api.log_in_by_link(
    code_hash_ bytea, token_hash_ bytea, expires_at_ timestamptz, agent_ text, address_ text, network_ text
) returns table (session_id bigint, user_id integer) language plpgsql security definer set search_path = public, pg_temp as $$
declare
    account users;
    opened bigint;
begin
    delete from log_in_links l using users u
     where l.code_hash = code_hash_ and l.expires_at > now() and u.user_id = l.user_id and not u.disabled
    returning u.* into account;
    if not found then
        return;
    end if;
    opened := api.log_in(account.user_id, account.password_hash, 'browser', null, token_hash_, expires_at_, agent_,
                         address_, network_);
    if opened is not null then
        return query select opened, account.user_id;
    end if;
end $$;

revoke all on function api.log_in_by_link from public;
grant execute on function api.log_in_by_link to biogate_api;

-- migrate: rollback

drop trigger log_in_links_end on users;
drop function api.log_in_by_link, log_in_link_make, log_in_links_end;
drop table log_in_links;
