-- Handshakes, serials, logins and the kill switch. Nothing secret is read.

-- name: page
-- $1 states or null for all, $2 serial or null, $3 and $4 (created_at, txn) before which the page begins, $5 limit
select e.txn, e.cell, e.serial, coalesce(s.device, e.serial) as device, e.identity_key, e.state, e.reason,
       e.claim_version, e.hardware, e.firmware, e.channels, e.username, e.created_at, e.changed_at, e.expires_at
  from enrollments e
  left join serials s using (serial)
 where ($1::text[] is null or e.state = any ($1))
   and ($2::text is null or e.serial = $2)
   and (e.created_at, e.txn) < ($3, $4)
 order by e.created_at desc, e.txn desc
 limit $5;

-- name: one
select e.txn, e.cell, e.serial, coalesce(s.device, e.serial) as device, e.identity_key, e.state, e.reason,
       e.claim_version, e.hardware, e.firmware, e.channels, e.username, e.created_at, e.changed_at, e.expires_at
  from enrollments e
  left join serials s using (serial)
 where e.txn = $1;

-- name: serials
-- $1 import or null, $2 serial after which the page begins, $3 limit
select s.serial, s.device, d.state, s.claim_version, s.blocked, s.identity_key, i.name as import, s.created_at
  from serials s
  left join devices d using (device_id)
  left join claim_imports i using (import_id)
 where s.serial > $2 and ($1::text is null or i.name = $1)
 order by s.serial
 limit $3;

-- name: serial
select s.serial, s.device, d.state, s.claim_version, s.blocked, s.identity_key, i.name as import, s.created_at
  from serials s
  left join devices d using (device_id)
  left join claim_imports i using (import_id)
 where s.serial = $1;

-- name: logins
select username, generation, kind, by_hand, cell, wanted, applied, created_at, applied_at, activated_at, ended_at
  from credentials
 where device_id = $1
 order by generation desc;

-- name: cells
select cell, enrollment_open as open, enrollment_applied as applied from cells where cell <> 'replay' order by cell;

-- name: approve
select enrollment_approve($1, $2, $3, $4, $5);

-- name: deny
select enrollment_deny($1, $2, $3);

-- name: block
select serial_block($1, $2, $3, $4);

-- name: command
select device_command($1, $2, $3, $4);

-- name: switch
select enrollment_switch($1, $2, $3, $4);
