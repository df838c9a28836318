-- How a device is doing now, and how much of its last hour has arrived.

-- name: status
-- Of the device named $1; its newest frame is looked for since $2, as older chunks are not opened then. A frame from a
-- file is none that the device has sent: the newest that it has sent is looked for in its newest 100,000.
select d.device_id, d.state, p.online, p.since, p.why, p.boot, p.firmware, p.received_at as status_received_at,
       f.time, f.received_at, coalesce(f.time <= c.until, false) as set_back
  from devices d
  left join clocks_set_back c on c.device_id = d.device_id
 cross join lateral (select * from presence p where p.device_id = d.device_id limit 1) p
  left join lateral (
       (select f.time, f.received_at
          from (select f.time, f.received_at from frames f
                 where f.device_id = d.device_id and f.time >= $2 and f.time > coalesce(c.before, '-infinity')
                 order by f.time desc limit 100000) f
         where not exists (select from imported_devices i where i.device_id = d.device_id and i.received_at = f.received_at)
         order by f.time desc limit 1)
        union all
       (select f.time, f.received_at
          from (select f.time, f.received_at from frames f
                 where f.device_id = d.device_id and f.time >= $2 and f.time <= c.until
                 order by f.time desc limit 100000) f
         where not exists (select from imported_devices i where i.device_id = d.device_id and i.received_at = f.received_at)
         order by f.time desc limit 1)
        limit 1) f on true
 where d.name = $1;

-- name: completeness
-- Of the device $1, from $2 to $3: what is expected by the numbers of its boots, what is stored, and what of the rest is
-- known to be lost, without frames from files. A frame in several layouts is one. All of $2 and $3 is in one or two chunks.
with boots as (
    select boot, min(seq) as first, max(seq) as last, count(distinct seq) as numbered,
           count(distinct time) filter (where boot is null or seq is null) as unnumbered
      from frames f
     where device_id = $1 and time >= $2 and time < $3
       and not exists (select from imported_devices i where i.device_id = $1 and i.received_at = f.received_at)
     group by boot
)
select sum(b.last - b.first + 1) filter (where b.boot is not null) as expected,
       sum(b.numbered) filter (where b.boot is not null) as numbered, sum(b.unnumbered) as unnumbered,
       sum(l.lost) as lost
  from boots b
  left join lateral (
       select sum(upper(r) - lower(r)) as lost
         from device_streams s, unnest((s.lost - s.received) * int8multirange(int8range(b.first, b.last, '[]'))) r
        where s.device_id = $1 and s.boot = b.boot) l on true;
