-- Accounts and sessions. The functions are in 0006_accounts.sql and 0016_account_life.sql.

-- name: log_in_account
-- $1 e-mail, $2 network; one row: user_id null, no such account
select user_id, email, name, password_hash, disabled, known, coalesce(rounds, 0) as rounds from log_in_account($1, $2);

-- name: log_in_failed
-- $1 user or null, $2 address
select log_in_failed($1, $2);

-- name: has_admin
select has_admin();

-- name: account_of
select user_id, email, name, password_hash, has_password(user_id) as has_password from account_of($1);

-- name: account_create
-- $1 e-mail, $2 name, $3 password hash, $4 code hash or null
select account_create($1, $2, $3, $4);

-- name: key
select name, expires_at from key($1);

-- name: log_in
-- $1 user, $2 password hash, $3 kind, $4 family hash or null, $5 token hash, $6 until, $7 agent, $8 address, $9 network
select log_in($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: log_in_by_link
-- $1 code hash, $2 token hash, $3 until, $4 agent, $5 address, $6 network
select session_id, user_id from log_in_by_link($1, $2, $3, $4, $5, $6);

-- name: session_chain
select session_chain($1);

-- name: session_renew
-- $1 family hash, $2 token hash, $3 hash of the next, $4 until
select session_id, user_id from session_renew($1, $2, $3, $4);

-- name: session_end
-- $1 user, $2 session or null for all
select session_end($1, $2);

-- name: log_out
-- $1 user, $2 session or null for all
select log_out($1, $2);

-- name: sessions
select session_id, kind, agent, created_at, renewed_at, expires_at from sessions_of($1);

-- name: password_change
-- $1 user, $2 old and $3 new password hash, $4 the session that goes on
select password_change($1, $2, $3, $4);

-- name: password_first
-- $1 user, $2 password hash, $3 the session that goes on
select password_first($1, $2, $3);

-- name: password_rehash
-- $1 user, $2 old and $3 new hash of the same password
select password_rehash($1, $2, $3);

-- name: passwords_taken
select passwords_taken($1);

-- name: password_reset_of
-- $1 code hash
select user_id, email, name from password_reset_of($1);

-- name: password_reset_use
-- $1 code hash, $2 password hash
select password_reset_use($1, $2);
