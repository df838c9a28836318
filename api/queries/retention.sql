-- Holds, which forbid to drop what is of their time. The functions are in 0011_retention.sql.

-- name: holds
-- $1 number before which the page begins, $2 limit. Newest first, those that were ended too.
select hold_id, organization, device, begins, ends, who, why, made_at, ended_at, dropped_until
  from retention_holds where hold_id < $1 order by hold_id desc limit $2;

-- name: hold
select hold_id, organization, device, begins, ends, who, why, made_at, ended_at, dropped_until
  from retention_holds where hold_id = $1;

-- name: make
-- $1 device or null for all, $2 from, $3 to, $4 who, $5 why
select retention_hold($1, $2, $3, $4, $5);

-- name: end
select retention_hold_end($1, $2, $3);
