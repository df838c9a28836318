-- Evidence: rows of the audit trail as they were hashed, what was signed and sealed, and the frames. docs/evidence.md has the
-- formats.

-- name: head
-- The newest row of the trail and the newest checkpoint.
select o.organization_id, o.name, a.n, encode(a.hash, 'hex') as hash, c.number, c.n as signed_n, c.key_id
  from organizations o
  left join lateral (select n, hash from audit order by n desc limit 1) a on true
  left join lateral (select number, n, key_id from checkpoints order by number desc limit 1) c on true;

-- name: keys
select text, signature, signature_before from evidence_keys order by at, key_id;

-- name: of_time
-- The first and the last row from $1 to $2.
select min(n) as first, max(n) as last from audit where at >= $1 and at < $2;

-- name: of_subjects
-- The numbers of the rows about the subjects $1 whose action begins with one of $2 (none: any).
select n from audit
 where subject = any ($1::text[])
   and (cardinality($2::text[]) = 0 or exists (select from unnest($2::text[]) b where starts_with(action, b)))
 order by n;

-- name: of_seals
-- The rows that vouch for seals of the hours of the device $1 (its id) from $2 to $3, and those of frames that were dropped then.
select p.n
  from seals s join seal_passes p using (pass)
 where s.device_id = $1 and s.hour >= $2 and s.hour < $3
union
select a.n
  from audit a
 where a.subject = 'retention/frame' and (a.new ->> 'from')::timestamptz < $3 and (a.new ->> 'to')::timestamptz > $2
 order by n;

-- name: signed
-- Up to which row the first checkpoint from each of the rows $1 on signs; null: none does yet.
select w.n, c.n as signed
  from unnest($1::bigint[]) as w (n)
  left join lateral (select c.n from checkpoints c where c.n >= w.n order by c.n limit 1) c on true
 order by w.n;

-- name: events
-- The rows after $1 up to $2, at most $3, with the text that was hashed.
select n, hash,
       jsonb_build_array(n, extract(epoch from at), login, who, action, subject, old, new, why)::text as text
  from audit
 where n > $1 and n <= $2
 order by n
 limit $3;

-- name: hash
select hash from audit where n = $1;

-- name: checkpoints
-- Those that sign rows from $1 to $2, after the number $3, at most $4.
select number, text, signature, key_id, token
  from checkpoints
 where n >= $1 and n <= $2 and number > $3
 order by number
 limit $4;

-- name: seals
-- Seals of the hours of the device $1 up to $2, after the key ($3, $4) (hour, version), at most $5.
select s.hour, s.version, s.text, s.layouts_text, s.pass
  from seals s
 where s.device_id = $1 and s.hour >= $3 and (s.hour, s.version) > ($3, $4) and s.hour < $2
 order by s.hour, s.version
 limit $5;

-- name: frames
-- Frames of the device $1 after the key ($2, $3) (time, layout) and before $4, at most $5. `stored`: when one was stored that
-- was not stored when it was received; `unfinished`: its import has not ended.
select f.time, f.layout_id, f.received_at, f.boot, f.seq, f.values, f.quality,
       coalesce(i.finished_at, l.stored_at) as stored, i.received_at is not null and i.finished_at is null as unfinished
  from frames f
  left join stored_late l on l.device_id = f.device_id and l.time = f.time and l.layout_id = f.layout_id
  left join import_ends i on i.device_id = f.device_id and i.received_at = f.received_at
 where f.device_id = $1 and f.time >= $2 and (f.time, f.layout_id) > ($2, $3) and f.time < $4
 order by f.time, f.layout_id
 limit $5;

-- name: device
select device_id from devices where name = $1;

-- name: signatures
-- Signatures that the rows from $1 to $2 have, with the version that was signed, and the record as it is now.
select s.text, signed_version(s.signature_id) as signed, r.version, coalesce(
           case when (r.form::jsonb ->> 'withdrawn')::boolean then 'withdrawn' end,
           r.form::jsonb ->> 'status', r.form::jsonb ->> 'state') as state
  from audit a
  join signatures s on s.text::jsonb = a.new
  left join lateral record_state(s.record) r on true
 where a.action = 'signature' and a.n >= $1 and a.n <= $2
 order by s.signature_id;

-- name: report
select report_id, encode(document_sha256, 'hex') as json, encode(html_sha256, 'hex') as html,
       encode(pdf_sha256, 'hex') as pdf, octet_length(document) as json_bytes, octet_length(html) as html_bytes,
       octet_length(pdf) as pdf_bytes
  from reports
 where report_id = $1;
