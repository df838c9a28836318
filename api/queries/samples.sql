-- Samples of one channel of a device, in the order of time, for COPY in binary form: time, value and quality, none of them
-- null, so that all rows have the same size. A value that was due and is not there is NaN. In pages of $7 rows.
-- $1 device, $2 from, $3 to, $4 layout (or layouts), $5 slot (or slots), $6 whether samples that are not good are wanted

-- name: one_layout
select f.time, coalesce(f.values[$5], 'NaN') as value, coalesce(f.quality[$5], 0::smallint) as quality
  from frames f
 where f.device_id = $1 and f.time >= $2 and f.time < $3 and f.layout_id = $4
   and case when $6::boolean then f.values[$5] is not null or f.quality[$5] is not null
            else f.values[$5] is not null and (f.quality is null or coalesce(f.quality[$5], 0) = 0) end
 order by f.time
 limit $7;

-- name: layouts
-- The slot is looked up once for each frame (offset 0 keeps it so).
select s.time, coalesce(s.values[s.slot], 'NaN') as value, coalesce(s.quality[s.slot], 0::smallint) as quality
  from (select f.time, f.layout_id, f.values, f.quality,
               ($5::int[])[array_position($4::int[], f.layout_id)] as slot
          from frames f
         where f.device_id = $1 and f.time >= $2 and f.time < $3
         order by f.time, f.layout_id
        offset 0) s
 where case when $6::boolean then s.values[s.slot] is not null or s.quality[s.slot] is not null
            else s.values[s.slot] is not null and (s.quality is null or coalesce(s.quality[s.slot], 0) = 0) end
 limit $7;

-- name: first_times
-- Times of the first $6 samples from $2 on, of whatever quality.
-- $1 device, $3 to, $4 layouts, $5 slots, $7 received by then, or null
select s.time
  from (select f.time, f.values, f.quality, ($5::int[])[array_position($4::int[], f.layout_id)] as slot
          from frames f
         where f.device_id = $1 and f.time >= $2 and f.time < $3 and ($7::timestamptz is null or f.received_at <= $7)
         order by f.time
        offset 0) s
 where s.values[s.slot] is not null or s.quality[s.slot] is not null
 limit $6;

-- name: last_times
-- The same, the last ones before $3.
select s.time
  from (select f.time, f.values, f.quality, ($5::int[])[array_position($4::int[], f.layout_id)] as slot
          from frames f
         where f.device_id = $1 and f.time >= $2 and f.time < $3 and ($7::timestamptz is null or f.received_at <= $7)
         order by f.time desc
        offset 0) s
 where s.values[s.slot] is not null or s.quality[s.slot] is not null
 limit $6;
