-- The accounts of the installation. The functions are in 0016_account_life.sql.

-- name: accounts
-- $1 user after whom the page begins, $2 limit
select user_id, email, name, disabled, verified, created_at, last_login_at, organizations from accounts($1, $2);

-- name: account_change
-- $1 user, $2 disabled or null, $3 verified or null, $4 who, $5 why
select account_change($1, $2, $3, $4, $5);

-- name: password_reset_make
-- $1 user, $2 code hash, $3 until, $4 who, $5 why
select password_reset_make($1, $2, $3, $4, $5);
