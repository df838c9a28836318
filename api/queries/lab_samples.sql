-- Lab samples in their versions, with their analytes.

-- name: page
-- $1 devices or null, $2 from, $3 to, $4 analyte or null, $5 status or null, $6 also those withdrawn, $7 and $8 (taken_at,
-- lab_sample_id) before which the page begins, $9 limit, $10 as of when (null: now). The newest versions of then, those
-- taken last first.
select s.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = s.device_id and rd.begins <= s.taken_at and (rd.ends is null or rd.ends > s.taken_at)
              limit 1) as run,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.analyte), '[]') from lab_analytes a
              where a.lab_sample_id = s.lab_sample_id) as analytes
  from lab_samples s
 where case when $10::timestamptz is null then s.superseded_at is null
            else s.created_at <= $10 and (s.superseded_at is null or s.superseded_at > $10) end
   and ($1::text[] is null or s.device = any ($1)) and s.taken_at >= $2 and s.taken_at < $3
   and ($4::text is null or exists (select from lab_analytes a
                                     where a.lab_sample_id = s.lab_sample_id and a.analyte = $4))
   and ($5::text is null or s.status = $5) and ($6 or not s.withdrawn)
   and s.taken_at <= $7 and (s.taken_at, s.lab_sample_id) < ($7, $8)
 order by s.taken_at desc, s.lab_sample_id desc
 limit $9;

-- name: one
select s.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = s.device_id and rd.begins <= s.taken_at and (rd.ends is null or rd.ends > s.taken_at)
              limit 1) as run,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.analyte), '[]') from lab_analytes a
              where a.lab_sample_id = s.lab_sample_id) as analytes
  from lab_samples s
 where s.sample = $1 and s.superseded_at is null;

-- name: some
-- The newest versions of the samples of these names.
select s.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = s.device_id and rd.begins <= s.taken_at and (rd.ends is null or rd.ends > s.taken_at)
              limit 1) as run,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.analyte), '[]') from lab_analytes a
              where a.lab_sample_id = s.lab_sample_id) as analytes
  from lab_samples s
 where s.sample = any ($1) and s.superseded_at is null;

-- name: versions
-- All versions of a sample, the newest first.
select s.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = s.device_id and rd.begins <= s.taken_at and (rd.ends is null or rd.ends > s.taken_at)
              limit 1) as run,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.analyte), '[]') from lab_analytes a
              where a.lab_sample_id = s.lab_sample_id) as analytes
  from lab_samples s
 where s.sample = $1
 order by s.version desc;

-- name: put
select lab_sample_put($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: analytes
-- The names of analytes that samples have, for lists to choose from.
select distinct a.analyte from lab_analytes a join lab_samples s using (lab_sample_id)
 where s.superseded_at is null order by 1 limit 200;

-- name: taken
-- The newest versions of samples that were taken of the devices $1 at the times $2, pair by pair; the first of several.
select distinct on (s.device, s.taken_at) s.*, (select r.name from run_devices rd join runs r using (run_id)
              where rd.device_id = s.device_id and rd.begins <= s.taken_at and (rd.ends is null or rd.ends > s.taken_at)
              limit 1) as run,
       (select coalesce(jsonb_agg(to_jsonb(a) order by a.analyte), '[]') from lab_analytes a
         where a.lab_sample_id = s.lab_sample_id) as analytes
  from unnest($1::text[], $2::timestamptz[]) as g (device, taken_at)
  join lab_samples s on s.device = g.device and s.taken_at = g.taken_at
 where s.superseded_at is null and not s.withdrawn
 order by s.device, s.taken_at, s.lab_sample_id;

-- name: devices
select name from devices where name = any ($1);
