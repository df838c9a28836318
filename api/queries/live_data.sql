-- What live feeds of telemetry tell: the newest frames of the devices that somebody watches, found by their key.

-- name: devices
-- Those named $1 (null: all), and whether their clock was set back: see latest.sql.
select d.device_id, d.name, c.device_id is not null as set_back
  from devices d
  left join clocks_set_back c on c.device_id = d.device_id
 where $1::text[] is null or d.name = any ($1)
 order by d.name;

-- name: news
-- For each device $1 what came after the time $2: the newest frame of each layout, and how many there are (of at most
-- 1,000). $3: the earliest of $2, known before the query runs, so that older chunks are not opened.
select w.device_id, f.layout_id, f.time, f.values, f.quality, f.frames
  from unnest($1::int[], $2::timestamptz[]) as w (device_id, after)
 cross join lateral (
       select distinct on (f.layout_id) f.layout_id, f.time, f.values, f.quality,
              count(*) over (partition by f.layout_id) as frames
         from (select f.layout_id, f.time, f.values, f.quality
                 from frames f
                where f.device_id = w.device_id and f.time > w.after and f.time >= $3
                order by f.time desc limit 1000) f
        order by f.layout_id, f.time desc) f;

-- name: settings
-- What the organization says of units, and of computed channels and their constants: texts that are others once it has
-- said something since, and the names of its computed channels.
select (select concat_ws(' ', count(*), max(since)) from channel_units) as units,
       (select coalesce(array_agg(name), '{}') from computed_channels) as names,
       (select concat_ws(' ', sum(version), max(changed_at)) from computed_channels) as definitions,
       (select concat_ws(' ', count(*), sum(version), max(changed_at)) from computed_constants) as constants;
