-- Search by words. Each kind is found by its own index of words; a page of each is ranked, and then the best of all.

-- name: texts
-- $1 words as a query, $2 kinds, $3 device or null, $4 from, $5 to, $6 limit. All but events of devices.
select h.*, ts_headline('simple', h.text, $1::tsquery,
                        'StartSel=' || chr(2) || ', StopSel=' || chr(3) || ', MaxWords=30, MinWords=12') as excerpt
  from (
(select 'note' as kind, a.annotation_id::text as id, a.begins as time, d.name as device, 'Note' as title, a.who, a.text,
        ts_rank(to_tsvector('simple', a.text), $1) as rank
   from annotations a join devices d using (device_id)
  where 'note' = any ($2::text[]) and a.withdrawn_at is null and to_tsvector('simple', a.text) @@ $1
    and a.begins >= $4 and a.begins < $5 and ($3::text is null or d.name = $3)
  order by rank desc, time desc limit $6)
union all
(select 'deviation', v.deviation, v.opened_at, null, v.deviation || ': ' || v.title, v.opened_by,
        v.title || ' ' || v.description, ts_rank(to_tsvector('simple', v.title || ' ' || v.description), $1) as rank
   from deviations v
  where 'deviation' = any ($2) and to_tsvector('simple', v.title || ' ' || v.description) @@ $1
    and v.opened_at >= $4 and v.opened_at < $5
    and ($3 is null or exists (select from deviation_links l
                                where l.deviation_id = v.deviation_id and l.device = $3 and l.withdrawn_at is null))
  order by rank desc, v.opened_at desc limit $6)
union all
(select 'comment', c.deviation, c.at, null, c.deviation || ': ' || c.title, c.who, c.text,
        ts_rank(to_tsvector('simple', c.text), $1) as rank
   from deviation_comments c
  where 'comment' = any ($2) and to_tsvector('simple', c.text) @@ $1 and c.at >= $4 and c.at < $5
    and not exists (select from deviation_comments n where n.comment_id = c.comment_id and n.version > c.version)
    and ($3 is null or exists (select from deviation_links l
                                where l.deviation_id = c.deviation_id and l.device = $3 and l.withdrawn_at is null))
  order by rank desc, c.at desc limit $6)
union all
(select 'reason', a.n::text, a.at, case when a.subject like 'device/%' then substr(a.subject, 8) end,
        a.action || ', ' || a.subject, a.who, a.why, ts_rank(to_tsvector('simple', a.why), $1) as rank
   from audit a
  where 'reason' = any ($2) and to_tsvector('simple', a.why) @@ $1 and a.at >= $4 and a.at < $5
    and ($3 is null or a.subject = 'device/' || $3)
  order by rank desc, a.at desc limit $6)
union all
(select 'alarm', a.act_id::text, a.asked_at, a.device, a.action || ' ' || a.rule, a.who, a.why,
        ts_rank(to_tsvector('simple', a.why), $1) as rank
   from alarm_acts a
  where 'alarm' = any ($2) and to_tsvector('simple', a.why) @@ $1 and a.asked_at >= $4 and a.asked_at < $5
    and ($3 is null or a.device = $3)
  order by rank desc, a.asked_at desc limit $6)
union all
(select 'shift', e.entry_id::text, e.at, null, 'Shift log', e.who, e.text, ts_rank(to_tsvector('simple', e.text), $1) as rank
   from shift_entries e
  where 'shift' = any ($2) and to_tsvector('simple', e.text) @@ $1 and e.at >= $4 and e.at < $5
    and ($3 is null or $3 = any (e.devices))
  order by rank desc, e.at desc limit $6)
) h
 order by h.rank desc, h.time desc
 limit $6;

-- name: events
-- The same of events of devices. What takes in events keeps no index of words: $7 of the newest of each device, of the
-- time, are looked at. `since`: what is older was not looked at; null: all of the time was.
with recent as materialized (
    select d.name as device, e.time, e.type, e.data, e.digest, count(*) over (partition by d.device_id) as n,
           min(e.time) over (partition by d.device_id) as first
      from devices d
     cross join lateral (select e.time, e.type, e.data, e.digest from device_events e
                          where e.device_id = d.device_id and e.time >= $4 and e.time < $5
                          order by e.time desc limit $7) e
     where 'event' = any ($2::text[]) and ($3::text is null or d.name = $3)
), bound as (
    select max(first) as since from recent where n = $7
), hits as (
    select r.*, r.type || ' ' || r.data::text as text,
           ts_rank(to_tsvector('simple', r.type) || jsonb_to_tsvector('simple', r.data, '["all"]'), $1::tsquery) as rank
      from recent r
     where (to_tsvector('simple', r.type) || jsonb_to_tsvector('simple', r.data, '["all"]')) @@ $1
     order by rank desc, r.time desc limit $6
)
select b.since, 'event' as kind, h.device || '/' || encode(h.digest, 'hex') as id, h.time, h.device, h.type as title,
       null as who, h.text, h.rank,
       ts_headline('simple', h.text, $1,
                   'StartSel=' || chr(2) || ', StopSel=' || chr(3) || ', MaxWords=30, MinWords=12') as excerpt
  from bound b left join hits h on true;

-- name: parsed
-- How many words a query has.
select numnode($1::tsquery);
