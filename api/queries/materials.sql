-- Records of material in their versions.

-- name: page
-- $1 devices or null, $2 from, $3 to, $4 kinds or null, $5 also those withdrawn, $6 and $7 (begins, number) before which the
-- page begins, $8 limit. The newest versions, those begun last first.
select m.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = m.device_id and rd.begins <= m.begins and (rd.ends is null or rd.ends > m.begins)
              limit 1) as run
  from materials m
 where m.superseded_at is null
   and ($1::text[] is null or m.device = any ($1)) and m.begins >= $2 and m.begins < $3
   and ($4::text[] is null or m.kind = any ($4)) and ($5 or not m.withdrawn)
   and m.begins <= $6 and (m.begins, m.number) < ($6, $7)
 order by m.begins desc, m.number desc
 limit $8;

-- name: one
select m.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = m.device_id and rd.begins <= m.begins and (rd.ends is null or rd.ends > m.begins)
              limit 1) as run
  from materials m where m.number = $1 and m.superseded_at is null;

-- name: versions
-- All versions of a record, the newest first.
select m.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = m.device_id and rd.begins <= m.begins and (rd.ends is null or rd.ends > m.begins)
              limit 1) as run
  from materials m where m.number = $1 order by m.version desc;

-- name: begun
-- $1 devices, $2 instants: the newest versions of records that begin then, also those withdrawn.
select m.*, null::text as run
  from materials m
 where m.superseded_at is null and m.device = any ($1) and m.begins = any ($2) order by m.number;

-- name: put
select material_put($1, $2, $3, $4, $5, $6, $7, $8);

-- name: sums
-- $1 devices or null, $2 from, $3 to: what was recorded of each material in each unit, of records that begin in that time.
select m.device, m.kind, m.material, m.unit, count(*) as records, sum(m.quantity) as quantity,
       count(*) filter (where m.ends > $3) as going_on
  from materials m
 where m.superseded_at is null and not m.withdrawn
   and ($1::text[] is null or m.device = any ($1)) and m.begins >= $2 and m.begins < $3
 group by m.device, m.kind, m.material, m.unit
 order by m.device, m.kind, m.material, m.unit;
