-- Reports, and what stands in them: of the devices $1 from $2 to $3 at most $4 rows, oldest first.

-- name: alarms
-- What became of each occurrence: raised in that time, or before and not over then.
select t.device, t.rule, t.title, t.priority, t.at as raised_at, t.value, t.detail, r.at as returned_at,
       a.at as acknowledged_at, a.who as acknowledged_by, a.why
  from alarm_transitions t
  left join lateral (
       select x.at from alarm_transitions x
        where x.device_id = t.device_id and x.rule_id = t.rule_id and x.n > t.n and x.cause in ('return', 'removed')
        order by x.n limit 1) r on true
  left join lateral (
       select x.at, x.who, x.why from alarm_transitions x
        where x.device_id = t.device_id and x.rule_id = t.rule_id and x.raised_n = t.raised_n and x.cause = 'acknowledge'
        order by x.n limit 1) a on true
 where t.device_id = any ($1::int[]) and t.cause = 'condition' and t.at < $3 and (t.at >= $2 or r.at >= $2 or r.at is null)
 order by t.at, t.transition_id
 limit $4;

-- name: silenced
-- Acts of people that held alarms back.
select a.device, a.rule, a.action, a.until, a.who, a.why, a.asked_at as at
  from alarm_acts a
 where a.device_id = any ($1::int[]) and a.asked_at >= $2 and a.asked_at < $3 and a.refused is null
   and a.action <> 'acknowledge'
 order by a.asked_at, a.act_id
 limit $4;

-- name: commands
select c.device, c.name, c.parameters, c.state, c.requested_by, c.why, c.requested_at, c.ended_at, c.detail
  from commands c
 where c.device_id = any ($1::int[]) and c.requested_at >= $2 and c.requested_at < $3
 order by c.requested_at, c.command_id
 limit $4;

-- name: notes
select d.name as device, a.begins, a.ends, a.text, a.who, a.created_at
  from annotations a join devices d using (device_id)
 where a.device_id = any ($1::int[]) and a.withdrawn_at is null and a.begins < $3 and coalesce(a.ends, a.begins) >= $2
 order by a.begins, a.annotation_id
 limit $4;

-- name: events
select d.name as device, e.time, e.type, e.data
  from device_events e join devices d using (device_id)
 where e.device_id = any ($1::int[]) and e.time >= $2 and e.time < $3
 order by e.time, e.digest
 limit $4;

-- name: samples
-- An analyte a row, of the newest versions of the samples.
select s.sample, s.device, s.taken_at, s.location, s.version, a.analyte, a.value, a.reading, a.unit, a.method,
       coalesce(a.status, s.status) as status, a.measured_by, a.approved_by, s.note, s.withdrawn
  from lab_samples s left join lab_analytes a using (lab_sample_id)
 where s.device_id = any ($1::int[]) and s.superseded_at is null and s.taken_at >= $2 and s.taken_at < $3
 order by s.taken_at, s.lab_sample_id, a.analyte
 limit $4;

-- name: materials
select m.begins, m.ends, m.device, m.kind, m.material, m.lot, m.quantity, m.unit, m.source, m.version, m.who, m.note
  from materials m
 where m.device_id = any ($1::int[]) and m.superseded_at is null and not m.withdrawn
   and m.begins >= $2 and m.begins < $3
 order by m.begins, m.number
 limit $4;

-- name: deviations
-- Those that are linked to the devices, or to the subjects $5 (kind/reference), and were open in that time or are of it.
select v.deviation, v.title, v.severity, v.state, v.opened_by, v.opened_at, v.closed_at, v.description,
       (select string_agg(l.type || ' ' || l.kind || ' ' || l.reference, '; ' order by l.link_id)
          from deviation_links l where l.deviation_id = v.deviation_id and l.withdrawn_at is null) as links
  from deviations v
 where exists (select from deviation_links l
                where l.deviation_id = v.deviation_id and l.withdrawn_at is null
                  and (l.kind || '/' || l.reference = any ($5::text[])
                       or l.device = any (array(select d.name from devices d where d.device_id = any ($1::int[])))
                          and v.opened_at < $3::timestamptz + interval '30 days' and coalesce(v.closed_at, 'infinity') >= $2))
 order by v.deviation_id
 limit $4;

