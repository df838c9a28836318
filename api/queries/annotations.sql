-- What people have noted about a time of a device.

-- name: page
-- $1 device, $2 from, $3 to, $4 and $5 (begins, annotation_id) before which the page begins, $6 limit. Those that overlap
-- with the range, newest first.
select annotation_id, begins, ends, text, who, created_at, withdrawn_at
  from annotations
 where device_id = $1 and withdrawn_at is null
   and begins < $3 and coalesce(ends, begins) >= $2
   and begins <= $4 and (begins, annotation_id) < ($4, $5)
 order by begins desc, annotation_id desc
 limit $6;

-- name: one
-- Also one that was withdrawn.
select annotation_id, begins, ends, text, who, created_at, withdrawn_at from annotations where annotation_id = $1;

-- name: one_of
-- The same of the device named $2.
select a.annotation_id, a.begins, a.ends, a.text, a.who, a.created_at, a.withdrawn_at
  from annotations a join devices d using (device_id)
 where a.annotation_id = $1 and d.name = $2;

-- name: add
select annotate($1, $2, $3, $4, $5);

-- name: withdraw
select annotation_withdraw($1, $2, $3, $4);
