-- Handshakes and the kill switch. Nothing secret is read.

-- name: page
-- $1 states or null for all, $2 serial or null, $3 and $4 (created_at, txn) before which the page begins, $5 limit
select e.txn, e.cell, e.serial, coalesce(s.device, e.serial) as device, s.serial is not null as known, s.blocked, e.identity_key, e.state, e.reason,
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

-- name: free
-- Devices that no serial belongs to, for the name of a new controller.
select d.name from devices d where not exists (select from serials s where s.device = d.name) order by d.name limit 200;

-- name: cells
select cell, enrollment_open as open, enrollment_applied as applied from cells where cell <> 'replay' order by cell;

-- name: approve
select enrollment_approve($1, $2, $3, $4, $5);

-- name: deny
select enrollment_deny($1, $2, $3);

-- name: switch
select enrollment_switch($1, $2, $3, $4);
