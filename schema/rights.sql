-- What gateways and alarms processes may do: change rows, but no table, and read nobody's password, session or key. Runs at
-- every migrate, as a migration may have made a table.

grant usage on schema public to biogate_gateway;
grant select, insert, update, delete on all tables in schema public to biogate_gateway;
grant usage on all sequences in schema public to biogate_gateway;
revoke all on users, memberships, invitations, sessions, api_keys, sql_logins, former_passwords from biogate_gateway;
revoke insert, update, delete on _pogo_migration, _pogo_version from biogate_gateway;
revoke update, delete on audit from biogate_gateway;
revoke insert, update, delete on signatures, pending_acts, policies from biogate_gateway;

-- So that it sees what the server says of its connections. Without a superuser's rights those figures are missing.
do $$
begin
    grant pg_read_all_stats to biogate_gateway;
exception when insufficient_privilege then
    null;
end $$;
