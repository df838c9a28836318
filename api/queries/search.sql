-- Search by words. Each kind is found by its own index of words; a page of each is ranked, and then the best of all.

-- name: texts
-- $1 words as a query, $2 kinds, $3 device or null, $4 from, $5 to, $6 limit; of each kind $7 of the newest that have the
-- words are ranked. All but events of devices. `offset 0`: first those that have the words, by the index of words, then the
-- newest; else the planner might look for words in one text after the other by time.
select r.*, ts_headline('simple', r.text, $1::tsquery,
                        'StartSel=' || chr(2) || ', StopSel=' || chr(3) || ', MaxWords=30, MinWords=12') as excerpt
  from (
select h.*, ts_rank(to_tsvector('simple', h.text), $1) as rank
  from (
(select * from (select 'note' as kind, a.annotation_id::text as id, a.begins as time, d.name as device, 'Note' as title, a.who, a.text
   from annotations a join devices d using (device_id)
  where 'note' = any ($2::text[]) and a.withdrawn_at is null and to_tsvector('simple', a.text) @@ $1
    and a.begins >= $4 and a.begins < $5 and ($3::text is null or d.name = $3)
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
union all
(select * from (select 'deviation', v.deviation, v.opened_at, null, v.deviation || ': ' || v.title, v.opened_by,
        v.title || ' ' || v.description
   from deviations v
  where 'deviation' = any ($2) and to_tsvector('simple', v.title || ' ' || v.description) @@ $1
    and v.opened_at >= $4 and v.opened_at < $5
    and ($3 is null or exists (select from deviation_links l
                                where l.deviation_id = v.deviation_id and l.device = $3 and l.withdrawn_at is null))
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
union all
(select * from (select 'comment', c.deviation, c.at, null, c.deviation || ': ' || c.title, c.who, c.text
   from deviation_comments c
  where 'comment' = any ($2) and to_tsvector('simple', c.text) @@ $1 and c.at >= $4 and c.at < $5
    and not exists (select from deviation_comments n where n.comment_id = c.comment_id and n.version > c.version)
    and ($3 is null or exists (select from deviation_links l
                                where l.deviation_id = c.deviation_id and l.device = $3 and l.withdrawn_at is null))
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
union all
(select * from (select 'reason', a.n::text, a.at, case when a.subject like 'device/%' then substr(a.subject, 8) end,
        a.action || ', ' || a.subject, a.who, a.why
   from audit a
  where 'reason' = any ($2) and to_tsvector('simple', a.why) @@ $1 and a.at >= $4 and a.at < $5
    and ($3 is null or a.subject = 'device/' || $3)
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
union all
(select * from (select 'alarm', a.act_id::text, a.asked_at, a.device, a.action || ' ' || a.rule, a.who, a.why
   from alarm_acts a
  where 'alarm' = any ($2) and to_tsvector('simple', a.why) @@ $1 and a.asked_at >= $4 and a.asked_at < $5
    and ($3 is null or a.device = $3)
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
union all
(select * from (select 'shift', e.entry_id::text, e.at, null, 'Shift log', e.who, e.text
   from shift_entries e
  where 'shift' = any ($2) and to_tsvector('simple', e.text) @@ $1 and e.at >= $4 and e.at < $5
    and ($3 is null or $3 = any (e.devices))
 offset 0) b (kind, id, time, device, title, who, text) order by time desc limit $7)
) h
 order by rank desc, h.time desc
 limit $6) r
 order by r.rank desc, r.time desc;

-- name: events
-- The same of events of devices. What takes in events keeps no index of words: $7 of the newest of each device, of the
-- time, are looked at, and of these the words of those that have the letters $8, in small ones. `since`: what is older was
-- not looked at; null: all of the time was.
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
     where lower(r.type || r.data::text) like all ($8::text[])
       and (to_tsvector('simple', r.type) || jsonb_to_tsvector('simple', r.data, '["all"]')) @@ $1
     order by rank desc, r.time desc limit $6
)
select b.since, 'event' as kind, h.device || '/' || encode(h.digest, 'hex') as id, h.time, h.device, h.type as title,
       null as who, h.text, h.rank,
       ts_headline('simple', h.text, $1,
                   'StartSel=' || chr(2) || ', StopSel=' || chr(3) || ', MaxWords=30, MinWords=12') as excerpt
  from bound b left join hits h on true;
