-- Corrections of samples. A version is never changed; the newest of each correction holds, unless it withdraws it.

-- name: page
-- The newest version of each correction of the device $1 that overlaps with $2 to $3, withdrawn ones too; those made before
-- the key $4, newest first, at most $5; as it was at $6 (null: now), of the channel $7 (null: of all).
select c.*
  from (select distinct on (v.number) v.* from corrections v
         where v.device_id = $1 and ($6::timestamptz is null or v.made_at <= $6)
         order by v.number, v.version desc) c
 where c.begins < $3 and c.ends > $2 and c.correction_id < $4 and ($7::text is null or c.channel = $7)
 order by c.correction_id desc
 limit $5;

-- name: holding
-- Those of the devices $1 that hold, overlap with $2 to $3 and, if $4 is not null, are of one of these channels.
select c.*
  from (select distinct on (v.number) v.* from corrections v
         where v.device = any ($1::text[])
         order by v.number, v.version desc) c
 where c.act <> 'withdraw' and c.begins < $3 and c.ends > $2 and ($4::text[] is null or c.channel = any ($4))
 order by c.correction_id;

-- name: versions
-- Of the correction $2 of the device named $1, oldest first.
select * from corrections where device = $1 and number = $2 order by version;

-- name: put
-- $1 device, $2 number or null, $3 version that must be the newest or null, $4 act, $5 what is said, $6 who, $7 why
select correction_put($1, $2, $3, $4, $5::jsonb, $6, $7);
