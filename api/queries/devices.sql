-- Devices, their presence and their channels.

-- name: page
-- Devices by name after $1, at most $2. The newest frame is one step backwards in the primary key for each.
select d.device_id, d.name, d.state, d.registered_at, p.online, p.since, p.boot, p.firmware, f.time as last_frame_at
  from (select * from devices where name > $1 order by name limit $2) d
  join presence p using (device_id)
  left join lateral (select f.time from frames f where f.device_id = d.device_id order by f.time desc limit 1) f on true
 order by d.name;

-- name: one
select d.device_id, d.name, d.state, d.registered_at, p.online, p.since, p.boot, p.firmware, f.time as last_frame_at
  from devices d
  join presence p using (device_id)
  left join lateral (select f.time from frames f where f.device_id = d.device_id order by f.time desc limit 1) f on true
 where d.name = $1;

-- name: slots
-- Which slot of which of the device's layouts is which channel; one row of nulls for a device without layouts,
-- no row for an unknown device.
select d.device_id, l.position, c.layout_id, c.ordinal, c.channel_id, c.name, c.unit, c.description
  from devices d
  left join device_layouts l using (device_id)
  left join lateral (select * from layout_channels join channels using (channel_id)
                      where layout_channels.layout_id = l.layout_id) c on true
 where d.name = $1
 order by c.channel_id, l.position;

-- name: id
select device_id from devices where name = $1;

-- name: extent
-- Times of the device's first and last frame, from the two ends of the primary key.
select (select time from frames where device_id = $1 order by time limit 1) as first,
       (select time from frames where device_id = $1 order by time desc limit 1) as last;

-- name: names
select device_id, name from devices where name > $1 order by name limit $2;
