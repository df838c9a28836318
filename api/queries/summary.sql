-- The numbers of an organization that a dashboard shows.

-- name: alarms
-- By priority: alarms that are not normal, those that wait for an acknowledgement, and rules that are not evaluated.
select a.priority, count(*) filter (where a.state <> 'normal') as standing,
       count(*) filter (where a.state in ('unacknowledged', 'returned-unacknowledged')) as unacknowledged,
       count(*) filter (where a.not_evaluated is not null) as not_evaluated
  from alarms a
 where a.state <> 'normal' or a.not_evaluated is not null
 group by a.priority;

-- name: frames
-- Frames that devices have sent since $1, at most $3 of a device: by their key. Those from files are none of them.
select coalesce(sum(f.frames), 0)::bigint as frames
  from devices d
 cross join lateral (
       select count(*) as frames
         from (select from frames f
                where f.device_id = d.device_id and f.time > $1 and f.time <= $2
                  and not exists (select from imported_devices i
                                   where i.device_id = d.device_id and i.received_at = f.received_at)
                limit $3) f) f;

-- name: delivery
-- Of the newest boot of each device: frames by their numbers, which begin at 0, as on the pages of delivery.
select coalesce(sum(b.received), 0)::bigint as received, coalesce(sum(b.missing), 0)::bigint as missing,
       coalesce(sum(b.lost), 0)::bigint as lost
  from devices d
 cross join lateral (
       select (select sum(upper(r) - lower(r)) from unnest(s.received) r) as received,
              (select sum(upper(r) - lower(r))
                 from unnest(int8multirange(int8range(0, coalesce(upper(s.received), 0))) - s.received - s.lost) r) as missing,
              (select sum(upper(r) - lower(r)) from unnest(s.lost - s.received) r) as lost
         from device_streams s
        where s.device_id = d.device_id and not isempty(s.received + s.lost)
        order by s.boot desc limit 1) b;

-- name: quarantine
select count(*) from quarantine where state = 'open';

-- name: enrollments
select count(*) from enrollments where state = 'awaiting';
