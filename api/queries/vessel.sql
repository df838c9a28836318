-- What the page of a vessel shows beside its telemetry.

-- name: phases
-- The newest $2 phases that the device $1 has reported, newest first; one may be reported again.
select e.data ->> 'phase' as phase, e.time as since
  from device_events e
 where e.device_id = $1 and e.type = 'phase' and e.data ->> 'phase' is not null
 order by e.time desc, e.digest desc
 limit $2;

-- name: rules
-- Rules that are in force on the device $1 and are about one channel; level and limit: of those that compare it with a
-- number. phases: only in these; empty: always.
select r.name as rule, r.definition ->> 'title' as title, r.priority, r.definition -> 'when' ->> 'channel' as channel,
       r.definition -> 'when' ->> 'level' as level,
       case when r.definition -> 'when' ->> 'kind' = 'limit'
            then (r.definition -> 'when' ->> 'limit')::double precision end as "limit",
       array(select jsonb_array_elements_text(r.definition -> 'scope' -> 'phases')) as phases
  from alarm_rules r
  join devices d on d.device_id = $1
 where r.enabled and r.definition -> 'when' ->> 'channel' is not null
   and (jsonb_array_length(r.definition -> 'scope' -> 'devices') = 0 or r.definition -> 'scope' -> 'devices' ? d.name)
   and d.tags @> array(select jsonb_array_elements_text(r.definition -> 'scope' -> 'tags'))
 order by r.name;
