-- What a rule is tried on: whole frames in order of time, read by a cursor.

-- name: frames
-- $1 device, $2 from, $3 to
select time, received_at, boot, seq, layout_id, values, quality
  from frames
 where device_id = $1 and time >= $2 and time < $3
 order by time, layout_id;

-- name: bare_frames
-- The same for rules that read no channel.
select time, received_at, boot, seq
  from frames
 where device_id = $1 and time >= $2 and time < $3
 order by time, layout_id;

-- name: layouts
-- Of the device $1: in which slot of which layout the channels $2 stand.
select l.layout_id, lc.ordinal, c.name
  from device_layouts l
  join layout_channels lc using (layout_id)
  join channels c using (channel_id)
 where l.device_id = $1 and c.name = any ($2);

-- name: phases
-- Of the device $1 from $2 to $3, the oldest $4; and the one before, which held at the begin, looked for from $5.
(select time, data ->> 'phase' as phase from device_events
  where device_id = $1 and type = 'phase' and time >= $5 and time < $2
  order by time desc limit 1)
union all
(select time, data ->> 'phase' as phase from device_events
  where device_id = $1 and type = 'phase' and time >= $2 and time < $3
  order by time limit $4);

-- name: confirmed_phases
-- The phases that people confirmed on runs of the device $1, from $2 to $3, in the order of time; is_open: without an end of
-- their own.
select p.name, p.begins, coalesce(p.ends, m.ends) as ends, p.ends is null as is_open
  from run_devices m
  join run_phases p using (run_id)
 where m.device_id = $1 and p.begins < $3 and (coalesce(p.ends, m.ends) is null or coalesce(p.ends, m.ends) > $2)
 order by p.begins;
