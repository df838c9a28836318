-- Frames as COPY takes them: (layout_id, time, values, quality) without a null inside an array, so that all rows of a layout
-- are of one length (NaN is never stored). Read by api/series/copied.py.

-- name: frames
-- A page of whole frames of the device $1: from (time, layout_id) = ($2, $3), which is not part of it, to $4, of the
-- layouts $5, at most $6, received by $7 (null: whenever).
select f.layout_id, f.time, array_replace(f.values, null, 'NaN'), array_replace(f.quality, null, -1::smallint)
  from frames f
 where f.device_id = $1 and f.time >= $2 and (f.time, f.layout_id) > ($2, $3) and f.time < $4
   and f.layout_id = any ($5::int[]) and ($7::timestamptz is null or f.received_at <= $7)
 order by f.time, f.layout_id
 limit $6

-- name: parts
-- The same, of each layout of $5 only the slots from $8 to $9 at the same place: less to send where few channels are wanted.
select f.layout_id, f.time,
       array_replace(f.values[($8::int[])[array_position($5::int[], f.layout_id)]
                             :($9::int[])[array_position($5::int[], f.layout_id)]], null, 'NaN'),
       array_replace(f.quality[($8::int[])[array_position($5::int[], f.layout_id)]
                              :($9::int[])[array_position($5::int[], f.layout_id)]], null, -1::smallint)
  from frames f
 where f.device_id = $1 and f.time >= $2 and (f.time, f.layout_id) > ($2, $3) and f.time < $4
   and f.layout_id = any ($5::int[]) and ($7::timestamptz is null or f.received_at <= $7)
 order by f.time, f.layout_id
 limit $6

-- name: counted
-- How many frames, at most $5, the device $1 has from $2 to $3 in the layouts $4, and the time of the last one counted.
select count(*) as frames, max(c.time) as last
  from (select f.time from frames f
         where f.device_id = $1 and f.time >= $2 and f.time < $3 and f.layout_id = any ($4::int[])
         order by f.time limit $5) c

-- name: widths
-- How many slots each of the layouts $1 has.
select layout_id, max(ordinal)::int as slots from layout_channels where layout_id = any ($1::int[]) group by layout_id

-- name: made
select export_made($1, $2::jsonb)
