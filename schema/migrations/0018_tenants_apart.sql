-- What keeps organizations from hurting each other: logins for SQL are the first one's alone; who watches them
-- depends: 0013_newest_enrollments

-- migrate: apply

-- PostgreSQL counts the rows that a condition removes below a security barrier, and cannot bound memory, notifications
-- and snapshots by login. So whoever logs in for SQL is of the organization that runs the installation.
do $$
declare
    login_ record;
begin
    for login_ in select role, organization_id from sql_logins where organization_id <> 1 loop
        if exists (select from pg_roles where rolname = login_.role) then
            execute format('revoke biogate_sql from %I', login_.role);
            execute format('alter role %I nologin', login_.role);
            perform pg_terminate_backend(pid) from pg_stat_activity where usename = login_.role;
        end if;
        insert into audit (organization_id, who, action, subject, why)
        values (login_.organization_id, 'migration', 'sql-login end', 'sql-login/' || login_.role,
                'logins for SQL are of the organization that runs the installation');
    end loop;
end $$;

delete from sql_logins where organization_id <> 1;
alter table sql_logins add constraint sql_logins_of_the_first check (organization_id = 1);

-- Ends what logins for SQL do for longer than they may, by the settings that such a session can change itself: a
-- transaction keeps old rows, the queue of notifications and locks that retention and migrations wait for. While that
-- queue is as full as `full_` (0 to 1), no transaction of theirs may be older than five seconds.
create function sql_logins_end_late(longest_s double precision, idle_s double precision, full_ double precision)
returns table (login name, why text) language plpgsql security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
    filling boolean := pg_notification_queue_usage() >= full_;
begin
    return query
    with late as (
        select a.pid, a.usename,
               case when a.xact_start < clock_timestamp() - longest_s * interval '1 s' then 'transaction'
                    when a.state like 'idle in transaction%'
                         and a.state_change < clock_timestamp() - idle_s * interval '1 s' then 'idle'
                    when filling and a.xact_start < clock_timestamp() - interval '5 s' then 'notifications'
               end as why
          from pg_stat_activity a join sql_logins l on l.role = a.usename
         where a.xact_start is not null)
    select usename, why from late where why is not null and pg_terminate_backend(pid);
end $$;

revoke all on function sql_logins_end_late from public;

-- What gateways and alarms processes log in as: they change rows, but no table, and read nobody's password or key. Roles
-- are the server's, not the database's: another database may have made it.
do $$
begin
    create role biogate_gateway nologin;
exception when duplicate_object or unique_violation then
    null;
end $$;

grant execute on function sql_logins_end_late to biogate_gateway;

-- migrate: rollback

drop function sql_logins_end_late;
alter table sql_logins drop constraint sql_logins_of_the_first;
