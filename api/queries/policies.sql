-- What an organization demands of its people. The function is in 0038_signatures.sql.

-- name: one
select idle_minutes, password_days, passwords_kept, meanings, second_person, waiting_hours from policies;

-- name: put
-- $1 policy, $2 who, $3 why
select policy_put($1, $2, $3);
