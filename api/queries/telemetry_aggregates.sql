-- Continuous aggregates, which the community edition of TimescaleDB has.

-- name: are_there
select to_regclass('api.telemetry_1h') is not null and to_regclass('api.telemetry_1m') is not null as are_there;

-- name: hours
-- The hours of a channel that have samples, for COPY in binary form, without nulls.
-- $1 device, $2 channel, $3 from, $4 to
select bucket, count, coalesce(sum, 0) as sum, coalesce(min, 'NaN') as min, coalesce(max, 'NaN') as max, bad
  from telemetry_1h
 where device_id = $1 and channel_id = $2 and bucket >= $3 and bucket < $4
 order by bucket;

-- name: minutes
-- The same of the minutes.
select bucket, count, coalesce(sum, 0) as sum, coalesce(min, 'NaN') as min, coalesce(max, 'NaN') as max, bad
  from telemetry_1m
 where device_id = $1 and channel_id = $2 and bucket >= $3 and bucket < $4
 order by bucket;
