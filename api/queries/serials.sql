-- Serials that may enroll by themselves. Nothing secret is read.

-- name: serials
-- $1 import or null, $2 serial after which the page begins, $3 limit, $4 in lower case what is in serial or device, or null
select s.serial, s.device, d.state, s.claim_version, s.blocked, s.identity_key, i.name as import, s.created_at
  from serials s
  left join devices d using (device_id)
  left join claim_imports i using (import_id)
 where s.serial > $2 and ($1::text is null or i.name = $1)
   and ($4::text is null or strpos(lower(s.serial), $4) > 0 or strpos(lower(s.device), $4) > 0)
 order by s.serial
 limit $3;

-- name: serial
select s.serial, s.device, d.state, s.claim_version, s.blocked, s.identity_key, i.name as import, s.created_at
  from serials s
  left join devices d using (device_id)
  left join claim_imports i using (import_id)
 where s.serial = $1;

-- name: block
select serial_block($1, $2, $3, $4);
