-- Reviews of the record by exception. The functions are in 0039_reviews.sql.

-- name: page
-- $1 number before which the page begins, $2 limit, $3 run or null, $4 device or null. The newest version of each.
select r.number as review, r.version, r.run, r.devices, r.begins, r.ends, r.who, r.at, r.n,
       jsonb_array_length(r.exceptions) as exceptions,
       (select count(*) from jsonb_array_elements(r.exceptions) e
         where not exists (select from review_looks l where l.number = r.number and l.key = e ->> 'key')) as open
  from reviews r
 where r.number < $1 and not exists (select from reviews v where v.number = r.number and v.version > r.version)
   and ($3::text is null or r.run = $3) and ($4::text is null or $4 = any (r.devices))
 order by r.number desc
 limit $2;

-- name: one
select r.number as review, r.version, r.run, r.devices, r.begins, r.ends, r.who, r.at, r.n, r.hash, r.exceptions, r.routine
  from reviews r
 where r.number = $1
 order by r.version desc
 limit 1;

-- name: looks
select key, who, at, note from review_looks where number = $1 order by look_id;

-- name: newest
select coalesce(max(n), 0) from audit;

-- name: trail
-- Rows up to $1 of the devices $2 (names; none: the organization) from $3 to $4, of the run $5 and of samples, material and
-- corrections of that time at any time later; at most $6. `is_first`: a device says for the first time what its channels are.
with about as (
    select 'run/' || $5::text as subject where $5 is not null
    union all
    select distinct 'sample/' || s.sample from lab_samples s
     where s.device = any ($2::text[]) and s.taken_at >= $3 and s.taken_at < $4
    union all
    select distinct 'material/' || m.number from materials m
     where m.device = any ($2::text[]) and m.begins >= $3 and m.begins < $4
)
select a.n, a.at, a.who, a.action, a.subject, a.old, a.new, a.why,
       a.action = 'channel change' and starts_with(a.who, 'device ') and not exists (
           select from audit b
            where b.subject = a.subject and b.action = a.action and b.n < a.n and b.why <> a.why) as is_first
  from audit a
 where a.n <= $1 and a.at >= $3
   and (a.subject = any (array(select b.subject from about b))
        or a.at < $4 and (
            cardinality($2::text[]) = 0
            or starts_with(a.subject, 'device/') and substr(a.subject, 8) = any ($2)
            or starts_with(a.subject, 'alarm/') and split_part(a.subject, '/', 2) = any ($2)
            or starts_with(a.subject, 'quarantine/') and a.old ->> 'device' = any ($2)
            or a.subject ~ '^(alarm-rule|alarm-route|channel|computed-channel|retention|hold)/')
        or starts_with(a.subject, 'correction/') and a.new ->> 'device' = any ($2)
           and (a.new ->> 'begins')::timestamptz < $4 and (a.new ->> 'ends')::timestamptz > $3)
 order by a.n
 limit $6;

-- name: quarantined
-- Messages of the devices $1 (none: all) that came into quarantine from $2 to $3, by device and reason.
select q.device, q.reason, count(*) as messages, count(*) filter (where q.state = 'open') as open, min(q.received_at) as at
  from quarantine q
 where q.received_at >= $2 and q.received_at < $3 and (cardinality($1::text[]) = 0 or q.device = any ($1))
 group by q.device, q.reason
 order by q.device, q.reason;

-- name: clocks
-- Devices $1 (none: all) whose clock was ahead by $4 or, by the least time to a receipt, behind by $5 from $2 to $3.
select d.name as device, min(c.hour) as at, count(*) as hours,
       round(greatest(extract(epoch from -min(c.least)), 0), 1)::float8 as ahead_s,
       round(greatest(extract(epoch from max(c.least)), 0), 1)::float8 as behind_s
  from device_clocks c join devices d using (device_id)
 where c.hour >= $2 and c.hour < $3 and (c.least < -$4::interval or c.least > $5::interval)
   and (cardinality($1::text[]) = 0 or d.name = any ($1))
 group by d.name
 order by d.name;

-- name: broken
-- Signatures whose version was changed: of samples of the devices $1 that were taken from $2 to $3 and of reports of the run $4; without devices,
-- of all that was signed in that time.
with about as (
    select 'sample/' || s.sample as record from lab_samples s
     where s.device = any ($1::text[]) and s.taken_at >= $2 and s.taken_at < $3
    union
    select 'report/' || p.report_id from reports p where p.run = $4
    union
    select s.record from signatures s
     where cardinality($1::text[]) = 0 and s.at >= $2 and s.at < $3 and not starts_with(s.record, 'review/')
)
select s.signature_id, s.record, s.name, s.who, s.at, s.meaning
  from about b join signatures s using (record)
  left join lateral record_state(b.record) r on true
 where r.digest is distinct from s.digest
   and encode(sha256(convert_to(signed_version(s.signature_id), 'UTF8')), 'hex') is distinct from s.digest
 order by s.signature_id;

-- name: put
select review_put($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9);

-- name: look
select review_look($1, $2, $3, $4);

-- name: device
select 1 from devices where name = $1;

-- name: of_run
select distinct number from reviews where run = $1 order by number;
