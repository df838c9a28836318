-- name: latest
-- Each channel's newest sample in the time $2 before its device's newest frame, for the devices $1; channels $3 or, if
-- null, all; $4 says whether samples that are not good count. One row for each layout that has the channel.
-- Two laterals: the newest frame of each layout, one step in the primary key; and only for a channel which that frame
-- does not carry (a cell left out, or not good), the newest one before it that does. $2 bounds both: a layout no
-- longer in use would be looked for through the whole history.
select d.device_id, n.time as newest, c.channel_id, c.name, c.unit,
       coalesce(l.time, o.time) as time,
       case when l.time is not null then l.value else o.value end as value,
       case when l.time is not null then l.quality else o.quality end as quality
  from unnest($1::int[]) as d (device_id)
 cross join lateral (select f.time from frames f where f.device_id = d.device_id order by f.time desc limit 1) n
  join device_layouts dl on dl.device_id = d.device_id
  left join lateral (
       select f.time, f.values, f.quality
         from frames f
        where f.device_id = d.device_id and f.layout_id = dl.layout_id and f.time >= n.time - $2::interval
        order by f.time desc limit 1) t on true
  join layout_channels lc on lc.layout_id = dl.layout_id
  join channels c on c.channel_id = lc.channel_id and ($3::text[] is null or c.name = any ($3))
  left join lateral (
       select t.time, t.values[lc.ordinal] as value, t.quality[lc.ordinal] as quality
        where case when $4::boolean then t.values[lc.ordinal] is not null or t.quality[lc.ordinal] is not null
                   else t.values[lc.ordinal] is not null and coalesce(t.quality[lc.ordinal], 0) = 0 end) l on true
  left join lateral (
       select f.time, f.values[lc.ordinal] as value, f.quality[lc.ordinal] as quality
         from frames f
        where l.time is null and t.time is not null
          and f.device_id = d.device_id and f.layout_id = dl.layout_id
          and f.time >= n.time - $2::interval and f.time < t.time
          and case when $4::boolean then f.values[lc.ordinal] is not null or f.quality[lc.ordinal] is not null
                   else f.values[lc.ordinal] is not null and coalesce(f.quality[lc.ordinal], 0) = 0 end
        order by f.time desc limit 1) o on true
 order by d.device_id, c.channel_id, coalesce(l.time, o.time) nulls first;
