-- Samples out of frames. In pages, without a join: array_position says which of the device's layouts a frame has, and the slot
-- stands at the same place of the second array. A subscript that is null or outside gives null.

-- name: one_channel
-- A page of raw samples of one channel.
-- $1 device, $2 from, $3 layout_id after which the page begins at that instant (0: from the first), $4 to,
-- $5 layout_ids, $6 slots, $7 whether samples that are not good are wanted, $8 limit
select f.time, f.layout_id,
       f.values[($6::int[])[array_position($5::int[], f.layout_id)]] as value,
       f.quality[($6::int[])[array_position($5::int[], f.layout_id)]] as quality
  from frames f
 where f.device_id = $1
   and f.time >= $2 and (f.time, f.layout_id) > ($2, $3) and f.time < $4
   and case when $7::boolean
            then f.values[($6::int[])[array_position($5::int[], f.layout_id)]] is not null
              or f.quality[($6::int[])[array_position($5::int[], f.layout_id)]] is not null
            else f.values[($6::int[])[array_position($5::int[], f.layout_id)]] is not null
             and (f.quality is null
                  or coalesce(f.quality[($6::int[])[array_position($5::int[], f.layout_id)]], 0) = 0) end
 order by f.time, f.layout_id
 limit $8;

-- name: many_channels
-- The same for several channels: whole frames that have a wanted sample of one of them.
-- $5 layout_ids and $6 slots are pairs here, one for each channel and layout.
select f.time, f.layout_id, f.values, f.quality
  from frames f
 where f.device_id = $1
   and f.time >= $2 and (f.time, f.layout_id) > ($2, $3) and f.time < $4
   and exists (select from unnest($5::int[], $6::int[]) as s (layout_id, slot)
                where s.layout_id = f.layout_id
                  and case when $7::boolean
                           then f.values[s.slot] is not null or f.quality[s.slot] is not null
                           else f.values[s.slot] is not null
                            and (f.quality is null or coalesce(f.quality[s.slot], 0) = 0) end)
 order by f.time, f.layout_id
 limit $8;
