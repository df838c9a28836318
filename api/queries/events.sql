-- What devices reported besides telemetry. Newest first.

-- name: events
-- $1 device, $2 from, $3 to, $4 and $5 (time, digest) before which the page begins, $6 type or null, $7 limit
select time, type, boot, n, data, received_at, digest
  from device_events
 where device_id = $1
   and time >= $2 and time < $3
   and time <= $4 and (time, digest) < ($4, $5::bytea)
   and ($6::text is null or type = $6)
 order by time desc, digest desc
 limit $7;
