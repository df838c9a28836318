-- Organizations, their members, invitations and keys. The functions are in 0006_accounts.sql and 0016_account_life.sql.

-- name: memberships
select organization, title, role, since from memberships_of($1);

-- name: join
-- $1 user, $2 code hash
select invitation_use($1, $2);

-- name: organization_create
-- $1 user, $2 name, $3 title, $4 description, $5 contact
select organization_make($1, $2, $3, $4, $5);

-- name: organization
select name as organization, title, description, contact, runs_automatic, created_at from organizations;

-- name: organization_change
-- $1 title, $2 description, $3 contact, each null if it stays; $4 who, $5 why
select organization_describe($1, $2, $3, $4, $5);

-- name: run_automation
-- $1 whether events of devices start and end runs, $2 who, $3 why
select run_automation($1, $2, $3);

-- name: members
-- $1 user after whom the page begins, $2 limit
select user_id, email, name, role, since from members where user_id > $1 order by user_id limit $2;

-- name: member
select user_id, email, name, role, since from members where user_id = $1;

-- name: member_change
-- $1 user, $2 role or null: out, $3 who, $4 why
select member_change($1, $2, $3, $4);

-- name: invitations
-- $1 invitation before which the page begins, $2 limit; newest first
select invitation_id, role, uses, email, invited_by, created_at, expires_at
  from invitations where invitation_id < $1 order by invitation_id desc limit $2;

-- name: invitation
select invitation_id, role, uses, email, invited_by, created_at, expires_at from invitations where invitation_id = $1;

-- name: invitation_create
-- $1 role, $2 code hash, $3 uses, $4 until, $5 for whom alone or null, $6 who
select invitation_make($1, $2, $3, $4, $5, $6);

-- name: invitation_end
-- $1 invitation, $2 who, $3 why
select invitation_end($1, $2, $3);

-- name: keys
-- $1, $2 (created_at, key_id) before which the page begins, $3 limit; newest first
select key_id, name, role, scopes, created_by, created_at, expires_at, ended_at
  from api_keys where (created_at, key_id) < ($1, $2) order by created_at desc, key_id desc limit $3;

-- name: key_shown
select key_id, name, role, scopes, created_by, created_at, expires_at, ended_at from api_keys where key_id = $1;

-- name: key_create
-- $1 id, $2 secret hash, $3 name, $4 role, $5 scopes, $6 until or null, $7 who
select key_create($1, $2, $3, $4, $5, $6, $7);

-- name: key_end
-- $1 id, $2 who, $3 why
select key_end($1, $2, $3);
