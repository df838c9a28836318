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
-- Which slot of which layout is which channel, for each of the devices $1 by name, with what the standard list says of it;
-- one row of nulls for a device without layouts, no row for an unknown device.
select d.name as device, d.device_id, l.position, c.layout_id, c.ordinal, c.channel_id, c.name, c.unit, c.description,
       c.kind, c.low, c.high, c.decimals, c.step
  from devices d
  left join device_layouts l using (device_id)
  left join lateral (select * from layout_channels join channels using (channel_id)
                      where layout_channels.layout_id = l.layout_id) c on true
 where d.name = any ($1::text[])
 order by d.name, c.channel_id, l.position;

-- name: said
-- What the organization says of channels of all its devices, and of the devices $1: nearly always nothing. To join it to
-- the slots, as the view channel_terms does, takes seven times as long. With the corrections that held at $2 (null: now), in
-- the order in which they were made.
select (select json_agg(json_build_array(u.channel_id, u.device_id, u.since, u.unit) order by u.since)
          from channel_units u
         where (u.device_id is null or u.device_id = any ($1::int[]))
           and u.channel_id in (select channel_id from channel_units where not plain)) as units,
       (select json_agg(json_build_array(d.channel_id, d.device_id, d.title, d.kind, d.low, d.high, d.range_unit,
                                         d.decimals, d.step))
          from channel_descriptions d
         where d.device_id is null or d.device_id = any ($1::int[])) as descriptions,
       (select json_agg(json_build_array(c.device_id, c.channel_id, c.number, (extract(epoch from c.begins) * 1e6)::bigint,
                                         (extract(epoch from c.ends) * 1e6)::bigint, c.value, c.factor, c.added, c.quality)
                        order by c.correction_id)
          from (select distinct on (c.number) c.* from corrections c
                 where c.device_id = any ($1::int[]) and ($2::timestamptz is null or c.made_at <= $2)
                 order by c.number, c.version desc) c
         where c.act <> 'withdraw') as corrections;

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
