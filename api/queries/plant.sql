-- What a plant at a glance shows of its vessels beside their newest values.

-- name: vessels
-- Devices that are in use, with what they are called, the run that each is in, and the phase: the one that somebody confirmed
-- for now, else the newest that it has reported, which also ends a confirmed one that has no end (schema/alarms/phases.py);
-- of location beginning with $1, with all the tags $2, of which name or title contains $3; null is any.
select d.device_id, d.name, d.title, d.location, d.tags, r.name as run, r.begins as run_begins,
       case when c.counts then c.name else p.phase end as phase,
       case when c.counts then c.begins else p.since end as phase_since
  from devices d
  left join lateral (
       select e.data ->> 'phase' as phase, e.time as since from device_events e
        where e.device_id = d.device_id and e.type = 'phase' order by e.time desc, e.digest desc limit 1) p on true
  left join lateral (
       select r.run_id, r.name, r.begins from run_devices m join runs r using (run_id)
        where m.device_id = d.device_id and m.begins <= now() and m.ends is null limit 1) r on true
  left join lateral (
       select f.name, f.begins, case when f.ends is null then p.since is null or p.since <= f.begins or p.phase = f.name
                                     else f.ends > now() end as counts
         from run_phases f where f.run_id = r.run_id and f.begins <= now() order by f.begins desc limit 1) c on true
 where d.state in ('active', 'pending', 'suspended')
   and ($1::text is null or starts_with(d.location, $1))
   and ($2::text[] is null or d.tags @> $2)
   and ($3::text is null or position($3 in lower(d.name)) > 0 or position($3 in lower(d.title)) > 0)
 order by d.name;

-- name: alarms
-- Alarms that somebody has to see to, and rules that are not evaluated, by device.
select a.device, a.rule, a.title, a.priority, a.state, a.since, a.n, a.not_evaluated
  from alarms a
 where a.state in ('unacknowledged', 'acknowledged', 'returned-unacknowledged', 'latched') or a.not_evaluated is not null
 order by a.device, array_position(array['critical', 'high', 'medium', 'low'], a.priority), a.since;

-- name: tags
-- Tags and locations that devices have, for the filters.
select array(select distinct t from devices d, unnest(d.tags) t order by t) as tags,
       array(select distinct d.location from devices d where d.location <> '' order by d.location) as locations;
