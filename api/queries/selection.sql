-- Which devices, and which time of each, a request for telemetry means.

-- name: devices
-- Names of the devices, at most $5, for which each of these holds that is not null: one of the names $1 or of the regular
-- expressions $2, all the tags $3, a location that begins with $4.
select d.name
  from devices d
 where ($1::text[] is null or d.name = any ($1) or d.name ~ any ($2::text[]))
   and ($3::text[] is null or d.tags @> $3)
   and ($4::text is null or starts_with(d.location, $4))
 order by d.name
 limit $5;

-- name: phases
-- For each of the devices $1 the newest time in phase $2 that begins before $4 and ends after $3: from the first of the
-- events in a row that name the phase to the next event that names another; `ends` is null while it lasts.
select p.device_id, b.begins, a.ends
  from unnest($1::int[]) as p (device_id)
 cross join lateral (
       select e.time from device_events e
        where e.device_id = p.device_id and e.type = 'phase' and e.data ->> 'phase' = $2 and e.time < $4
        order by e.time desc limit 1) l
 cross join lateral (
       select min(e.time) as begins from device_events e
        where e.device_id = p.device_id and e.type = 'phase' and e.data ->> 'phase' = $2 and e.time <= l.time
          and e.time > coalesce((select o.time from device_events o
                                  where o.device_id = p.device_id and o.type = 'phase' and o.time < l.time
                                    and o.data ->> 'phase' is distinct from $2
                                  order by o.time desc limit 1), '-infinity')) b
  left join lateral (
       select e.time as ends from device_events e
        where e.device_id = p.device_id and e.type = 'phase' and e.time > l.time
          and e.data ->> 'phase' is distinct from $2
        order by e.time limit 1) a on true
 where a.ends is null or a.ends > $3;
