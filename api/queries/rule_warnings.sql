-- What the devices have sent, for warnings about alarm rules.

-- name: devices
-- Every device: its layouts, and the phases among its newest $1 changes of phase.
select d.name, d.tags, d.state = 'retired' as retired,
       array(select l.layout_id from device_layouts l where l.device_id = d.device_id) as layouts,
       array(select distinct p.phase
               from (select e.data ->> 'phase' as phase from device_events e
                      where e.device_id = d.device_id and e.type = 'phase' order by e.time desc limit $1) p
              where p.phase is not null) as phases
  from devices d;

-- name: channels
-- The channels of the layouts $1.
select l.layout_id, array_agg(c.name) as names
  from layout_channels l join channels c using (channel_id)
 where l.layout_id = any ($1::int[])
 group by l.layout_id;
