-- How far clocks of devices were off, by hour. Newest first.

-- name: hours
-- $1 device, $2 from, $3 to, $4 hour before which the page begins, $5 limit
select hour, frames, extract(epoch from least)::float8 as least_delay_s, extract(epoch from most)::float8 as most_delay_s
  from device_clocks
 where device_id = $1 and hour >= $2 and hour < $3 and hour < $4
 order by hour desc
 limit $5;
