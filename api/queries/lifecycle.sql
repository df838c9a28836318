-- What becomes of a device, and its logins. Nothing secret is read.

-- name: logins
select username, generation, kind, by_hand, cell, wanted, applied, created_at, applied_at, activated_at, ended_at
  from credentials
 where device_id = $1
 order by generation desc;

-- name: command
select device_command($1, $2, $3, $4);

-- name: give
select device_give($1, $2, $3, $4);
