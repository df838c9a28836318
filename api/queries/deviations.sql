-- Deviations of the organization. Who changes one takes a lock, so that the trail has the order of the changes.

-- name: page
-- $1 id before which the page begins, $2 limit, newest first; for which each of these holds that is not null: state among
-- $3, severity $4, all the tags $5, a link to something of device $6, opened by $7 or with it as a member, a link to the
-- thing of kind $8 and reference $9.
select v.deviation_id, v.deviation, v.title, v.severity, v.state, v.tags, v.members, v.opened_by, v.opened_at, v.closed_at
  from deviations v
 where v.deviation_id < $1
   and ($3::text[] is null or v.state = any ($3))
   and ($4::text is null or v.severity = $4)
   and ($5::text[] is null or v.tags @> $5)
   and ($6::text is null or exists (select from deviation_links l
                                     where l.deviation_id = v.deviation_id and l.device = $6 and l.withdrawn_at is null))
   and ($7::text is null or v.opened_by = $7 or v.members @> jsonb_build_array(jsonb_build_object('who', $7)))
   and ($8::text is null or exists (select from deviation_links l
                                     where l.deviation_id = v.deviation_id and l.kind = $8 and l.reference = $9
                                       and l.withdrawn_at is null))
 order by v.deviation_id desc
 limit $2;

-- name: one
select v.*, h.ended_at as hold_ended_at,
       (select count(distinct c.comment_id) from deviation_comments c where c.deviation_id = v.deviation_id) as comments
  from deviations v left join retention_holds h using (hold_id)
 where v.deviation = $1;

-- name: links
-- Of the deviation $1, with what each leads to.
select l.link_id, l.type, l.kind, l.reference, t.words, l.device, t.at, l.who, l.why, l.linked_at,
       case when l.kind = 'alarm' then (select a.rule from alarm_transitions a
                                         where a.transition_id = l.reference::bigint) end as rule
  from deviation_links l left join lateral deviation_target(l.kind, l.reference) t on true
 where l.deviation_id = $1 and l.withdrawn_at is null
 order by l.link_id;

-- name: linked
-- Deviations with a link to the thing of kind $1 and reference $2, newest first.
select l.deviation, l.title, l.severity, l.state, l.type, l.kind, l.reference
  from deviation_links l
 where l.kind = $1 and l.reference = $2 and l.withdrawn_at is null
 order by l.deviation_id desc, l.link_id
 limit 100;

-- name: linked_device
-- Deviations that are not closed with a link to the device $1 or something of it, newest first.
select distinct on (l.deviation_id) l.deviation, l.title, l.severity, l.state, l.type, l.kind, l.reference
  from deviation_links l
 where l.device = $1 and l.withdrawn_at is null and l.state <> 'closed'
 order by l.deviation_id desc, l.link_id
 limit 20;

-- name: linked_alarm
-- Deviations with a link to a transition of the rule $2 on device $1.
select distinct on (l.deviation_id) l.deviation, l.title, l.severity, l.state, l.type, l.kind, l.reference
  from deviation_links l
  join alarm_transitions t on l.reference = t.transition_id::text
 where l.kind = 'alarm' and l.withdrawn_at is null and l.device = $1 and t.device = $1 and t.rule = $2
 order by l.deviation_id desc, l.link_id
 limit 20;

-- name: target
select words from deviation_target($1, $2);

-- name: tags
-- Tags that deviations have.
select array(select distinct t from deviations v, unnest(v.tags) t order by t);

-- name: outsiders
-- Those of the addresses $1 that are no members of the organization.
select array(select w from unnest($1::text[]) w where w not in (select email from members));

-- name: open
select deviation_open($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7::jsonb, $8);

-- name: change
select deviation_change($1, $2::jsonb, $3, $4, $5);

-- name: move
-- $1 deviation, $2 state, $3 whether its hold ends, $4 version, $5 who, $6 why
select deviation_move($1, $2, $3, $4, $5, $6);

-- name: hold
select deviation_hold($1, $2::jsonb, $3);

-- name: link
select deviation_link($1, $2, $3, $4, $5, $6);

-- name: unlink
select deviation_unlink($1, $2, $3, $4);

-- name: comments
-- Comments of the deviation $1 after comment $2, at most $3, each with all its versions.
select c.comment_id, c.who, c.at, v.texts
  from deviation_comments c
 cross join lateral (
       select json_agg(json_build_object('version', x.version, 'text', x.text,
                                         'at', to_char(x.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                       order by x.version) as texts
         from deviation_comments x where x.comment_id = c.comment_id) v
 where c.deviation = $1 and c.version = 1 and c.comment_id > $2
 order by c.comment_id
 limit $3;

-- name: comment
select deviation_comment($1, $2, $3);

-- name: edit
select deviation_comment_edit($1, $2, $3, $4, $5);

-- name: attachments
select attachment_id, name, media_type, bytes, encode(sha256, 'hex') as sha256, who, attached_at
  from deviation_attachments where deviation = $1 order by attachment_id;

-- name: attach
select deviation_attach($1, $2, $3, $4, $5, $6, $7);

-- name: content
select name, media_type, content from deviation_attachments where deviation = $1 and attachment_id = $2;
