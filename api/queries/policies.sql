-- What an organization demands of its people. The functions are in 0038_signatures.sql and 0042_second_acts.sql.

-- name: one
select idle_minutes, password_days, passwords_kept, meanings, second_person, waiting_hours from policies;

-- name: takes_two
-- Whether another admin has to confirm the policy $1, because it demands less of a second person.
select coalesce(policy_takes_two($1), false);

-- name: put
-- $1 policy, $2 who, $3 why
select policy_put($1, $2, $3);
