-- Samples next to instants, one step in the primary key for each.
-- $1 device, $2 instants, $3 layouts, $4 slots, $5 how far a sample may be from its instant, $6 whether samples that are not
-- good count, $7 the first and $8 the last moment at which any of them can be: only those chunks are opened.

-- name: before
-- The last sample at or before each instant.
select w.n, s.time, s.value, s.quality
  from unnest($2::timestamptz[]) with ordinality as w (time, n)
 cross join lateral (
       select f.time, f.values[f.slot] as value, coalesce(f.quality[f.slot], 0::smallint) as quality
         from (select f.*, ($4::int[])[array_position($3::int[], f.layout_id)] as slot
                 from frames f
                where f.device_id = $1 and f.time <= w.time and f.time >= w.time - $5::interval
                  and f.time >= $7 and f.time <= $8
                order by f.time desc, f.layout_id desc
               offset 0) f
        where case when $6::boolean then f.values[f.slot] is not null or f.quality[f.slot] is not null
                   else f.values[f.slot] is not null and coalesce(f.quality[f.slot], 0) = 0 end
        limit 1) s;

-- name: after
-- The first sample at or after each instant.
select w.n, s.time, s.value, s.quality
  from unnest($2::timestamptz[]) with ordinality as w (time, n)
 cross join lateral (
       select f.time, f.values[f.slot] as value, coalesce(f.quality[f.slot], 0::smallint) as quality
         from (select f.*, ($4::int[])[array_position($3::int[], f.layout_id)] as slot
                 from frames f
                where f.device_id = $1 and f.time >= w.time and f.time <= w.time + $5::interval
                  and f.time >= $7 and f.time <= $8
                order by f.time, f.layout_id
               offset 0) f
        where case when $6::boolean then f.values[f.slot] is not null or f.quality[f.slot] is not null
                   else f.values[f.slot] is not null and coalesce(f.quality[f.slot], 0) = 0 end
        limit 1) s;
