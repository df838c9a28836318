-- How all devices are doing, for their live feed and the summary.

-- name: presence
-- Of the devices named $1 (null: all): the last status, and when the device was heard last.
select d.name as device, d.state, p.online, p.since, p.why, p.boot, p.firmware,
       greatest(p.received_at, h.heard_at) as last_seen
  from devices d
  join presence p using (device_id)
  left join device_heard h using (device_id)
 where $1::text[] is null or d.name = any ($1)
 order by d.name;
