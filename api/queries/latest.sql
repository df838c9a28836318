-- The newest frames, whole: the reader tells which slot is which channel, as a row for each value would cost more than
-- finding the frames. $2: how long before its device's newest frame a layout is looked for; one no longer in use would
-- be looked for through the whole history. $3: since when the newest frame is looked for; as it is known before the
-- query runs, older chunks are not opened. The newest frame of a device in clocks_set_back is the one that came last; it
-- has branches of its own, as a bound that is known for each row only costs a look at each chunk for each row.
-- Units are those of the standard list; what the organization says of them is nearly always nothing, and one look.

-- name: one
-- Of the device named $1: one row a layout that it uses, with the layout's newest frame and its channels. newest null:
-- no frame since then; layout_id null: no frame ever; no row: no such device. The time is gone through once for all
-- layouts, and not at all for a device that has one: a device may have had many, of which it uses few.
with seen as materialized (
select d.device_id, n.time as newest, n.layout_id, n.values, n.quality, u.layouts, u.times,
       (select json_agg(json_build_array(s.channel_id, s.device_id, s.since, s.unit) order by s.since)
          from channel_units s
         where (s.device_id is null or s.device_id = d.device_id)
           and s.channel_id in (select channel_id from channel_units where not plain)) as said_units
  from devices d
  left join clocks_set_back c on c.device_id = d.device_id
  left join lateral (
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is null and f.device_id = d.device_id and f.time >= $3
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is not null and f.device_id = d.device_id and f.time >= $3 and f.time > c.before
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is not null and f.device_id = d.device_id and f.time >= $3 and f.time <= c.until
         order by f.time desc limit 1)
        limit 1) n on true
  left join lateral (
       select array_agg(u.layout_id) as layouts, array_agg(u.time) as times
         from (select f.layout_id, max(f.time) as time
                 from frames f
                where (select count(*) from device_layouts l where l.device_id = d.device_id) > 1
                  and f.device_id = d.device_id
                  and f.time >= n.time - $2::interval and f.time >= $3 - $2::interval
                  and f.time <= n.time
                group by f.layout_id) u) u on true
 where d.name = $1)
select s.device_id, s.newest, l.layout_id, c.channel_ids, c.names, c.units, s.said_units,
       case when l.layout_id = s.layout_id then s.newest else f.time end as time,
       case when l.layout_id = s.layout_id then s.values else f.values end as values,
       case when l.layout_id = s.layout_id then s.quality else f.quality end as quality
  from seen s
  left join device_layouts l on l.device_id = s.device_id
  left join lateral (
       select array_agg(lc.channel_id order by lc.ordinal) as channel_ids, array_agg(c.name order by lc.ordinal) as names,
              array_agg(c.unit order by lc.ordinal) as units
         from layout_channels lc join channels c using (channel_id)
        where lc.layout_id = l.layout_id) c on true
  left join lateral (
       select f.time, f.values, f.quality
         from frames f
        where l.layout_id <> s.layout_id and f.device_id = s.device_id and f.layout_id = l.layout_id
          and f.time >= $3 - $2::interval and f.time = s.times[array_position(s.layouts, l.layout_id)]
        limit 1) f on true;

-- name: many
-- The same of the devices $1, without the channels. The lines are repeated on purpose. PostgreSQL keeps no plan of one
-- statement that takes a name or numbers; it plans that anew each time, and `one` takes 1.5 ms in place of 0.4 ms.
with seen as materialized (
select d.device_id, n.time as newest, n.layout_id, n.values, n.quality, u.layouts, u.times
  from unnest($1::int[]) as d (device_id)
  left join clocks_set_back c on c.device_id = d.device_id
  left join lateral (
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is null and f.device_id = d.device_id and f.time >= $3
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is not null and f.device_id = d.device_id and f.time >= $3 and f.time > c.before
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where c.device_id is not null and f.device_id = d.device_id and f.time >= $3 and f.time <= c.until
         order by f.time desc limit 1)
        limit 1) n on true
  left join lateral (
       select array_agg(u.layout_id) as layouts, array_agg(u.time) as times
         from (select f.layout_id, max(f.time) as time
                 from frames f
                where (select count(*) from device_layouts l where l.device_id = d.device_id) > 1
                  and f.device_id = d.device_id
                  and f.time >= n.time - $2::interval and f.time >= $3 - $2::interval
                  and f.time <= n.time
                group by f.layout_id) u) u on true)
