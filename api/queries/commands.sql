-- What devices were asked to do, newest first.

-- name: page
-- $1 device, $2 states or null, $3 and $4 (requested_at, command_id) before which the page begins, $5 limit
select *
  from commands
 where device_id = $1
   and ($2::text[] is null or state = any ($2::text[]))
   and requested_at <= $3 and (requested_at, command_id) < ($3, $4)
 order by requested_at desc, command_id desc
 limit $5;

-- name: one
select * from commands where command_id = $1;

-- name: known
-- What $1 has asked for with the idempotency key $2.
select * from commands where requested_by = $1 and idempotency_key = $2;

-- name: present
-- Of the device $1 what preconditions are about; of the channel $2 the newest good value since $3, which is known before
-- the query runs, so that older chunks are not opened.
select p.online, p.boot, v.time, v.value
  from devices d
  left join presence p using (device_id)
  left join lateral (
       select f.time, f.value
         from device_layouts l
         join layout_channels lc using (layout_id)
         join channels c using (channel_id)
        cross join lateral (
              select f.time, f.values[lc.ordinal] as value
                from frames f
               where f.device_id = d.device_id and f.layout_id = l.layout_id and f.time >= $3
                 and f.values[lc.ordinal] is not null and coalesce(f.quality[lc.ordinal], 0) = 0
               order by f.time desc limit 1) f
        where l.device_id = d.device_id and c.name = $2
        order by f.time desc limit 1) v on true
 where d.name = $1;

-- name: request
select command_id_, is_new
  from command_request($1, $2, $3::jsonb, $4::jsonb, $5, now() + $6::interval, $7, $8, $9, $10);

-- name: cancel
select command_cancel($1, $2, $3);
