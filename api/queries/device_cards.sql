-- Cards of devices, and places.

-- name: card
-- Of the device $1, with the constant that is its working volume.
select d.name as device, d.location, coalesce(c.card, '{}') as card, coalesce(c.version, 1) as version,
       (k.constants ->> 'working_volume')::float8 as working_volume
  from devices d left join device_cards c using (device_id) left join computed_constants k using (device_id)
 where d.name = $1;

-- name: put
select device_card_put($1, $2::jsonb, $3, $4, $5, $6);

-- name: due
-- Devices with probes whose calibration is due on the day $1, and how many these are.
select d.name as device,
       (select count(*) from jsonb_array_elements(c.card -> 'probes') p where (p ->> 'due_on')::date <= $1) as probes
  from device_cards c join devices d using (device_id)
 where c.due_on <= $1 and d.state in ('active', 'pending', 'suspended') and ($2::text is null or d.name = $2);

-- name: locations
-- Places by path after $1, at most $2.
select l.path, l.kind, l.description,
       (select count(*) from devices d
         where d.location = l.path or starts_with(d.location, l.path || '/')) as devices
  from locations l
 where l.path > $1
 order by l.path
 limit $2;

-- name: location
select l.path, l.kind, l.description,
       (select count(*) from devices d
         where d.location = l.path or starts_with(d.location, l.path || '/')) as devices
  from locations l
 where l.path = $1;

-- name: put_location
select location_put($1, $2, $3, $4, $5);

-- name: remove_location
select location_remove($1, $2, $3);
