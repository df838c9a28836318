-- What happened in an organization, of all kinds, newest first: each kind by its own index, and then the newest of all.

-- name: page
-- $1 kinds; $2 devices or null; $3 from, $4 to; $5 and $6 (time, id) before which the page begins; $7 limit.
-- Each kind is cut to a page before they are put together. Of devices: first by each, as that is what the indexes are for.
select a.time, a.id, a.kind, a.device, a.title, a.who, a.facts from (
(select t.recorded_at as time, 'alarm/' || t.transition_id as id, 'alarm' as kind, t.device,
        t.title || ': ' || t.after as title, t.who,
        jsonb_build_object('rule', t.rule, 'priority', t.priority, 'before', t.before, 'after', t.after, 'cause', t.cause,
                           'detail', t.detail, 'at', to_char(t.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) as facts
   from alarm_transitions t
  where 'alarm' = any ($1::text[]) and ($2::text[] is null or t.device = any ($2)) and t.before <> t.after
    and t.recorded_at >= $3 and t.recorded_at < $4 and t.recorded_at <= $5
    and (t.recorded_at < $5 or 'alarm/' || t.transition_id < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select s.received_at, s.id, 'presence', d.name, case when s.online then 'online' else 'offline' end, null,
        jsonb_build_object('online', s.online, 'boot', s.boot, 'firmware', s.firmware,
                           'since', to_char(s.time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
   from devices d
  cross join lateral (
        select s.*, 'presence/' || d.name || '/' || s.boot || '/' || s.time || '/' || s.online as id from statuses s
         where s.device_id = d.device_id and s.received_at >= $3 and s.received_at < $4 and s.received_at <= $5
           and (s.received_at < $5 or 'presence/' || d.name || '/' || s.boot || '/' || s.time || '/' || s.online < $6)
         order by s.received_at desc, id desc limit $7) s
  where 'presence' = any ($1) and ($2 is null or d.name = any ($2))
  order by 1 desc, 2 desc limit $7)
union all
(select e.time, e.id, e.kind, d.name,
        case when e.kind = 'phase' then coalesce(e.data ->> 'to', e.data ->> 'phase', 'phase') else e.type end, null,
        jsonb_build_object('type', e.type, 'boot', e.boot, 'data', e.data)
   from devices d
  cross join lateral (
        select e.*, case when e.type = 'phase' then 'phase' else 'event' end as kind,
               'event/' || d.name || '/' || encode(e.digest, 'hex') as id
          from device_events e
         where e.device_id = d.device_id and e.time >= $3 and e.time < $4 and e.time <= $5
           and (e.time < $5 or 'event/' || d.name || '/' || encode(e.digest, 'hex') < $6)
           and case when e.type = 'phase' then 'phase' else 'event' end = any ($1)
         order by e.time desc, id desc limit $7) e
  where $1 && '{phase,event}'::text[] and ($2 is null or d.name = any ($2))
  order by 1 desc, 2 desc limit $7)
union all
(select c.requested_at, c.id, 'command', c.device, c.name || ': ' || c.state, c.requested_by,
        jsonb_build_object('command', c.command_id, 'name', c.name, 'state', c.state, 'why', c.why, 'detail', c.detail)
   from devices d
  cross join lateral (
        select c.*, 'command/' || c.command_id as id from commands c
         where c.device_id = d.device_id and c.requested_at >= $3 and c.requested_at < $4 and c.requested_at <= $5
           and (c.requested_at < $5 or 'command/' || c.command_id < $6)
         order by c.requested_at desc, id desc limit $7) c
  where 'command' = any ($1) and ($2 is null or d.name = any ($2))
  order by 1 desc, 2 desc limit $7)
union all
(select n.created_at, n.id, 'annotation', d.name, n.text, n.who,
        jsonb_build_object('annotation', n.annotation_id,
                           'begins', to_char(n.begins at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                           'ends', to_char(n.ends at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                           'withdrawn', n.withdrawn_at is not null)
   from devices d
  cross join lateral (
        select n.*, 'annotation/' || n.annotation_id as id from annotations n
         where n.device_id = d.device_id and n.created_at >= $3 and n.created_at < $4 and n.created_at <= $5
           and (n.created_at < $5 or 'annotation/' || n.annotation_id < $6)
         order by n.created_at desc, id desc limit $7) n
  where 'annotation' = any ($1) and ($2 is null or d.name = any ($2))
  order by 1 desc, 2 desc limit $7)
union all
(select c.made_at, c.id, 'correction', c.device, 'correction ' || c.number || ' of ' || c.channel || ': ' || c.act, c.who,
        jsonb_build_object('correction', c.number, 'version', c.version, 'channel', c.channel, 'act', c.act, 'why', c.why,
                           'from', to_char(c.begins at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                           'to', to_char(c.ends at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
   from (select c.*, 'correction/' || c.number || '/' || c.version as id from corrections c) c
  where 'correction' = any ($1) and ($2 is null or c.device = any ($2))
    and c.made_at >= $3 and c.made_at < $4 and c.made_at <= $5 and (c.made_at < $5 or c.id < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select n.changed_at, 'enrollment/' || n.txn, 'enrollment', coalesce(s.device, n.serial), n.state, null,
        jsonb_build_object('txn', n.txn, 'serial', n.serial, 'state', n.state, 'reason', n.reason, 'firmware', n.firmware)
   from enrollments n left join serials s using (serial)
  where 'enrollment' = any ($1) and ($2 is null or coalesce(s.device, n.serial) = any ($2))
    and n.changed_at >= $3 and n.changed_at < $4 and n.changed_at <= $5 and (n.changed_at < $5 or 'enrollment/' || n.txn < $6)
  order by n.changed_at desc, n.txn desc limit $7)
union all
(select l.at, 'log-in/' || l.n, 'log-in', null, l.action,
        case when l.who = 'somebody' then substr(l.subject, 6) else l.who end,
        jsonb_build_object('action', l.action, 'address', l.new ->> 'address', 'kind', l.new ->> 'kind', 'why', l.why)
   from audit l
  where 'log-in' = any ($1) and $2 is null and l.action in ('log in', 'log-in failed')
    and l.at >= $3 and l.at < $4 and l.at <= $5 and (l.at < $5 or 'log-in/' || l.n < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select l.at, 'deviation/' || l.n, 'deviation', null, v.deviation || ': ' || v.title || ': ' || (l.new ->> 'state'), l.who,
        jsonb_build_object('deviation', v.deviation, 'severity', v.severity, 'state', l.new ->> 'state')
   from audit l join deviations v on v.deviation = substr(l.subject, 11)
  where 'deviation' = any ($1) and l.action in ('deviation assess', 'deviation close', 'deviation reopen')
    and ($2 is null or exists (select from deviation_links k where k.deviation_id = v.deviation_id and k.device = any ($2)))
    and l.at >= $3 and l.at < $4 and l.at <= $5 and (l.at < $5 or 'deviation/' || l.n < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select v.opened_at, 'deviation/' || v.deviation, 'deviation', null, v.deviation || ': ' || v.title || ': opened',
        v.opened_by, jsonb_build_object('deviation', v.deviation, 'severity', v.severity, 'state', 'open')
   from deviations v
  where 'deviation' = any ($1)
    and ($2 is null or exists (select from deviation_links k where k.deviation_id = v.deviation_id and k.device = any ($2)))
    and v.opened_at >= $3 and v.opened_at < $4 and v.opened_at <= $5
    and (v.opened_at < $5 or 'deviation/' || v.deviation < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select e.at, 'shift/' || e.entry_id, 'shift', null, left(e.text, 300), e.who,
        jsonb_build_object('entry', e.entry_id, 'location', e.location, 'devices', e.devices, 'handed_to', e.handed_to,
                           'accepted', e.accepted_at is not null)
   from shift_entries e
  where 'shift' = any ($1) and ($2 is null or e.devices && $2)
    and e.at >= $3 and e.at < $4 and e.at <= $5 and (e.at < $5 or 'shift/' || e.entry_id < $6)
  order by 1 desc, 2 desc limit $7)
union all
(select p.time, p.id, 'calibration', p.name, p.title, null, jsonb_build_object('serial', p.serial, 'measures', p.kind)
   from (select d.name, x ->> 'serial' as serial, x ->> 'kind' as kind,
                (x ->> 'due_on')::date::timestamp at time zone 'UTC' as time,
                concat_ws(' ', 'calibration of', nullif(x ->> 'kind', ''), 'probe', x ->> 'serial', 'due') as title,
                concat_ws('/', 'calibration', d.name, x ->> 'serial', x ->> 'due_on') as id
           from device_cards c join devices d using (device_id), jsonb_array_elements(c.card -> 'probes') x
          where c.due_on <= (now() at time zone 'UTC')::date and ($2 is null or d.name = any ($2))) p
  where 'calibration' = any ($1) and p.time <= now() and p.time >= $3 and p.time < $4 and p.time <= $5
    and (p.time < $5 or p.id < $6)
  order by 1 desc, 2 desc limit $7)
) a
order by a.time desc, a.id desc
limit $7;
