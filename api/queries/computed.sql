-- Computed channels of the organization, and the constants of its devices.

-- name: page
-- Computed channels by name after $1, at most $2.
select name as channel, definition, version, changed_at from computed_channels where name > $1 order by name limit $2;

-- name: one
select name as channel, definition, version, changed_at from computed_channels where name = $1;

-- name: constants
-- Of the devices $1.
select device_id, constants from computed_constants where device_id = any ($1::int[]);

-- name: of_device
-- Of the device named $1; no row: there is none of this name.
select d.name as device, c.constants, coalesce(c.version, 1) as version
  from devices d left join computed_constants c using (device_id) where d.name = $1;

-- name: sent
-- Which of the channels $1 a device of the organization has sent, and one that has.
select c.name, min(d.name) as device
  from devices d join device_layouts l using (device_id) join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where c.name = any ($1::text[])
 group by c.name;

-- name: put
select computed_channel_put($1, $2::jsonb, $3, $4, $5);

-- name: remove
select computed_channel_remove($1, $2, $3, $4);

-- name: set_constants
select computed_constants_set($1, $2::jsonb, $3, $4, $5);
