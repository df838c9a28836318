-- The newest frames, whole: what stands in which slot is the reader's to say, as a row for each value would cost more
-- than finding them. $2: how long before its device's newest frame a layout is looked for; one no longer in use would
-- be looked for through the whole history. $3: since when the newest frame is looked for; as it is known before the
-- query runs, older chunks are not opened. clocks_set_back: of such a device,
-- newest is what came last.

-- name: one
-- Of the device named $1: one row a layout that it uses, with the layout's newest frame and its channels. newest null:
-- no frame since then; layout_id null: no frame ever; no row: no such device.
select d.device_id, n.time as newest, l.layout_id, u.channel_ids, u.names, u.units,
       case when l.layout_id = n.layout_id then n.time else o.time end as time,
       case when l.layout_id = n.layout_id then n.values else o.values end as values,
       case when l.layout_id = n.layout_id then n.quality else o.quality end as quality
  from devices d
  left join clocks_set_back c on c.device_id = d.device_id
  left join lateral (
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where f.device_id = d.device_id and f.time >= $3 and f.time > coalesce(c.before, '-infinity')
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where f.device_id = d.device_id and f.time >= $3 and f.time <= c.until
         order by f.time desc limit 1)
        limit 1) n on true
  left join device_layouts l on l.device_id = d.device_id
  left join lateral (
       select array_agg(lc.channel_id order by lc.ordinal) as channel_ids, array_agg(c.name order by lc.ordinal) as names,
              array_agg(c.unit order by lc.ordinal) as units
         from layout_channels lc join channels c using (channel_id)
        where lc.layout_id = l.layout_id) u on true
  left join lateral (
       select f.time, f.values, f.quality
         from frames f
        where l.layout_id <> n.layout_id and f.device_id = d.device_id and f.layout_id = l.layout_id
          and f.time >= n.time - $2::interval and f.time >= $3 - $2::interval
          and f.time <= n.time
        order by f.time desc limit 1) o on true
 where d.name = $1;

-- name: many
-- The same of the devices $1, without the channels.
select d.device_id, n.time as newest, l.layout_id,
       case when l.layout_id = n.layout_id then n.time else o.time end as time,
       case when l.layout_id = n.layout_id then n.values else o.values end as values,
       case when l.layout_id = n.layout_id then n.quality else o.quality end as quality
  from unnest($1::int[]) as d (device_id)
  left join clocks_set_back c on c.device_id = d.device_id
  left join lateral (
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where f.device_id = d.device_id and f.time >= $3 and f.time > coalesce(c.before, '-infinity')
         order by f.time desc limit 1)
        union all
       (select f.time, f.layout_id, f.values, f.quality
          from frames f
         where f.device_id = d.device_id and f.time >= $3 and f.time <= c.until
         order by f.time desc limit 1)
        limit 1) n on true
  join device_layouts l on l.device_id = d.device_id
  left join lateral (
       select f.time, f.values, f.quality
         from frames f
        where l.layout_id <> n.layout_id and f.device_id = d.device_id and f.layout_id = l.layout_id
          and f.time >= n.time - $2::interval and f.time >= $3 - $2::interval
          and f.time <= n.time
        order by f.time desc limit 1) o on true;

-- name: layouts
select layout_id, channel_ids from layouts where layout_id = any ($1::int[]);

-- name: channels
select channel_id, name, unit from channels where channel_id = any ($1::int[]);

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