-- name: comments
-- What was said of these deviations $5, in the newest versions.
select distinct on (c.comment_id) c.deviation, c.at, c.who, c.text, c.version
  from deviation_comments c
 where c.deviation = any ($5::text[]) and cardinality($1::int[]) >= 0 and $2::timestamptz < $3::timestamptz
 order by c.comment_id, c.version desc
 limit $4;

-- name: log
-- Entries of the shift log about these devices or none.
select e.at, e.who, e.location, e.devices, e.text, e.handed_to, e.accepted_at
  from shift_entries e
 where e.at >= $2 and e.at < $3
   and (e.devices = '{}' or e.devices && array(select d.name from devices d where d.device_id = any ($1::int[])))
 order by e.at, e.entry_id
 limit $4;

-- name: quarantined
select q.received_at, q.device, q.reason, q.detail, q.state, encode(q.sha256, 'hex') as sha256
  from quarantine q join devices d on d.name = q.device
 where d.device_id = any ($1::int[]) and q.received_at >= $2 and q.received_at < $3
 order by q.received_at, q.quarantine_id
 limit $4;

-- name: changes
-- The audit trail about the subjects $5, and in that time about these devices and their alarms ($6: their names), about
-- rules and units.
select a.n, a.at, a.who, a.action, a.subject, a.old, a.new, a.why
  from audit a
 where (a.subject = any ($5::text[]) or a.at >= $2 and a.at < $3
        and (a.subject = any (array(select 'device/' || d.name from devices d where d.device_id = any ($1::int[])))
             or starts_with(a.subject, 'alarm/') and split_part(a.subject, '/', 2) = any ($6::text[])
             or starts_with(a.subject, 'alarm-rule/') or starts_with(a.subject, 'channel/')))
 order by a.n
 limit $4;

-- name: run
select run_id, name, material, strain, recipe, recipe_version, note, plan, state, begins, ends, created_by, created_at,
       array(select m.device from run_devices m where m.run_id = r.run_id order by m.device) as devices
  from runs r
 where name = $1;

-- name: run_states
select state, at, who, why from run_states where run_id = $1 order by run_state_id;

-- name: frames
-- How many frames each device has in that time; the first and the last.
select d.name as device, s.frames, s.first_at, s.last_at
  from devices d
 cross join lateral (
       select count(*) as frames, min(f.time) as first_at, max(f.time) as last_at
         from frames f where f.device_id = d.device_id and f.time >= $2 and f.time < $3) s
 where d.device_id = any ($1::int[])
 order by d.name
 limit $4;

-- name: keep
select report_keep($1, $2, $3::jsonb, $4, $5, $6);

-- name: page
-- $1 kind or null, $2 run or null, $3 and $4 (made_at, report_id) before which the page begins, $5 limit
select report_id, kind, run, title, subtitle, begins, ends, template, template_version, made_by, made_at, no_pdf, bytes,
       encode(document_sha256, 'hex') as document_sha256, encode(html_sha256, 'hex') as html_sha256,
       encode(pdf_sha256, 'hex') as pdf_sha256
  from reports
 where ($1::text is null or kind = $1) and ($2::text is null or run = $2)
   and made_at <= $3 and (made_at, report_id) < ($3, $4)
 order by made_at desc, report_id desc
 limit $5;

-- name: one
select report_id, kind, run, title, subtitle, begins, ends, template, template_version, made_by, made_at, no_pdf, bytes,
       encode(document_sha256, 'hex') as document_sha256, encode(html_sha256, 'hex') as html_sha256,
       encode(pdf_sha256, 'hex') as pdf_sha256
  from reports
 where report_id = $1;

-- name: file
-- The content of the report $1 in the form $2.
select case $2 when 'json' then document when 'html' then html else pdf end as content,
       encode(case $2 when 'json' then document_sha256 when 'html' then html_sha256 else pdf_sha256 end, 'hex') as sha256,
       no_pdf
  from reports
 where report_id = $1;

-- name: templates
-- The newest version of each.
select distinct on (name) name, version, kind, definition, made_by, made_at from report_templates order by name, version desc;

-- name: template
select name, version, kind, definition, made_by, made_at
  from report_templates
 where name = $1
 order by version desc
 limit 1;

-- name: put_template
select report_template_put($1, $2, $3::jsonb, $4, $5, $6);
