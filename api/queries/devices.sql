-- Devices, their presence and their channels.

-- name: page
-- Devices by name after $1, at most $2, for which each of these holds that is not null: state among $3, all the tags $4,
-- location begins with $5, name or title has $6 (in lower case) in it, online is $7. Presence and the newest frame are
-- one step in an index for each that is looked at.
select d.*, f.time as last_frame_at
  from (select d.device_id, d.name, d.state, d.registered_at, d.title, d.location, d.tags,
               p.online, p.since, p.why, p.boot, p.firmware
          from devices d
         cross join lateral (select * from presence p where p.device_id = d.device_id limit 1) p
         where d.name > $1
           and ($3::text[] is null or d.state = any ($3))
           and ($4::text[] is null or d.tags @> $4)
           and ($5::text is null or starts_with(d.location, $5))
           and ($6::text is null or strpos(lower(d.name), $6) > 0 or strpos(lower(d.title), $6) > 0)
           and ($7::boolean is null or coalesce(p.online, false) = $7)
         order by d.name limit $2) d
  left join lateral (select f.time from frames f where f.device_id = d.device_id order by f.time desc limit 1) f on true
 order by d.name;

-- name: one
select d.device_id, d.name, d.state, d.registered_at, d.title, d.location, d.tags, d.version,
       p.online, p.since, p.why, p.boot, p.firmware, f.time as last_frame_at
  from devices d
 cross join lateral (select * from presence p where p.device_id = d.device_id limit 1) p
  left join lateral (select f.time from frames f where f.device_id = d.device_id order by f.time desc limit 1) f on true
 where d.name = $1;

-- name: slots
-- Of each of the devices $1, by name, its channels: in which of its layouts each has which slot, and what is said of it. One
-- row of nulls for a device without layouts, no row for an unknown device.
select d.name as device, d.device_id, s.first, s.last, s.layouts, s.ordinals, s.channel_id, t.*
  from devices d
  left join lateral (
       select lc.channel_id, min(l.position) as first, max(l.position) as last,
              array_agg(l.layout_id order by l.position) as layouts, array_agg(lc.ordinal order by l.position) as ordinals
         from device_layouts l join layout_channels lc using (layout_id)
        where l.device_id = d.device_id
        group by lc.channel_id) s on true
  left join lateral (
       select channel, unit, description, title, kind, low, high, decimals, step, since, units
         from channel_terms t where t.device_id = d.device_id and t.channel_id = s.channel_id) t on true
 where d.name = any ($1::text[])
 order by d.name, s.channel_id;

-- name: id
select device_id from devices where name = $1;

-- name: extent
-- Times of the device's first and last frame, from the two ends of the primary key.
select (select time from frames where device_id = $1 order by time limit 1) as first,
       (select time from frames where device_id = $1 order by time desc limit 1) as last;

-- name: names
select device_id, name from devices where name > $1 order by name limit $2;

-- name: change
select device_change($1, $2, $3, $4, $5, $6, $7);
