-- What is said of channels: by an organization for all its devices, and by device where it differs.

-- name: page
-- Channels of the organization by name after $1, at most $2: those that its devices have sent, and those of which it has
-- said something. What is said of single devices is not in here.
select t.*
  from (select lc.channel_id from layout_channels lc where lc.layout_id in (select layout_id from device_layouts)
         union
        select channel_id from channel_descriptions where device_id is null) n
  join organization_channel_terms t using (channel_id)
 where t.channel > $1
 order by t.channel
 limit $2;

-- name: one
-- The channel $1, which may be any; whether something is said of it, and whether a device has sent it. No row: nobody has a
-- channel of this name.
select t.*, exists (select from channel_descriptions o
                     where o.channel_id = t.channel_id and o.device_id is null) as said,
       exists (select from device_layouts l join layout_channels lc using (layout_id)
                where lc.channel_id = t.channel_id) as sent
  from organization_channel_terms t
 where t.channel_id = (select channel_id from channels where name = $1);

-- name: of_device
-- The same of the channel $2 of the device $1.
select t.*,
       exists (select from channel_descriptions o
                where o.channel_id = t.channel_id and o.device_id = t.device_id) as said,
       exists (select from device_layouts l join layout_channels lc using (layout_id)
                where l.device_id = t.device_id and lc.channel_id = t.channel_id) as sent
  from channel_terms t
 where t.device_id = $1 and t.channel_id = (select channel_id from channels where name = $2);

-- name: names
-- The channels that the devices of the organization have sent, or the device $1.
select c.name
  from channels c
 where c.channel_id in (select lc.channel_id from device_layouts l join layout_channels lc using (layout_id)
                         where l.device_id = coalesce($1, l.device_id));

-- name: rules
-- Alarm rules that name the channel $1, in a condition or a formula.
select name from alarm_rules
 where strpos(concat_ws(' ', definition -> 'when' ->> 'channel', definition -> 'when' ->> 'setpoint',
                        definition -> 'when' ->> 'expression', definition ->> 'clear'), $1) > 0
 order by name limit 10;

-- name: describe
select channel_describe($1, $2, $3::jsonb, $4, $5, $6, $7);

-- name: models
-- The models that devices have said to be, with how many are of each.
select model, count(*) as devices from device_models group by model order by model;

-- name: of_model
-- The devices of the model $1 that have sent the channel $2.
select m.device
  from device_models m
 where m.model = $1
   and exists (select from device_layouts l join layout_channels lc using (layout_id) join channels c using (channel_id)
                where l.device_id = m.device_id and c.name = $2)
 order by m.device;