select s.device_id, s.newest, l.layout_id,
       case when l.layout_id = s.layout_id then s.newest else f.time end as time,
       case when l.layout_id = s.layout_id then s.values else f.values end as values,
       case when l.layout_id = s.layout_id then s.quality else f.quality end as quality
  from seen s
  join device_layouts l on l.device_id = s.device_id
  left join lateral (
       select f.time, f.values, f.quality
         from frames f
        where l.layout_id <> s.layout_id and f.device_id = s.device_id and f.layout_id = l.layout_id
          and f.time >= $3 - $2::interval and f.time = s.times[array_position(s.layouts, l.layout_id)]
        limit 1) f on true;

-- name: layouts
select layout_id, channel_ids from layouts where layout_id = any ($1::int[]);

-- name: channels
select channel_id, name, unit from channels where channel_id = any ($1::int[]);

-- name: units
-- What the organization says of the units of all its devices, and of the devices $1.
select json_agg(json_build_array(s.channel_id, s.device_id, s.since, s.unit) order by s.since)
  from channel_units s
 where (s.device_id is null or s.device_id = any ($1::int[]))
   and s.channel_id in (select channel_id from channel_units where not plain);

-- name: older
-- For slots that the newest frame of a layout leaves open: the newest sample before it. $1 devices, $2 layouts, $3 slots,
-- $4 before, $5 since; $6 whether samples that are not good count; $7 the earliest of $5, known before the query runs.
select g.number, f.time, f.value, f.quality
  from unnest($1::int[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[])
       with ordinality as g (device_id, layout_id, slot, before, since, number)
 cross join lateral (
       select f.time, f.values[g.slot] as value, f.quality[g.slot] as quality
         from frames f
        where f.device_id = g.device_id and f.layout_id = g.layout_id
          and f.time >= g.since and f.time >= $7 and f.time < g.before
          and case when $6::boolean then f.values[g.slot] is not null or f.quality[g.slot] is not null
                   else f.values[g.slot] is not null and coalesce(f.quality[g.slot], 0) = 0 end
        order by f.time desc limit 1) f;

-- name: oldest
-- The same by one pass over the time of each device, for slots that were open for long: to go through it for each of
-- them would cost as much again.
select g.number, f.time, f.values[g.slot] as value, f.quality[g.slot] as quality
  from (select g.number, g.device_id, g.layout_id, g.slot, max(f.time) as time
          from (select g.device_id, max(g.before) as before, min(g.since) as since
                  from unnest($1::int[], $4::timestamptz[], $5::timestamptz[]) as g (device_id, before, since)
                 group by g.device_id) d
         cross join lateral (
               select f.time, f.layout_id, f.values, f.quality
                 from frames f
                where f.device_id = d.device_id and f.time >= d.since and f.time >= $7 and f.time < d.before
               offset 0) f
          join unnest($1::int[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[])
               with ordinality as g (device_id, layout_id, slot, before, since, number)
            on g.device_id = d.device_id and g.layout_id = f.layout_id and f.time >= g.since and f.time < g.before
           and case when $6::boolean then f.values[g.slot] is not null or f.quality[g.slot] is not null
                    else f.values[g.slot] is not null and coalesce(f.quality[g.slot], 0) = 0 end
         group by g.number, g.device_id, g.layout_id, g.slot) g
 cross join lateral (
       select f.time, f.values, f.quality
         from frames f
        where f.device_id = g.device_id and f.layout_id = g.layout_id and f.time = g.time and f.time >= $7
        limit 1) f;
